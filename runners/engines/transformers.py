"""Vision-language models through `transformers`, greedily: prompts are computed one after the other, short ones of text
several at a time, and answers of several at a time; what prompts share is not computed again.

On GPUs the weights are bfloat16, on the CPU float32, unless `--dtype` says otherwise; on one GPU they lie whole, and
accelerate spreads them over several. An out-of-memory
costs its task only: the memory is freed and the next one runs. Nothing is fetched: the model is a folder.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hitui_runners.engines.adapter import adapted, adapter_folder, check_base
from hitui_runners.engines.attention import attend_without_plans, share_heads
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
from hitui_runners.engines.batch_budget import SHORT_SHARE, TOKENS_ON_GPUS, TOKENS_ON_THE_CPU, BatchBudget
from hitui_runners.engines.continuous_batch import ContinuousBatch
from hitui_runners.engines.devices import (
    computes_on_gpus,
    device_map,
    dtype_of,
    names_of_devices,
    parts_beside_the_gpus,
)
from hitui_runners.engines.input_options import add_input_arguments
from hitui_runners.engines.inputs import TRUNCATIONS, PromptInputs, length
from hitui_runners.engines.known_models import is_known
from hitui_runners.engines.memory import free_memory, out_of_memory
from hitui_runners.engines.model_folder import SEED, cannot_be_loaded, greedy_facts
from hitui_runners.engines.options import add_dtype_argument, model_folder
from hitui_runners.engines.pictures import MAX_IMAGE_PIXELS, Pictures
from hitui_runners.engines.prefix_cache import PrefixCache
from hitui_runners.engines.processors import NO_OWN_CODE, hide_broken_torchvision, load_processor
from hitui_runners.engines.room import room_of
from hitui_runners.engines.turns import Ready, Turns
from hitui_runners.errors import EngineLost, RunnerError, SetupError, setup_error, words_of
from hitui_runners.library_words import bound_repetitions
from hitui_runners.output import named, say, warn

LOOKS_AHEAD = 64
"""So many wait at the most: they have read their tables, and are not in the model's memory yet."""


