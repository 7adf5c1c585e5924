"""Vision-language models through vLLM in this process: prompts of several questions at once, greedily, and what they
share is computed once.

vLLM batches what is under way step by step, so each answer comes as soon as it is done. Prompts are made, counted and
cut as for the engine `transformers`. Memory is set aside when the model is loaded: what does not fit says so there. An
error inside of a step, such as memory that runs out all the same, leaves vLLM in an unknown state, and ends the run. On
GPUs numbers are as the model has them, spread over all GPUs of the run; on the CPU they are float32. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import (
    Engine,
    EngineFacts,
    Prompt,
    Reply,
    TaskFailed,
    image_too_large,
    text_too_large,
    visible_gpus,
)
from hitui_runners.engines.devices import for_the_cpu_alone, given_gpus
from hitui_runners.engines.input_options import add_input_arguments
from hitui_runners.engines.inputs import TRUNCATIONS, PromptInputs, length
from hitui_runners.engines.model_folder import SEED, cannot_be_loaded, greedy_facts
from hitui_runners.engines.options import add_dtype_argument, at_least_one, model_folder
from hitui_runners.engines.pictures import MAX_IMAGE_PIXELS, Pictures
from hitui_runners.engines.processors import NO_OWN_CODE, hide_broken_torchvision, load_processor
from hitui_runners.engines.vllm_steps import VllmSteps
from hitui_runners.errors import RunnerError, SetupError, setup_error, words_of
from hitui_runners.output import say

ENVIRONMENT = {
    # In this process: what goes wrong is raised here in its own words, and a kill leaves nothing behind.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Where several GPUs need processes, those inherit no open files: our locks end with this process.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
"""What vLLM reads, where the user's environment says nothing else."""
MEMORY = (
    "out of memory",
    "OutOfMemory",
    "Free memory on device",
    "KV cache memory",
    "memory for the cache blocks",
)
"""How vLLM, and what is below it, says that memory does not suffice."""


