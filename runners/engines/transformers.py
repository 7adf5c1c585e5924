"""Vision-language models through `transformers`, one prompt at a time, greedily; what a prompt shares with the one
before is not computed again.

On GPUs the weights are bfloat16 and spread by accelerate (`device_map="auto"`), else float32. An out-of-memory
costs its task only: the memory is freed and the next one runs. Nothing is fetched: the model is a folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import Engine, Prompt, Reply, TaskFailed, image_too_large, text_too_large
from hitui_runners.engines.memory import free_memory, out_of_memory
from hitui_runners.engines.pictures import Pictures, RememberingImageProcessor
from hitui_runners.engines.prefix_cache import PrefixCache
from hitui_runners.engines.processors import hide_broken_torchvision, load_processor
from hitui_runners.engines.truncation import TokenizedTable, note
from hitui_runners.errors import EngineLost, RunnerError
from hitui_runners.look import is_dir, is_file
from hitui_runners.output import say

SEAM_TOKENS = 8
"""Taken off beside the excess when a prompt came out above its budget."""
CUT_STEPS = 256
"""A table is cut to so many parts of the token limit and no size between, so that questions of about one length get the
same beginning."""


class TransformersEngine(Engine):
    """A model folder, loaded once."""

    name = "transformers"
    libraries = ("torch", "transformers")

    def __init__(
        self,
        folder: Path,
        max_input_tokens: int,
        max_new_tokens: int,
        max_pixels: int | None,
        *,
        share_prefixes: bool = True,
    ) -> None:
        self._folder = folder
        self._max_input_tokens = max_input_tokens
        self._max_new_tokens = max_new_tokens
        self._max_pixels = max_pixels
        self._share_prefixes = share_prefixes
        self._model: Any = None
        self._processor: Any = None
        self._prefixes: Any = None
        self._pictures = Pictures()
        self._tokenized: TokenizedTable | None = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--max-pixels",
            type=int,
            metavar="N",
            help="scale images down to this many pixels (default: the model's)",
        )
        parser.add_argument(
            "--no-shared-prefixes",
            action="store_true",
            help="compute every prompt from its start, also where it begins like the one before",
        )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> TransformersEngine:
        if arguments.model is None:
            raise RunnerError("--engine transformers needs --model, the folder of the model")
        folder = Path(arguments.model)
        if not is_dir(folder):
            raise RunnerError(
                f"{folder}: there is no such model folder; give the one that holds config.json by --model"
            )
        if not is_file(folder / "config.json"):
            raise RunnerError(f"{folder}: is no model folder, it has no config.json; see --model")
        if arguments.max_pixels is not None and arguments.max_pixels < 1:
            raise RunnerError(f"--max-pixels: a number from 1 on is expected, not {arguments.max_pixels}")
        return cls(
            folder,
            arguments.max_input_tokens,
            arguments.max_new_tokens,
            arguments.max_pixels,
            share_prefixes=not arguments.no_shared_prefixes,
        )

    def load(self) -> None:
        try:
            import torch

            hide_broken_torchvision()
            import accelerate  # noqa: F401  (loading on GPUs needs it, and telling what an out-of-memory is)
            from transformers import AutoModelForImageTextToText, GenerationConfig
        except Exception as error:
            # ImportError where one is absent; a broken one raises whatever its native libraries do.
            raise RunnerError(
                f"{sys.executable}: cannot run models: {_one_line(error)}; "
                "install torch, transformers, accelerate and pillow there"
            ) from error
        on_gpu = torch.cuda.is_available()
        say(f"Loading {self._folder} on {_devices(torch)}")
        try:
            self._processor = load_processor(self._folder)
            self._processor.image_processor = RememberingImageProcessor(self._processor.image_processor)
            self._model = AutoModelForImageTextToText.from_pretrained(
                self._folder,
                dtype=torch.bfloat16 if on_gpu else torch.float32,
                device_map="auto" if on_gpu else None,
            ).eval()
        except RunnerError:
            raise
        except Exception as error:
            what = (
                "not enough memory to load the model"
                if out_of_memory(error)
                else "the model cannot be loaded"
            )
            raise RunnerError(f"{self._folder}: {what}: {_one_line(error)}") from error
        # A new one, and not the model's own: that asks for sampling, and greedy answers can be repeated.
        own = self._model.generation_config
        self._model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=self._max_new_tokens,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id if own.pad_token_id is not None else self._tokenizer.pad_token_id,
            repetition_penalty=own.repetition_penalty,
        )
        self._prefixes = PrefixCache(self._model, enabled=self._share_prefixes)

    def answer(self, prompt: Prompt) -> Reply:
        image = self._pictures.open(prompt.image) if prompt.image is not None else None
        recovery: dict[str, object] = {}
        inputs = None
        try:
            inputs = self._inputs(prompt, image, recovery)
            text, new_tokens = self._generate(inputs, image)
        except TaskFailed:
            raise
        except Exception as error:  # noqa: BLE001  (raised again below, when the handler has let go of its tensors)
            failure = self._failure(error, None if inputs is None else _length(inputs), image)
        else:
            return Reply(text, _length(inputs), new_tokens, recovery)
        inputs = None
        self._forget()
        failure.recovery = recovery
        raise failure

    def close(self) -> None:
        if self._prefixes is not None and self._prefixes.shared_tokens:
            say(
                f"{self._prefixes.shared_tokens} of {self._prefixes.tokens} prompt tokens were shared with the prompt "
                "before, and not computed again"
            )
        self._pictures.drop()
        self._model = self._processor = self._prefixes = self._tokenized = None

    @property
    def _tokenizer(self) -> Any:
        return self._processor.tokenizer

    def _generate(self, inputs: Any, image: Any) -> tuple[str, int]:
        import torch

        with torch.inference_mode():
            output = self._prefixes.generate(inputs, image)
        new = output[0, inputs["input_ids"].shape[1] :]
        return self._tokenizer.decode(new, skip_special_tokens=True), int(new.shape[0])

    def _failure(self, error: Exception, tokens: int | None, image: Any) -> TaskFailed:
        """What is said of a task at which `error` came. Raises EngineLost when no other task can run either."""
        if out_of_memory(error):
            return image_too_large(image.size, tokens) if image is not None else text_too_large(tokens or 0)
        if "CUDA" in str(error) or "NCCL" in str(error):
            raise EngineLost(f"the GPU can no longer be used: {_one_line(error)}") from error
        return TaskFailed(f"{type(error).__name__}: {_one_line(error)}", input_tokens=tokens, unexpected=True)

    def _forget(self) -> None:
        """Lets go of all that is kept of earlier prompts, so that a failure for want of memory is no one else's."""
        self._pictures.drop()
        self._processor.image_processor.drop()
        self._prefixes.drop()
        free_memory()

    def _inputs(self, prompt: Prompt, image: Any, recovery: dict[str, object]) -> Any:
        """What the model gets, within the budget; what was changed for that is put into `recovery`."""
        size = self._image_size(image, prompt.pixel_share, recovery)
        limit = self._limit(prompt)
        inputs = None
        if not prompt.table or len(prompt.table.encode()) <= limit:
            inputs = self._process(prompt, prompt.table, image, size)
            if _length(inputs) <= limit:
                return inputs
        return self._cut(prompt, image, size, inputs, recovery)

    def _cut(self, prompt: Prompt, image: Any, size: Any, whole: Any, recovery: dict[str, object]) -> Any:
        """The inputs with as much of the table as fits. Raises TaskFailed when even without it they do not."""
        limit = self._limit(prompt)
        inputs = self._process(prompt, "", image, size)
        without_table = _length(inputs)
        if without_table > limit:
            raise TaskFailed(
                f"Input has {without_table} tokens without its table, more than the {limit} allowed",
                input_tokens=without_table,
            )
        if self._tokenized is None or self._tokenized.table != prompt.table:
            self._tokenized = TokenizedTable(prompt.table, self._token_starts)
        table = self._tokenized
        note_tokens = len(self._tokenizer(note(len(prompt.table)), add_special_tokens=False)["input_ids"])
        step = max(1, limit // CUT_STEPS)
        budget = limit - without_table
        while True:
            cut = table.cut(budget - budget % step, note_tokens)
            inputs = self._process(prompt, cut.text, image, size)
            excess = _length(inputs) - limit
            if excess <= 0 or not cut.text:
                break
            budget -= excess + SEAM_TOKENS
        if cut.left_out:
            recovery["max_input_tokens"] = limit
            recovery["uncut_tokens"] = _length(whole) if whole is not None else without_table + table.tokens
        return inputs

    def _process(self, prompt: Prompt, table: str, image: Any, size: Any) -> Any:
        words = "".join(self._harmless(part) for part in (prompt.before, table, prompt.after))
        content = [{"type": "text", "text": words}]
        if image is not None:
            content.insert(0, {"type": "image"})
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        if image is None:
            return self._processor(text=[text], return_tensors="pt")
        options = {} if size is None else {"size": size}
        return self._processor(text=[text], images=[image], return_tensors="pt", **options)

    def _harmless(self, text: str) -> str:
        """The text with the tokenizer's own marks (`<|im_end|>`) broken up, which must mean nothing in a table."""
        for token in self._tokenizer.added_tokens_decoder.values():
            if token.special:
                text = text.replace(token.content, f"{token.content[:1]} {token.content[1:]}")
        return text

    def _limit(self, prompt: Prompt) -> int:
        """How many tokens the prompt may have."""
        return min(self._max_input_tokens, prompt.max_input_tokens or self._max_input_tokens)

    def _image_size(self, image: Any, share: float, recovery: dict[str, object]) -> dict[str, int] | None:
        """The image processor's limits, in pixels, where they are not the model's own."""
        if image is None or (self._max_pixels is None and share == 1):
            return None
        own = self._processor.image_processor.size
        pixels = image.width * image.height
        most = own["longest_edge"] if self._max_pixels is None else self._max_pixels
        if share != 1:
            most = max(1, int(min(most, pixels) * share))
        if pixels > most:
            recovery["max_pixels"] = most
        return {"shortest_edge": min(own["shortest_edge"], most), "longest_edge": most}

    def _token_starts(self, texts: Sequence[str]) -> list[list[int]]:
        """Where the tokens of each text begin; a tokenizer in Python cannot say, there they are spread evenly."""
        if self._tokenizer.is_fast:
            encoded = self._tokenizer(
                list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            return [[start for start, _ in offsets] for offsets in encoded["offset_mapping"]]
        starts = []
        for text in texts:
            count = len(self._tokenizer(text, add_special_tokens=False)["input_ids"])
            starts.append([len(text) * token // count for token in range(count)])
        return starts


def _length(inputs: Any) -> int:
    """Tokens of a prompt, those of its image included."""
    return int(inputs["input_ids"].shape[1])


def _devices(torch: Any) -> str:
    if not torch.cuda.is_available():
        return f"the CPU ({torch.get_num_threads()} threads)"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
