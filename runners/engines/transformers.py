"""Vision-language models through `transformers`, one prompt at a time, greedily.

On GPUs the weights are bfloat16 and spread by accelerate (`device_map="auto"`), else float32. An out-of-memory
costs its task only: the memory is freed and the next one runs. Nothing is fetched: the model is a folder.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import Engine, Prompt, Reply, TaskFailed, image_too_large, text_too_large
from hitui_runners.engines.processors import hide_broken_torchvision, load_processor
from hitui_runners.engines.truncation import TokenizedTable, note
from hitui_runners.errors import EngineLost, RunnerError
from hitui_runners.look import is_dir, is_file
from hitui_runners.output import say

SEAM_TOKENS = 8
"""Taken off beside the excess when a prompt came out above its budget."""

OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How libraries below torch say it, beside what accelerate knows."""


class TransformersEngine(Engine):
    """A model folder, loaded once."""

    name = "transformers"
    libraries = ("torch", "transformers")

    def __init__(
        self, folder: Path, max_input_tokens: int, max_new_tokens: int, max_pixels: int | None
    ) -> None:
        self._folder = folder
        self._max_input_tokens = max_input_tokens
        self._max_new_tokens = max_new_tokens
        self._max_pixels = max_pixels
        self._model: Any = None
        self._processor: Any = None
        self._tokenized: TokenizedTable | None = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--max-pixels",
            type=int,
            metavar="N",
            help="scale images down to this many pixels (default: the model's)",
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
        return cls(folder, arguments.max_input_tokens, arguments.max_new_tokens, arguments.max_pixels)

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
                if _out_of_memory(error)
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

    def answer(self, prompt: Prompt) -> Reply:
        image = _open_image(prompt.image) if prompt.image is not None else None
        recovery: dict[str, object] = {}
        inputs = None
        try:
            inputs = self._inputs(prompt, image, recovery)
            text, new_tokens = self._generate(inputs)
        except TaskFailed:
            raise
        except Exception as error:  # noqa: BLE001  (raised again below, when the handler has let go of its tensors)
            failure = self._failure(error, None if inputs is None else _length(inputs), image)
        else:
            return Reply(text, _length(inputs), new_tokens, recovery)
        inputs = None
        self._free_memory()
        failure.recovery = recovery
        raise failure

    def close(self) -> None:
        self._model = self._processor = self._tokenized = None

    @property
    def _tokenizer(self) -> Any:
        return self._processor.tokenizer

    def _generate(self, inputs: Any) -> tuple[str, int]:
        import torch

        with torch.inference_mode():
            output = self._model.generate(**inputs.to(self._model.device))
        new = output[0, inputs["input_ids"].shape[1] :]
        return self._tokenizer.decode(new, skip_special_tokens=True), int(new.shape[0])

    def _failure(self, error: Exception, tokens: int | None, image: Any) -> TaskFailed:
        """What is said of a task at which `error` came. Raises EngineLost when no other task can run either."""
        if isinstance(error, MemoryError) or _out_of_memory(error):
            return image_too_large(image.size, tokens) if image is not None else text_too_large(tokens or 0)
        if "CUDA" in str(error) or "NCCL" in str(error):
            raise EngineLost(f"the GPU can no longer be used: {_one_line(error)}") from error
        return TaskFailed(f"{type(error).__name__}: {_one_line(error)}", input_tokens=tokens, unexpected=True)

    def _free_memory(self) -> None:
        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
        budget = limit - without_table
        while True:
            cut = table.cut(budget, note_tokens)
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


def _open_image(path: Path) -> Any:
    """The picture in RGB. Raises TaskFailed where it cannot be decoded, OSError where the disk does not give it."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            try:
                return image.convert("RGB")
            except MemoryError as error:
                raise image_too_large(image.size) from error
    except Image.DecompressionBombError as error:
        raise TaskFailed(str(error)) from error
    except UnidentifiedImageError as error:
        raise TaskFailed(f"Image cannot be read: {path.name} is no image") from error
    except (OSError, SyntaxError, ValueError) as error:
        # Decoders raise OSError too, without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TaskFailed(f"Image cannot be read: {path.name}: {_one_line(error)}") from error


def _length(inputs: Any) -> int:
    """Tokens of a prompt, those of its image included."""
    return int(inputs["input_ids"].shape[1])


def _devices(torch: Any) -> str:
    if not torch.cuda.is_available():
        return f"the CPU ({torch.get_num_threads()} threads)"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _out_of_memory(error: Exception) -> bool:
    from accelerate.utils.memory import should_reduce_batch_size

    return bool(should_reduce_batch_size(error)) or any(said in str(error) for said in OUT_OF_MEMORY)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
