"""Short prompts answered together where memory runs out, or something else goes wrong: nobody is lost, nor blamed for another."""

from __future__ import annotations

from typing import Any

import pytest
from hitui_runners.engines.base import Reply, TaskFailed
from hitui_runners.errors import EngineLost

from tests.runners.watched import (
    OUT_OF_MEMORY,
    PROMPTS,
    Alone,
    Watched,
    end_early,
    from_their_start,
    model,
    one_engine,
    plain,
    tokens_of,
)
from tests.tools.memory_limit import address_space

__all__ = ["model", "one_engine", "plain"]

pytestmark = pytest.mark.model


def test_out_of_memory_halves_the_batch_and_it_stays_so(model: Watched, plain: Alone) -> None:
    import torch

    # When six are computed, and then when three are answered.
    model.failures += [torch.OutOfMemoryError(OUT_OF_MEMORY), None, torch.OutOfMemoryError(OUT_OF_MEMORY)]
    assert model.together(PROMPTS) == plain.answers
    assert model.computed[0] == 6
    assert 2 <= model.rows[0] <= 4
    assert max(model.filled[1:]) <= model.filled[0] / 2

    halved = max(model.filled[1:])
    model.forget()
    assert model.together(PROMPTS) == plain.answers
    assert max(model.filled) <= halved


def test_who_fails_alone_fails_and_no_one_else(model: Watched, plain: Alone) -> None:
    import torch

    # Both at first, and then the first of them.
    model.failures += [torch.OutOfMemoryError(OUT_OF_MEMORY)] * 2
    failed, answered = model.together(PROMPTS[:2])

    assert isinstance(failed, TaskFailed)
    assert failed.message.startswith("OOM: Text too large (")
    assert answered == plain.answers[1]


def test_memory_that_really_runs_out_halves_the_batch(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    watched = model.engine._model.generate

    def generate(**inputs: Any) -> Any:
        # As a model of another size: 1 MB a token, from the allocator that refuses them.
        held = torch.empty(inputs["input_ids"].numel() * 1_000_000, dtype=torch.uint8)
        assert held.numel()
        return watched(**inputs)

    monkeypatch.setattr(model.engine._model, "generate", generate)
    with address_space(max(tokens_of(plain)) * 3_000_000):
        answers = model.together(PROMPTS)

    assert answers == plain.answers
    assert 1 < max(model.rows) <= 3


def test_no_memory_for_one_that_was_computed_with_others_is_none_for_all_of_them(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else some of them would be answered whom nobody knows."""
    import torch
    from hitui_runners.engines import continuous_batch

    layers_of, calls = continuous_batch.layers_of, []

    def one_fails(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return layers_of(*given)

    monkeypatch.setattr(continuous_batch, "layers_of", one_fails)
    assert model.together(PROMPTS) == plain.answers
    assert model.computed[0] == 6
    assert max(model.rows) <= 3


def test_an_answer_that_is_no_text_costs_no_other(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, said = model.engine._turns._decode, []

    def text(new: Any) -> str:
        said.append(new)
        if len(said) == 2:
            raise ValueError("no such token")
        return str(decode(new))

    monkeypatch.setattr(model.engine._turns, "_decode", text)
    assert model.together(PROMPTS[:3]) == plain.answers[:3]
    # That one was asked once more, alone.
    assert model.rows == [3, 1]


def test_a_failure_of_the_batch_is_told_of_the_one_whose_it_is(
    model: Watched, plain: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    model.failures += [None, RuntimeError("shape mismatch"), None, RuntimeError("shape mismatch")]
    answers = model.together(PROMPTS[:3])

    failed = answers[1]
    assert isinstance(failed, TaskFailed)
    assert failed.message == "RuntimeError: shape mismatch"
    assert failed.unexpected
    assert "3 prompts together: RuntimeError: shape mismatch; asking each alone" in capsys.readouterr().out
    assert [answers[0], answers[2]] == [plain.answers[0], plain.answers[2]]


def test_a_disk_that_fails_below_the_model_is_not_taken_for_that_of_a_picture(model: Watched) -> None:
    model.failures += [OSError(5, "Input/output error")]
    (failed,) = model.alone(PROMPTS[:1])

    assert isinstance(failed, TaskFailed)
    assert failed.unexpected


@pytest.mark.parametrize("before", [0, 1], ids=["computed", "answered"])
def test_a_broken_gpu_is_lost_for_a_batch_too(
    model: Watched, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = RuntimeError("CUDA error: unspecified launch failure")

    def give_back() -> None:
        raise broken

    # From then on it refuses whatever it is asked for.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.empty_cache", give_back)
    model.failures += [*[None] * before, broken, broken]
    with pytest.raises(EngineLost, match="the GPU can no longer be used"):
        model.together(PROMPTS[:2])


def test_what_has_ended_when_memory_runs_out_is_not_asked_again(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    end_early(model, plain, monkeypatch)
    alone = from_their_start(model, PROMPTS)
    model.failures += [None, None, torch.OutOfMemoryError(OUT_OF_MEMORY)]

    assert model.together(PROMPTS) == alone.answers
    lengths = [answer.output_tokens or 0 for answer in alone.answers if isinstance(answer, Reply)]
    left = sum(length > min(lengths) for length in lengths)
    assert model.rows[:2] == [6, left]
    assert max(model.rows[2:]) <= left // 2
    assert sum(model.computed) == 6 + left


def test_no_memory_for_the_last_one_of_a_batch_is_no_matter_of_batches(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    end_early(model, plain, monkeypatch)
    alone = from_their_start(model, PROMPTS)
    by_length = sorted(
        (answer.output_tokens or 0, place)
        for place, answer in enumerate(alone.answers)
        if isinstance(answer, Reply)
    )
    prompts = [PROMPTS[by_length[0][1]], PROMPTS[by_length[-1][1]]]
    model.failures += [None, None, torch.OutOfMemoryError(OUT_OF_MEMORY)]

    assert model.together(prompts) == [alone.answers[PROMPTS.index(prompt)] for prompt in prompts]
    assert model.rows == [2, 1, 1]
    assert "prompts together" not in capsys.readouterr().out
    model.forget()
    model.together(PROMPTS)
    assert model.rows[0] == 6