class TransformersEngine(Engine):
    """A model folder, loaded once."""

    name = "transformers"
    libraries = ("torch", "transformers", "tokenizers", "accelerate", "torchvision", "pillow", "peft")
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
        adapter: Path | None = None,
        dtype: str | None = None,
    ) -> None:
        """`batch_tokens`: at most so many are in one batch; 0: there are none, None: by where the model computes.
        `adapter`: the folder of one that is put onto the model. `dtype`: one of DTYPES; None: by where it computes."""
        self._folder = folder
        self._adapter = adapter
        self._dtype = dtype
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
        self._budget: Any = None
        self._turns: Any = None
        self._pictures = Pictures(max_image_pixels)
        self._inputs: Any = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        add_input_arguments(parser)
        add_dtype_argument(parser)
        parser.add_argument(
            "--adapter",
            type=Path,
            metavar="DIR",
            help="an adapter, as LoRA, that is put onto the model, as peft saves it",
        )
        parser.add_argument(
            "--no-shared-prefixes",
            action="store_true",
            help="compute every prompt from its start, also where it begins like the one before",
        )
        parser.add_argument(
            "--batch-tokens",
            type=int,
            metavar="N",
            help="answer prompts together that have at most N tokens, padding and answers included; those of "
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
            adapter=None if arguments.adapter is None else adapter_folder(arguments.adapter),
            dtype=arguments.dtype,
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
        bound_repetitions()
        on_gpu = computes_on_gpus(torch)
        torch.manual_seed(SEED)
        attend_without_plans()
        say(f"Loading {self._folder} on {names_of_devices(torch)}")
        try:
            self._processor = load_processor(self._folder)
            self._inputs = PromptInputs(
                self._processor, self._max_input_tokens, self._max_pixels, truncation=self._truncation
            )
            model, told = AutoModelForImageTextToText.from_pretrained(
                self._folder,
                **NO_OWN_CODE,
                dtype=dtype_of(torch, self._dtype, on_gpus=on_gpu),
                device_map=device_map(torch) if on_gpu else None,
                output_loading_info=True,
            )
            if on_gpu and (beside := parts_beside_the_gpus(model)):
                raise RunnerError(
                    f"{self._folder}: not enough memory to load the model: out of memory on the GPUs, and "
                    f"{named(beside, at_most=2)} would be computed on the CPU; free memory there, or give each job more "
                    "GPUs"
                )
            if absent := sorted(told["missing_keys"]):
                raise SetupError(
                    f"{self._folder}: weights are not there that would be made up at random: "
                    f"{named(absent, at_most=2)}; copy or download the model again"
                )
            if unknown := sorted(told["unexpected_keys"]):
                warn(
                    f"{self._folder}: weights that its configuration has no place for are left out: "
                    f"{named(unknown, at_most=2)}"
                )
            self._make_room(room_of(model.config, self._folder))
            if self._adapter is not None:
                check_base(self._adapter, self._folder)
                model = adapted(model, self._adapter)
            self._model = model.eval()
            share_heads(self._model)
        except RunnerError:
            raise
        except Exception as error:
            if out_of_memory(error) or (on_gpu and "offload" in str(error)):
                raise RunnerError(
                    f"{self._folder}: not enough memory to load the model: {words_of(error)}"
                ) from error
            what = cannot_be_loaded(self._folder, error)
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
        if not is_known(self._model):
            say(f"Models as this one ({self._model.config.model_type}) are asked one prompt at a time")
        self._prefixes = PrefixCache(self._model, enabled=self._share_prefixes)
        self._budget = BatchBudget(self._model, self._batch_tokens, self._max_new_tokens)
        batch = ContinuousBatch(self._model, self._prefixes, self._max_new_tokens)
        self._turns = Turns(batch, self._budget, self._made_ready, self._answer, self._text)

    def _make_room(self, room: int | None) -> None:
        """Cuts longer prompts to what the model has `room` for. Raises SetupError where it has none beside an answer."""
        if room is None:
            return
        if room <= self._max_new_tokens:
            raise SetupError(
                f"{self._folder}: the model has {room} tokens for a prompt and its answer, and --max-new-tokens is "
                f"{self._max_new_tokens}; set it to less"
            )
        self.most_input_tokens = room - self._max_new_tokens
        if self.most_input_tokens < self._max_input_tokens:
            say(f"The model has room for {room} tokens: prompts are cut to {self.most_input_tokens}")
            self._inputs.cut_to(self.most_input_tokens)

    def answer(self, prompt: Prompt) -> Reply:
        return self._answer(prompt, None)

    def facts(self) -> EngineFacts:
        settings: dict[str, object] = {}
        beside: dict[str, object] = {}
        if self._model is not None:
            import torch

            settings["numbers"] = str(self._model.dtype).removeprefix("torch.")
            settings["repetition_penalty"] = self._model.generation_config.repetition_penalty or 1.0
            beside["devices"] = names_of_devices(torch)
            beside["cuda"] = torch.version.cuda
            beside["attention"] = getattr(self._model.config, "_attn_implementation", None)
        return greedy_facts(self._folder, settings, beside, self._adapter)

    def answer_all(self, waiting: deque[Prompt]) -> Iterator[Sequence[tuple[Prompt, Answer]]]:
        answers: Iterator[Sequence[tuple[Prompt, Answer]]] = self._turns.answer_all(waiting)
        return answers

    def close(self) -> None:
        if self._prefixes is not None and self._prefixes.shared_tokens:
            say(
                f"{self._prefixes.shared_tokens} of {self._prefixes.tokens} prompt tokens were shared with the prompt "
                "before, and not computed again"
            )
        self._pictures.drop()
        self._model = self._processor = self._inputs = None
        self._prefixes = self._budget = self._turns = None

    @property
    def _tokenizer(self) -> Any:
        return self._processor.tokenizer

    def _answer(self, prompt: Prompt, ready: Ready | None) -> Reply:
        """As `answer`, of a prompt that may be made ready."""
        picture = self._picture(prompt) if ready is None else ready.picture
        recovery: dict[str, object] = {} if ready is None else ready.recovery
        inputs = None
        try:
            inputs = self._inputs.of(prompt, picture, recovery) if ready is None else ready.inputs
            # A copy: the model takes what is in it to where it computes.
            inputs = copy.copy(inputs)
            text, new_tokens = self._generate(inputs, picture)
        except TaskFailed:
            raise
        except Exception as error:  # noqa: BLE001  (raised again below, when the handler has let go of its tensors)
            failure = self._failure(error, None if inputs is None else length(inputs), picture)
        else:
            self._budget.has_held(length(inputs) + new_tokens)
            return Reply(text, length(inputs), new_tokens, recovery)
        inputs = ready = None
        self._forget()
        failure.recovery = recovery
        raise failure

    def _generate(self, inputs: Any, image: Any) -> tuple[str, int]:
        import torch

        with torch.inference_mode():
            output = self._prefixes.generate(inputs, image)
        new = output[0, inputs["input_ids"].shape[1] :]
        return self._text(new), int(new.shape[0])

    def _text(self, new: Any) -> str:
        text: str = self._inputs.opening + self._tokenizer.decode(new, skip_special_tokens=True)
        return text

    def _made_ready(self, prompt: Prompt) -> Ready | Answer | None:
        """The prompt for a batch; what comes of it where it cannot be asked. None: how it fails is told when it is
        answered, or it is answered alone."""
        if not (self._prefixes.enabled or self._may_be_short(prompt)):
            return None
        recovery: dict[str, object] = {}
        try:
            picture = self._picture(prompt)
        except (TaskFailed, OSError) as failure:
            return failure
        try:
            inputs = self._inputs.of(prompt, picture, recovery)
        except TaskFailed as failure:
            return failure
        except Exception:  # noqa: BLE001  (whatever it is, it is told when the prompt is answered)
            return None
        is_short = picture is None and self._budget.is_short(length(inputs))
        if not (is_short or self._prefixes.enabled):
            return None
        return Ready(prompt, length(inputs), recovery, is_short, inputs, picture)

    def _may_be_short(self, prompt: Prompt) -> bool:
        """Whether it is worth being made ready to see that."""
        characters = len(prompt.before) + len(prompt.table) + len(prompt.after)
        return prompt.image is None and bool(self._budget.may_be_short(characters))

    def _picture(self, prompt: Prompt) -> Any:
        return None if prompt.image is None else self._pictures.open(prompt.image)

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
