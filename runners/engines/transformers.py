"""Vision-language models through `transformers`, greedily: prompts are computed one after the other, short ones of text
several at a time, and answers of several at a time; what prompts share is not computed again.

On GPUs the weights are bfloat16 and spread by accelerate (`device_map="auto"`), else float32. An out-of-memory
costs its task only: the memory is freed and the next one runs. Nothing is fetched: the model is a folder.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import (
    Answer,
    Engine,
    EngineFacts,
    Prompt,
    Reply,
    TaskFailed,
    image_too_large,
    text_too_large,
)
from hitui_runners.engines.batches import SHORT_SHARE, TOKENS_ON_GPUS, TOKENS_ON_THE_CPU, Batches
from hitui_runners.engines.input_options import add_input_arguments
from hitui_runners.engines.inputs import TRUNCATIONS, PromptInputs, length
from hitui_runners.engines.memory import free_memory, out_of_memory
from hitui_runners.engines.model_folder import SEED, cannot_be_loaded, greedy_facts
from hitui_runners.engines.options import model_folder
from hitui_runners.engines.pictures import MAX_IMAGE_PIXELS, Pictures
from hitui_runners.engines.prefix_cache import PrefixCache
from hitui_runners.engines.processors import hide_broken_torchvision, load_processor
from hitui_runners.errors import EngineLost, RunnerError, SetupError, setup_error, words_of
from hitui_runners.output import named, say

LOOKS_AHEAD = 64
"""No batch has more prompts: with so many, reading the weights is no longer what takes the time."""


@dataclass(frozen=True)
class _Row:
    """A prompt, ready to be answered with others."""

    ids: Any
    """Its token ids, shape (tokens,)."""
    recovery: Mapping[str, object]
    is_short: bool
    """With others that are."""
    inputs: Any
    """What the model gets; None where a picture is in it, of which no more than one is kept."""


class TransformersEngine(Engine):
    """A model folder, loaded once."""

    name = "transformers"
    libraries = ("torch", "transformers", "tokenizers", "accelerate", "torchvision", "pillow")
    speed_options = ("no_shared_prefixes", "max_image_pixels", "batch_tokens")

    def __init__(
        self,
        folder: Path,
        max_input_tokens: int,
        max_new_tokens: int,
        max_pixels: int | None,
        *,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
        truncation: str = TRUNCATIONS[0],
        share_prefixes: bool = True,
        batch_tokens: int | None = None,
    ) -> None:
        """`batch_tokens`: at most so many are in one batch; 0: there are none, None: by where the model computes."""
        self._folder = folder
        self._max_input_tokens = max_input_tokens
        self._max_new_tokens = max_new_tokens
        self._max_pixels = max_pixels
        self._truncation = truncation
        self._share_prefixes = share_prefixes
        self._batch_tokens = batch_tokens
        self.looks_ahead = 1 if batch_tokens == 0 else LOOKS_AHEAD
        self._model: Any = None
        self._processor: Any = None
        self._prefixes: Any = None
        self._batches: Any = None
        self._rows: dict[Prompt, _Row | None] = {}
        """Of the prompts that it was shown last."""
        self._pictures = Pictures(max_image_pixels)
        self._inputs: Any = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        add_input_arguments(parser)
        parser.add_argument(
            "--no-shared-prefixes",
            action="store_true",
            help="compute every prompt from its start, also where it begins like the one before",
        )
        parser.add_argument(
            "--batch-tokens",
            type=int,
            metavar="N",
            help="answer prompts together that have at most N tokens, padding and the longest answers included; those of "
            f"text up to N/{SHORT_SHARE} are computed together too, and 0: each alone (default: "
            f"{TOKENS_ON_GPUS} on GPUs, {TOKENS_ON_THE_CPU} on the CPU, or as many as the longest prompt before had)",
        )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> TransformersEngine:
        if arguments.batch_tokens is not None and arguments.batch_tokens < 0:
            raise RunnerError(f"--batch-tokens: a number from 0 on is expected, not {arguments.batch_tokens}")
        return cls(
            model_folder(arguments),
            arguments.max_input_tokens,
            arguments.max_new_tokens,
            arguments.max_pixels,
            max_image_pixels=arguments.max_image_pixels,
            truncation=arguments.truncation,
            share_prefixes=not arguments.no_shared_prefixes,
            batch_tokens=arguments.batch_tokens,
        )

    def load(self) -> None:
        try:
            import torch

            hide_broken_torchvision()
            import accelerate  # noqa: F401  (loading on GPUs needs it, and telling what an out-of-memory is)
            from transformers import AutoModelForImageTextToText, GenerationConfig
        except Exception as error:
            # ImportError where one is absent; a broken one raises whatever its native libraries do.
            raise setup_error(
                f"{sys.executable}: cannot run models: {words_of(error)}; "
                "install torch, transformers, accelerate and pillow there",
                error,
            ) from error
        on_gpu = torch.cuda.is_available()
        torch.manual_seed(SEED)
        say(f"Loading {self._folder} on {_devices(torch)}")
        try:
            self._processor = load_processor(self._folder)
            self._inputs = PromptInputs(
                self._processor, self._max_input_tokens, self._max_pixels, truncation=self._truncation
            )
            model, told = AutoModelForImageTextToText.from_pretrained(
                self._folder,
                dtype=torch.bfloat16 if on_gpu else torch.float32,
                device_map="auto" if on_gpu else None,
                output_loading_info=True,
            )
            if absent := sorted(told["missing_keys"]):
                raise SetupError(
                    f"{self._folder}: weights are not there that would be made up at random: "
                    f"{named(absent, at_most=2)}; copy or download the model again"
                )
            self._model = model.eval()
        except RunnerError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise RunnerError(
                    f"{self._folder}: not enough memory to load the model: {words_of(error)}"
                ) from error
            what = cannot_be_loaded(self._folder, words_of(error))
            raise setup_error(f"{self._folder}: {what}", error) from error
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
        self._batches = Batches(self._model, self._batch_tokens, self._max_new_tokens)

    def answer(self, prompt: Prompt) -> Reply:
        image = self._picture(prompt)
        recovery: dict[str, object] = {}
        inputs = None
        try:
            inputs = self._inputs_of(prompt, image, recovery)
            text, new_tokens = self._generate(inputs, image)
        except TaskFailed:
            raise
        except Exception as error:  # noqa: BLE001  (raised again below, when the handler has let go of its tensors)
            failure = self._failure(error, None if inputs is None else length(inputs), image)
        else:
            self._batches.has_held(length(inputs) + new_tokens)
            return Reply(text, length(inputs), new_tokens, recovery)
        inputs = None
        self._forget()
        failure.recovery = recovery
        raise failure

    def facts(self) -> EngineFacts:
        settings: dict[str, object] = {}
        beside: dict[str, object] = {}
        if self._model is not None:
            import torch

            settings["numbers"] = str(self._model.dtype).removeprefix("torch.")
            settings["repetition_penalty"] = self._model.generation_config.repetition_penalty or 1.0
            beside["devices"] = _devices(torch)
            beside["cuda"] = torch.version.cuda
            beside["attention"] = getattr(self._model.config, "_attn_implementation", None)
        return greedy_facts(self._folder, settings, beside)

    def together(self, prompts: Sequence[Prompt]) -> int:
        known, self._rows = self._rows, {}
        rows: list[_Row] = []
        if not self._may_be_short(prompts[0]) and not (
            self._prefixes.enabled and len(prompts) > 1 and _same_picture(*prompts[:2])
        ):
            return 1
        for prompt in prompts:
            if rows and not self._may_join(rows[0], prompts[0], prompt):
                break
            row = known[prompt] if prompt in known else self._row(prompt)
            self._rows[prompt] = row
            if row is None or (rows and row.is_short != rows[0].is_short):
                break
            rows.append(row)
            if self._fitting(rows) < len(rows):
                rows.pop()
                break
        return max(1, len(rows))

    def answer_all(self, prompts: Sequence[Prompt]) -> Iterator[Mapping[int, Answer]]:
        import torch

        if len(prompts) == 1:
            yield {0: self.answer_of(prompts[0])}
            return
        ready = [self._rows[prompt] for prompt in prompts]
        rows = {place: row for place, row in enumerate(ready) if row is not None}
        waiting = list(rows)
        if rows[waiting[0]].is_short:
            # Those of about one length stay together where memory runs out.
            waiting.sort(key=lambda place: -len(rows[place].ids))
        while waiting:
            places = waiting[: self._fitting([rows[place] for place in waiting])]
            if len(places) > 1:
                failure = None
                # Without gradients in its own steps only, not in what is done between them.
                replies = torch.inference_mode()(self._replies)
                try:
                    for ended in replies(
                        [prompts[place] for place in places], [rows[place] for place in places]
                    ):
                        came = {places[row]: reply for row, reply in ended.items()}
                        waiting = [place for place in waiting if place not in came]
                        yield came
                except Exception as error:  # noqa: BLE001  (whose it is shows when each is asked alone)
                    failure = f"{type(error).__name__}: {words_of(error)}"
                left = [place for place in places if place in waiting]
                if failure is None:
                    if left:
                        say(
                            f"\nOut of memory with {len(places)} prompts together; from now on fewer at a time"
                        )
                    continue
                say(f"\n{len(places)} prompts together: {failure}; asking each alone")
                places = left
            waiting = [place for place in waiting if place not in places]
            for place in places:
                yield {place: self.answer_of(prompts[place])}

    def close(self) -> None:
        if self._prefixes is not None and self._prefixes.shared_tokens:
            say(
                f"{self._prefixes.shared_tokens} of {self._prefixes.tokens} prompt tokens were shared with the prompt "
                "before, and not computed again"
            )
        self._pictures.drop()
        self._model = self._processor = self._prefixes = self._batches = self._inputs = None
        self._rows = {}

    @property
    def _tokenizer(self) -> Any:
        return self._processor.tokenizer

    def _generate(self, inputs: Any, image: Any) -> tuple[str, int]:
        import torch

        with torch.inference_mode():
            output = self._prefixes.generate(inputs, image)
        new = output[0, inputs["input_ids"].shape[1] :]
        return self._tokenizer.decode(new, skip_special_tokens=True), int(new.shape[0])

    def _row(self, prompt: Prompt) -> _Row | None:
        """The prompt for a batch; None where it is answered alone, or fails alone."""
        recovery: dict[str, object] = {}
        try:
            inputs = self._inputs.of(prompt, self._picture(prompt), recovery)
        except Exception:  # noqa: BLE001  (whatever it is, it is told when the prompt is answered)
            return None
        is_short = prompt.image is None and self._batches.is_short(length(inputs))
        return _Row(inputs["input_ids"][0], recovery, is_short, inputs if prompt.image is None else None)

    def _inputs_of(self, prompt: Prompt, image: Any, recovery: dict[str, object]) -> Any:
        """As `PromptInputs.of`, which a prompt that is ready does not need."""
        row = self._rows.get(prompt)
        if row is None or row.inputs is None:
            return self._inputs.of(prompt, image, recovery)
        recovery.update(row.recovery)
        # A copy: the model takes what is in it to where it computes.
        return copy.copy(row.inputs)

    def _may_be_short(self, prompt: Prompt) -> bool:
        """Whether it is worth being made ready to see that."""
        characters = len(prompt.before) + len(prompt.table) + len(prompt.after)
        return prompt.image is None and bool(self._batches.may_be_short(characters))

    def _picture(self, prompt: Prompt) -> Any:
        return None if prompt.image is None else self._pictures.open(prompt.image)

    def _may_join(self, first: _Row, first_prompt: Prompt, prompt: Prompt) -> bool:
        """Whether a prompt is worth being made ready to see whether it is answered together with the first one."""
        if first.is_short:
            return self._may_be_short(prompt)
        has_room = self._batches.rows([len(first.ids), 0]) > 1
        return bool(self._prefixes.enabled and has_room and _same_picture(first_prompt, prompt))

    def _fitting(self, rows: Sequence[_Row]) -> int:
        """How many of the first of these are answered together."""
        if not (rows[0].is_short or self._prefixes.enabled):
            return 1
        count: int = self._batches.rows([len(row.ids) for row in rows])
        return count

    def _replies(self, prompts: Sequence[Prompt], rows: Sequence[_Row]) -> Iterator[dict[int, Reply]]:
        """The replies to prompts answered together, by their places, as soon as they come. It ends early where memory
        ran out: fewer may be answered together then. Raises what the model's `generate` raises."""
        ids = [row.ids for row in rows]
        if rows[0].is_short:
            # What is kept of a longer prompt has no use here, and takes memory.
            self._prefixes.drop()
            answers = self._batches.generate(ids)
        else:
            answers = self._batches.generate_long(self._prefixes, ids, self._one_by_one(prompts))
        for ended in answers:
            yield {place: self._reply(rows[place], new) for place, new in ended.items()}

    def _one_by_one(self, prompts: Sequence[Prompt]) -> Iterator[tuple[Any, object]]:
        """What the model gets for each, and its picture."""
        for prompt in prompts:
            picture = self._picture(prompt)
            yield self._inputs_of(prompt, picture, {}), picture

    def _reply(self, row: _Row, new: Any) -> Reply:
        text = self._tokenizer.decode(new, skip_special_tokens=True)
        return Reply(text, len(row.ids), len(new), row.recovery)

    def _failure(self, error: Exception, tokens: int | None, image: Any) -> TaskFailed:
        """What is said of a task at which `error` came. Raises EngineLost when no other task can run either."""
        if out_of_memory(error):
            return image_too_large(image.size, tokens) if image is not None else text_too_large(tokens or 0)
        if "CUDA" in str(error) or "NCCL" in str(error):
            raise EngineLost(f"the GPU can no longer be used: {words_of(error)}") from error
        return TaskFailed(f"{type(error).__name__}: {words_of(error)}", input_tokens=tokens, unexpected=True)

    def _forget(self) -> None:
        """Lets go of all that is kept of earlier prompts, so that a failure for want of memory is no one else's."""
        self._pictures.drop()
        self._inputs.drop()
        self._prefixes.drop()
        free_memory()


def _same_picture(one: Prompt, other: Prompt) -> bool:
    """Whether both show the same one, or none: no more than one is kept in memory."""
    return (one.image, one.pixel_share) == (other.image, other.pixel_share)


def _devices(torch: Any) -> str:
    if not torch.cuda.is_available():
        return f"the CPU ({torch.get_num_threads()} threads)"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
