"""Short prompts answered together: every answer and score is that of the prompt alone, also where memory runs out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Reply, TaskFailed
from hitui_runners.engines.rows import generate_rows
from hitui_runners.engines.transformers import TransformersEngine
from hitui_runners.errors import EngineLost, RunnerError
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import Runner
from tests.runners.scripted import launch
from tests.runners.watched import (
    NEW_TOKENS,
    OUT_OF_MEMORY,
    PROMPTS,
    Alone,
    Watched,
    asked,
    each_at_its_end,
    end_early,
    longest_first,
    model,
    one_engine,
    plain,
    sharing,
)
from tests.tools.benchmark import png
from tests.tools.memory_limit import address_space

__all__ = ["model", "one_engine", "plain", "sharing"]

pytestmark = pytest.mark.model


def test_together_they_say_what_each_says_alone_with_the_same_scores(model: Watched, plain: Alone) -> None:
    import torch

    expected = plain.answers
    assert model.together(PROMPTS) == expected
    assert model.rows == [len(PROMPTS)]
    for place, scores in zip(longest_first(expected), model.scores, strict=True):
        torch.testing.assert_close(scores, plain.scores[place], rtol=1e-3, atol=1e-2)
    # On a model whose answers are all alike, or prompts of one length, this would say little.
    assert len({answer.text for answer in expected if isinstance(answer, Reply)}) == len(PROMPTS)
    lengths = [answer.input_tokens or 0 for answer in expected if isinstance(answer, Reply)]
    assert max(lengths) > 2 * min(lengths)


def test_what_fills_a_row_is_of_its_own_prompt(model: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a penalty on tokens that were said before meets none that it does not meet alone."""
    given: dict[str, Any] = {}
    watched = model.engine._model.generate

    def generate(**inputs: Any) -> Any:
        given.update(inputs)
        return watched(**inputs)

    monkeypatch.setattr(model.engine._model, "generate", generate)
    model.together(PROMPTS)
    assert model.rows == [len(PROMPTS)]

    rows = list(zip(given["input_ids"], given["attention_mask"], strict=True))
    assert sum(int((mask == 0).sum()) for _, mask in rows) > len(PROMPTS)
    for ids, mask in rows:
        assert set(ids[mask == 0].tolist()) <= set(ids[mask == 1].tolist())
        # On the left, never on the right.
        assert mask.tolist() == sorted(mask.tolist())