class VllmEngine(Engine):
    """A model folder, loaded once."""

    name = "vllm"
    libraries = ("vllm", "torch", "transformers", "tokenizers", "torchvision", "pillow")
    speed_options = ("concurrency", "gpu_memory_utilization", "max_image_pixels")

    def __init__(
        self,
        folder: Path,
        at_once: int,
        max_input_tokens: int,
        max_new_tokens: int,
        max_pixels: int | None,
        gpu_memory_utilization: float | None,
        *,
        max_image_pixels: int = MAX_IMAGE_PIXELS,
        truncation: str = TRUNCATIONS[0],
        dtype: str | None = None,
    ) -> None:
        self.at_once = at_once
        self._folder = folder
        self._max_input_tokens = max_input_tokens
        self._max_new_tokens = max_new_tokens
        self._max_pixels = max_pixels
        self._gpu_memory_utilization = gpu_memory_utilization
        self._processor: Any = None
        self._sampling: Any = None
        self._steps: Any = None
        self._most_tokens = 0
        """Of a prompt together with its answer."""
        self._dtype = dtype
        self._numbers = self._devices = ""
        self._truncation = truncation
        self._pictures = Pictures(max_image_pixels)
        self._inputs: Any = None
        self._making = threading.Lock()
        """Neither what makes inputs nor its tokenizer may be used by two threads at a time."""
        self._tokens = self._shared_tokens = 0

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=at_least_one,
            default=32,
            metavar="N",
            help="prompts that vLLM is given at once; those that find no room wait in it (default 32)",
        )
        parser.add_argument(
            "--gpu-memory-utilization",
            type=_part,
            metavar="PART",
            help="so much of each GPU's memory is set aside when the model is loaded (default: vLLM's, about 0.9)",
        )
        add_input_arguments(parser)
        add_dtype_argument(parser)

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> VllmEngine:
        return cls(
            model_folder(arguments),
            arguments.concurrency,
            arguments.max_input_tokens,
            arguments.max_new_tokens,
            arguments.max_pixels,
            arguments.gpu_memory_utilization,
            max_image_pixels=arguments.max_image_pixels,
            truncation=arguments.truncation,
            dtype=arguments.dtype,
        )

    def load(self) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            hide_broken_torchvision()
            from vllm import LLM, SamplingParams
            from vllm.platforms import current_platform
            from vllm.sampling_params import RequestOutputKind
        except Exception as error:
            # ImportError where it is absent; a broken one raises whatever its native libraries do.
            raise setup_error(
                f"{sys.executable}: cannot run vLLM: {words_of(error)}; install vllm there, in an environment of its own",
                error,
            ) from error
        from transformers import AutoConfig

        on_cpu = current_platform.is_cpu()
        if on_cpu and given_gpus():
            raise for_the_cpu_alone("vLLM")
        gpus = 1 if on_cpu else visible_gpus()
        options: dict[str, Any] = {}
        if self._gpu_memory_utilization is not None:
            options["gpu_memory_utilization"] = self._gpu_memory_utilization
        try:
            self._devices = "the CPU" if on_cpu else f"{gpus} × {current_platform.get_device_name()}"
            say(f"Loading {self._folder} with vLLM on {self._devices}")
            self._processor = load_processor(self._folder)
            own = AutoConfig.from_pretrained(self._folder, **NO_OWN_CODE).get_text_config()
            most = getattr(own, "max_position_embeddings", None) or sys.maxsize
            llm = LLM(
                model=str(self._folder),
                tensor_parallel_size=gpus,
                dtype=self._dtype or ("float32" if on_cpu else "auto"),
                max_model_len=min(self._max_input_tokens + self._max_new_tokens, most),
                enable_prefix_caching=True,
                # Compiling for a CPU takes longer than it saves a model that is small enough for one.
                enforce_eager=on_cpu,
                limit_mm_per_prompt={"image": 1, "video": 0},
                seed=SEED,
                **options,
            )
        except RunnerError:
            raise
        except Exception as error:
            if any(words in f"{type(error).__name__}: {error}" for words in MEMORY):
                raise RunnerError(
                    f"{self._folder}: not enough memory, see --max-input-tokens and --gpu-memory-utilization: "
                    f"{words_of(error)}"
                ) from error
            what = f"{self._folder}: {cannot_be_loaded(self._folder, error)}"
            # Of what went wrong in another process vLLM says by a RuntimeError that something did.
            raise (
                RunnerError(what) if isinstance(error, RuntimeError) else setup_error(what, error)
            ) from error
        model = llm.llm_engine.model_config
        self._most_tokens = model.max_model_len
        self.most_input_tokens = max(1, model.max_model_len - self._max_new_tokens)
        self._numbers = str(model.dtype).removeprefix("torch.")
        self._inputs = PromptInputs(
            self._processor, self._max_input_tokens, self._max_pixels, truncation=self._truncation
        )
        # Not as the model asks for: that is sampling, and greedy answers can be repeated.
        self._sampling = SamplingParams(
            temperature=0.0,
            max_tokens=self._max_new_tokens,
            repetition_penalty=llm.get_default_sampling_params().repetition_penalty,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._steps = VllmSteps(llm.llm_engine)

    def answer(self, prompt: Prompt) -> Reply:
        recovery: dict[str, object] = {}
        try:
            asked, tokens = self._asked(prompt, recovery)
            output = self._steps.ask(asked, self._sampling)
        except TaskFailed as failure:
            failure.recovery = recovery
            raise
        new = output.outputs[0].token_ids
        with self._making:
            self._tokens += tokens
            self._shared_tokens += output.num_cached_tokens or 0
            text = self._inputs.opening + self._processor.tokenizer.decode(new, skip_special_tokens=True)
        return Reply(text, tokens, len(new), recovery)

    def facts(self) -> EngineFacts:
        settings: dict[str, object] = {}
        beside: dict[str, object] = {}
        if self._sampling is not None:
            settings["numbers"] = self._numbers
            settings["repetition_penalty"] = self._sampling.repetition_penalty
            beside["devices"] = self._devices
        return greedy_facts(self._folder, settings, beside)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()
            if self._shared_tokens:
                say(
                    f"{self._shared_tokens} of {self._tokens} prompt tokens were shared with prompts before, and not "
                    "computed again"
                )
        self._pictures.drop()
        self._steps = self._processor = self._inputs = self._sampling = None

    def _asked(self, prompt: Prompt, recovery: dict[str, object]) -> tuple[dict[str, Any], int]:
        """The prompt as vLLM takes it, and how many tokens it has. Raises TaskFailed where it is too long."""
        with self._making:
            image = None if prompt.image is None else self._pictures.open(prompt.image)
            inputs = self._inputs.of(prompt, image, recovery)
            tokens = length(inputs)
            ids = inputs["input_ids"][0].tolist()
            if tokens + self._max_new_tokens > self._most_tokens:
                # Of a picture and a table the larger one is made less first.
                if image is None or (prompt.table and ids.count(self._mark) < tokens / 2):
                    raise text_too_large(tokens)
                raise image_too_large(image.size, tokens)
            if image is None:
                return {"prompt_token_ids": ids}, tokens
            image, size = self._inputs.shown(image, prompt.pixel_share, {})
        asked: dict[str, Any] = {
            "prompt_token_ids": self._marked_once(ids),
            "multi_modal_data": {"image": image},
        }
        if size is not None:
            asked["mm_processor_kwargs"] = {"size": size}
        return asked, tokens

    def _marked_once(self, ids: list[int]) -> list[int]:
        """The token ids with the place of the picture as its prompt has it: vLLM makes room for the picture itself."""
        if self._mark not in ids:
            raise SetupError(
                f"{self._folder}: where a picture stands in the prompts of this model is not known; use the engine "
                "transformers, or openai with a server of vLLM's"
            )
        first = ids.index(self._mark)
        return [*ids[: first + 1], *(token for token in ids[first:] if token != self._mark)]

    @property
    def _mark(self) -> int | None:
        """The token that stands for a part of a picture, where it is known."""
        return getattr(self._processor, "image_token_id", None)


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = 0.0
    if not 0 < part <= 1:
        raise argparse.ArgumentTypeError(f"a part above 0 and at most 1 is expected, not {text!r}")
    return part
