"""The engine on GPUs in name, one and two: it does what it does on the CPU and says the same, no tensor is left on another
device, and a GPU is waited for as often for many rows as for two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hitui_runners.engines import continuous_batch, side_by_side
from hitui_runners.engines.base import Answer, Prompt
from hitui_runners.engines.continuous_batch import ContinuousBatch
from hitui_runners.engines.prefix_cache import PrefixCache
from hitui_runners.engines.transformers import TransformersEngine

from tests.runners.watched import (
    NEW_TOKENS,
    OUT_OF_MEMORY,
    PROMPTS,
    Watched,
    asked,
    end_early,
    from_their_start,
    tokens_of,
)
from tests.tools.benchmark import png

if TYPE_CHECKING:
    from tests.tools.other_device import GpusInName

pytestmark = pytest.mark.model

TABLE = "".join(f"<tr><td>Harbour {row}</td><td>{row * 37 % 101}</td></tr>\n" for row in range(12))


@dataclass(frozen=True)
class Known:
    """Prompts, and what comes of them on the CPU."""

    prompts: list[Prompt]
    answers: list[Answer]
    """Of each alone, from its start."""
    ends: list[int]
    """The tokens that end an answer: some end before others."""
    tokens: int
    """A budget for which there are too many of them."""
    calls: tuple[list[int], list[int]]
    """How many each call of the model got that computes, and each that answers, when all wait."""


@pytest.fixture(scope="module")
def known(middle_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Known:
    pictures = [tmp_path_factory.mktemp("pictures") / f"{number}.png" for number in range(2)]
    for number, picture in enumerate(pictures, 1):
        picture.write_bytes(png(192, 160, number))
    kinds = [(TABLE, None), (TABLE, pictures[0]), ("", pictures[1])]
    long = [replace(asked(number, picture), table=table) for table, picture in kinds for number in (0, 1)]
    prompts = [replace(prompt, task_id=number) for number, prompt in enumerate([*PROMPTS[:3], *long])]
    model = loaded(middle_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.engine._model.generation_config, "eos_token_id", None)
        alone = from_their_start(model, prompts)
        end_early(model, alone, patch)
        ends: list[int] = model.engine._model.generation_config.eos_token_id
        tokens = 4 * (max(tokens_of(alone)) + 2)
        answers = from_their_start(model, prompts).answers
        assert together(model, prompts, tokens) == answers
    return Known(prompts, answers, ends, tokens, (model.computed, model.rows))


def loaded(folder: Path) -> Watched:
    engine = TransformersEngine(folder, 100_000, NEW_TOKENS, None)
    with pytest.MonkeyPatch.context() as patch:
        # On the CPU, also where there is a GPU.
        patch.setattr("torch.cuda.is_available", lambda: False)
        engine.load()
    return Watched(engine)


def together(model: Watched, prompts: list[Prompt], tokens: int) -> list[Answer]:
    """What comes of them when answers outgrow their room, and when memory runs out on the way."""
    import torch

    model.budget(tokens)
    model.engine._budget._short = 150
    for _ in range(1_000):
        model.engine._budget.has_ended(1)
    model.failures += [*[None] * 6, torch.OutOfMemoryError(OUT_OF_MEMORY)]
    answers = model.together(prompts)
    assert not model.failures
    return answers


def on_one(model: Any) -> None:
    model.to("cuda:0")


def on_two(model: Any) -> None:
    """As accelerate spreads a model: each GPU has some of the layers, and their keys and values."""
    from accelerate import dispatch_model, infer_auto_device_map

    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    places = infer_auto_device_map(
        model, {0: size // 2, 1: size}, no_split_module_classes=list(model._no_split_modules)
    )
    dispatch_model(
        model,
        {name: f"cuda:{place}" for name, place in places.items()},
        # As it chooses itself where GPUs are told by their numbers.
        main_device="cuda:0",
        skip_keys=model._skip_keys_device_placement,
    )


@pytest.fixture(scope="module", params=[on_one, on_two], ids=["one", "two"])
def placed(request: pytest.FixtureRequest, middle_model: Path) -> Watched:
    from tests.tools.other_device import gpus_in_name

    model = loaded(middle_model)
    with gpus_in_name():
        request.param(model.engine._model)
    return model


@pytest.fixture
def gpus() -> Iterator[Any]:
    from tests.tools.other_device import gpus_in_name

    with gpus_in_name() as gpus:
        yield gpus


@pytest.fixture
def on_gpus(placed: Watched, known: Known, gpus: Any, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(placed.engine._model.generation_config, "eos_token_id", known.ends)
    placed.engine._forget()
    placed.forget()
    return placed


def test_one_after_the_other_they_say_what_they_say_on_the_cpu(on_gpus: Watched, known: Known) -> None:
    before = on_gpus.engine._prefixes.shared_tokens
    assert on_gpus.alone(known.prompts[2:]) == known.answers[2:]
    # The second one over the table, over the picture, and over both went on from the first.
    assert on_gpus.engine._prefixes.shared_tokens - before > 3 * 40


def test_together_they_say_it_too(on_gpus: Watched, known: Known) -> None:
    assert together(on_gpus, known.prompts, known.tokens) == known.answers
    # What fails together is asked again alone: it would be told by other calls.
    assert (on_gpus.computed, on_gpus.rows) == known.calls
    assert max(on_gpus.computed) > 1
    assert len(set(on_gpus.rows)) > 2


def test_a_tensor_that_is_left_on_the_cpu_is_found(on_gpus: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = side_by_side._filled
    monkeypatch.setattr(side_by_side, "_filled", lambda rows: filled(rows).cpu())
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        answered(on_gpus, PROMPTS[:2], 2)


def test_a_gpu_is_waited_for_as_often_for_six_rows_as_for_two(
    on_gpus: Watched, gpus: GpusInName, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = on_gpus.engine._model
    # Answers of one length, and nobody who looks on.
    monkeypatch.setattr(model.generation_config, "eos_token_id", None)
    monkeypatch.delattr(model, "generate")

    def waits(prompts: list[Prompt], new_tokens: int) -> int:
        gpus.waits.clear()
        assert len(answered(on_gpus, prompts, new_tokens)) == len(prompts)
        return gpus.waits.total()

    def waits_of_the_model(new_tokens: int) -> int:
        rows = [ids_of(on_gpus, prompt) for prompt in PROMPTS[:2]]
        mask = continuous_batch._mask(list(map(len, rows)), "cuda:0")
        gpus.waits.clear()
        model.generate(
            input_ids=continuous_batch._padded(rows).to("cuda:0"),
            attention_mask=mask,
            max_new_tokens=new_tokens,
        )
        return gpus.waits.total()

    of_two = waits(PROMPTS[:2], 2)
    assert waits(PROMPTS, 2) == of_two
    # Nor for one more token of each oftener than the model does by itself.
    assert waits(PROMPTS[:2], 3) - of_two == waits_of_the_model(3) - waits_of_the_model(2) > 0


def ids_of(model: Watched, prompt: Prompt) -> Any:
    return model.engine._inputs.of(prompt, None, {})["input_ids"][0]


def answered(model: Watched, prompts: list[Prompt], new_tokens: int) -> dict[int, Any]:
    """Of prompts that are computed together: so many new tokens of each."""
    import torch

    engine = model.engine
    ids = [ids_of(model, prompt) for prompt in prompts]
    batch = ContinuousBatch(engine._model, PrefixCache(engine._model), new_tokens)
    with torch.inference_mode():
        batch.join_short(dict(enumerate(ids)))
        return batch.go_on(100_000)