def test_each_answer_comes_when_it_ends_and_is_what_it_is_alone(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = end_early(model, plain, monkeypatch)
    expected = dict(enumerate(model.alone(PROMPTS)))
    assert [answer.output_tokens for answer in expected.values() if isinstance(answer, Reply)] == lengths

    assert each_at_its_end(model, PROMPTS, plain, lengths, longest_first(plain.answers)) == expected


def test_pictures_before_and_after_change_nothing(model: Watched, plain: Alone, tmp_path: Path) -> None:
    """The model holds how far positions are from token counts, of its last prompt."""
    (tmp_path / "shown.png").write_bytes(png(192, 160))
    shown = asked(7, tmp_path / "shown.png")
    expected = model.together([shown])

    assert model.together(PROMPTS[:3]) == plain.answers[:3]
    assert model.together([shown]) == expected
    assert model.rows == [1, 3, 1]


def test_short_ones_of_text_that_follow_each_other_join(model: Watched, plain: Alone, tmp_path: Path) -> None:
    (tmp_path / "shown.png").write_bytes(png(64, 64))
    long = replace(asked(8), table="Harbour 8,41\n" * 300)
    sizes = [answer.input_tokens for answer in plain.answers[:3] if isinstance(answer, Reply)]
    mixed = [*PROMPTS[:3], asked(9, tmp_path / "shown.png"), *PROMPTS[3:5], long, PROMPTS[5]]
    model.budget(16_000)

    assert model.engine.together(mixed) == 3
    assert [model.engine.together(mixed[first:]) for first in (3, 4, 6, 7)] == [1, 2, 1, 1]
    # Padding and answers count.
    model.budget(16 * max(sizes))
    assert model.engine.together(PROMPTS[:3]) == 3
    model.engine._batches._tokens = 3 * (max(sizes) + NEW_TOKENS) - 1
    assert model.engine.together(PROMPTS[:3]) == 2


def test_a_prompt_that_cannot_be_asked_fails_alone(model: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    hopeless = replace(PROMPTS[1], max_input_tokens=5)

    assert model.engine.together([PROMPTS[0], hopeless, PROMPTS[2]]) == 1
    (failed,) = model.together([hopeless])
    assert isinstance(failed, TaskFailed)
    assert failed.message.endswith("tokens without its table, more than the 5 allowed")


def test_a_table_that_was_cut_is_said_to_be(model: Watched) -> None:
    cut = replace(asked(9), table=asked(6).table * 8, max_input_tokens=150)
    expected = model.alone([cut, PROMPTS[0]])

    assert model.together([cut, PROMPTS[0]]) == expected
    assert isinstance(expected[0], Reply)
    assert expected[0].recovery["max_input_tokens"] == 150


def test_out_of_memory_halves_the_batch_and_it_stays_so(model: Watched, plain: Alone) -> None:
    import torch

    model.failures += [torch.OutOfMemoryError(OUT_OF_MEMORY)] * 2
    assert model.together(PROMPTS) == plain.answers
    # The longest together are the fewest.
    assert model.rows[:3] == [6, 3, 1]
    assert sum(model.rows[2:]) == 6
    halved = max(model.rows[2:])

    model.rows.clear()
    assert model.engine.together(PROMPTS) <= halved


def test_who_fails_alone_fails_and_no_one_else(model: Watched, plain: Alone) -> None:
    import torch

    expected = plain.answers
    places = longest_first(expected[:2])
    model.failures += [torch.OutOfMemoryError(OUT_OF_MEMORY)] * 2
    answers = model.together(PROMPTS[:2])

    failed = answers[places[0]]
    assert isinstance(failed, TaskFailed)
    assert failed.message.startswith("OOM: Text too large (")
    assert answers[places[1]] == expected[places[1]]


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
    tokens = max(answer.input_tokens or 0 for answer in plain.answers if isinstance(answer, Reply))
    with address_space(tokens * 3_000_000):
        answers = model.together(PROMPTS)

    assert answers == plain.answers
    assert 1 < max(model.rows) <= 3
    assert sum(model.rows) == 6


def test_memory_that_runs_out_before_the_model_is_asked_halves_the_batch_too(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    together: list[int] = []

    def generate(watched: Any, ids: Any, *given: Any) -> Any:
        together.append(len(ids))
        if len(ids) > 3:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return generate_rows(watched, ids, *given)

    monkeypatch.setattr("hitui_runners.engines.batches.generate_rows", generate)
    assert model.together(PROMPTS) == plain.answers
    assert together == [6, 3, 3]


def test_a_failure_of_the_batch_is_told_of_the_one_whose_it_is(
    model: Watched, plain: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = plain.answers[:3]
    model.failures += [RuntimeError("shape mismatch"), None, RuntimeError("shape mismatch")]
    answers = model.together(PROMPTS[:3])

    guilty = longest_first(expected)[1]
    failed = answers[guilty]
    assert isinstance(failed, TaskFailed)
    assert failed.message == "RuntimeError: shape mismatch"
    assert failed.unexpected
    assert "3 prompts together: RuntimeError: shape mismatch; asking each alone" in capsys.readouterr().out
    assert [answers[place] == expected[place] for place in range(3)] == [
        place != guilty for place in range(3)
    ]


def test_a_broken_gpu_is_lost_for_a_batch_too(model: Watched) -> None:
    broken = RuntimeError("CUDA error: unspecified launch failure")
    model.failures += [broken, broken]
    with pytest.raises(EngineLost, match="the GPU can no longer be used"):
        model.together(PROMPTS[:2])


def test_what_has_ended_when_memory_runs_out_is_not_asked_again(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    lengths = end_early(model, plain, monkeypatch)
    expected = model.alone(PROMPTS)
    model.rows.clear()
    model.failures += [None, torch.OutOfMemoryError(OUT_OF_MEMORY)]

    assert model.together(PROMPTS) == expected
    left = sum(length > min(lengths) for length in lengths)
    assert model.rows[:3] == [6, left, left // 2]


def test_an_answer_is_stored_before_the_others_go_on(
    model: Watched, runner: Runner, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a kill costs those at most that were not yet answered."""
    engine = model.engine
    watched, decode = engine._model.generate, engine._tokenizer.decode
    stored: list[int] = []

    def generate(**inputs: Any) -> Any:
        stored.append(len(runner.journal))
        return watched(**inputs)

    monkeypatch.setattr(engine._model, "generate", generate)
    monkeypatch.setattr(
        engine._tokenizer,
        "decode",
        lambda *ids, **options: "[Final Answer]: it said " + decode(*ids, **options),
    )
    # Every other word ends an answer: each has an end of its own.
    words = range(0, len(engine._tokenizer), 2)
    monkeypatch.setattr(engine._model.generation_config, "eos_token_id", list(words))
    # One engine serves all tests here; the program's own ends with its run.
    monkeypatch.setattr(engine, "load", lambda: None)
    monkeypatch.setattr(engine, "close", lambda: None)
    assert launch(runner, engine, signals).run() == 0

    assert len(model.rows) > 2
    assert stored == [6 - rows for rows in model.rows]
    assert len(runner.journal) == 6


def test_it_can_be_turned_off(model: Watched) -> None:
    model.budget(0)

    assert model.engine.together(PROMPTS) == 1
    assert TransformersEngine(Path(), 1, 1, None, batch_tokens=0).looks_ahead == 1


def test_a_budget_that_cannot_be_meant(middle_model: Path) -> None:
    parser = argparse.ArgumentParser()
    TransformersEngine.add_arguments(parser)
    arguments = parser.parse_args(["--batch-tokens", "-1"])
    arguments.model, arguments.engine = str(middle_model), "transformers"
    with pytest.raises(RunnerError, match="--batch-tokens: a number from 0 on is expected, not -1"):
        TransformersEngine.from_arguments(arguments)
