"""Short prompts answered together: every answer and score is that of the prompt alone, also where memory runs out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Reply, TaskFailed
from hitui_runners.engines.transformers import TransformersEngine
from hitui_runners.errors import RunnerError
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import Runner
from tests.runners.scripted import launch
from tests.runners.watched import (
    NEW_TOKENS,
    PROMPTS,
    Alone,
    Watched,
    asked,
    end_early,
    from_their_start,
    model,
    one_engine,
    plain,
    same_scores,
    tokens_of,
)
from tests.tools.benchmark import png

__all__ = ["model", "one_engine", "plain"]

pytestmark = pytest.mark.model


def test_together_they_say_what_each_says_alone_with_the_same_scores(model: Watched, plain: Alone) -> None:
    assert model.together(PROMPTS) == plain.answers
    # Computed by one call, and answered by another.
    assert (model.computed, model.rows) == ([6], [6])
    same_scores(model, plain)
    # On a model whose answers are all alike, or prompts of one length, this would say little.
    assert len({answer.text for answer in plain.answers if isinstance(answer, Reply)}) == len(PROMPTS)
    assert max(tokens_of(plain)) > 2 * min(tokens_of(plain))


def test_what_fills_a_row_is_of_its_own_prompt(model: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a penalty on tokens that were said before meets none that it does not meet alone."""
    given: list[dict[str, Any]] = []
    watched = model.engine._model.generate

    def generate(**inputs: Any) -> Any:
        given.append(inputs)
        return watched(**inputs)

    monkeypatch.setattr(model.engine._model, "generate", generate)
    model.together(PROMPTS)

    assert len(given) == 2
    for inputs in given:
        rows = list(zip(inputs["input_ids"], inputs["attention_mask"], strict=True))
        assert sum(int((mask == 0).sum()) for _, mask in rows) > len(PROMPTS)
        for ids, mask in rows:
            assert set(ids[mask == 0].tolist()) <= set(ids[mask == 1].tolist())
            # On the left, never on the right.
            assert mask.tolist() == sorted(mask.tolist())


def test_each_answer_comes_when_it_ends_and_is_what_it_is_alone(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_early(model, plain, monkeypatch)
    alone = from_their_start(model, PROMPTS)
    came = list(model.answers(PROMPTS))

    lengths = [answer.output_tokens for answer in alone.answers if isinstance(answer, Reply)]
    assert [
        {answer.output_tokens for answer in at_a_time.values() if isinstance(answer, Reply)}
        for at_a_time in came
    ] == [{length} for length in sorted(set(lengths))]
    assert {name: answer for at_a_time in came for name, answer in at_a_time.items()} == dict(
        enumerate(alone.answers)
    )
    assert model.rows == [
        sum(length >= end for length in lengths if length is not None) for end in sorted(set(lengths))
    ]
    same_scores(model, alone)


def test_what_else_ends_an_answer_ends_those_that_are_given_together(
    model: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After the first word.
    monkeypatch.setattr(model.engine._model.generation_config, "max_time", 1e-9)
    alone = from_their_start(model, PROMPTS[:3])
    assert model.together(PROMPTS[:3]) == alone.answers
    assert model.rows == [3]


def test_where_one_has_ended_the_next_one_joins_those_that_go_on(
    model: Watched, plain: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_early(model, plain, monkeypatch)
    prompts = [replace(asked(number % 16), task_id=number) for number in range(24)]
    alone = from_their_start(model, prompts)
    tokens = 4 * (max(tokens_of(alone)) + NEW_TOKENS)
    model.budget(tokens)
    model.engine._budget._short = 1_000

    assert model.together(prompts) == alone.answers
    same_scores(model, alone)
    # At no time are there more tokens than the budget, nor fewer rows than it has room for.
    assert max(model.filled) <= tokens
    assert min(model.rows[:-NEW_TOKENS]) >= 4
    assert model.computed[0] >= 4
    assert len(model.computed) > 5
    assert sum(model.computed) == len(prompts)


def test_there_is_room_for_answers_as_long_as_they_were(model: Watched, plain: Alone) -> None:
    sizes = tokens_of(plain)
    model.budget(3 * max(sizes[:3]) + 2 * NEW_TOKENS)
    model.engine._budget._short = 1_000
    # Before any has ended, as long as they may be.
    assert model.together(PROMPTS[:3]) == plain.answers[:3]
    assert max(model.rows) == 2

    for _ in range(1_000):
        model.engine._budget.has_ended(1)
    model.forget()
    assert model.together(PROMPTS[:3]) == plain.answers[:3]
    assert model.rows[0] == 3


def test_where_answers_outgrow_their_room_who_has_said_least_waits_once_more(
    model: Watched, plain: Alone
) -> None:
    tokens = 3 * (max(tokens_of(plain)) + 2)
    model.budget(tokens)
    model.engine._budget._short = 1_000
    for _ in range(1_000):
        model.engine._budget.has_ended(1)

    assert model.together(PROMPTS) == plain.answers
    assert max(model.rows) >= 3
    assert max(model.filled) <= tokens
    assert sum(model.computed) > len(PROMPTS)


def test_pictures_before_and_after_change_nothing(model: Watched, plain: Alone, tmp_path: Path) -> None:
    """The model holds how far positions are from token counts, of its last prompt."""
    (tmp_path / "shown.png").write_bytes(png(192, 160))
    shown = asked(7, tmp_path / "shown.png")
    expected = model.together([shown])

    assert model.together(PROMPTS[:3]) == plain.answers[:3]
    assert model.together([shown]) == expected
    assert model.rows == [1, 3, 1]


def test_where_beginnings_are_not_shared_short_ones_of_text_that_follow_each_other_join(
    model: Watched, plain: Alone, tmp_path: Path
) -> None:
    (tmp_path / "shown.png").write_bytes(png(64, 64))
    long = replace(asked(8), table="Harbour 8,41\n" * 300)
    mixed = [*PROMPTS[:3], asked(9, tmp_path / "shown.png"), *PROMPTS[3:5], long, PROMPTS[5]]
    alone = from_their_start(model, mixed)
    model.budget(16_000)

    assert model.together(mixed) == alone.answers
    assert (model.computed, model.rows) == ([3, 2], [3, 1, 2, 1, 1])


def test_padding_and_the_longest_answers_count(model: Watched, plain: Alone) -> None:
    sizes = tokens_of(plain)[:3]
    for tokens, rows in ((3 * (max(sizes) + NEW_TOKENS), 3), (3 * (max(sizes) + NEW_TOKENS) - 1, 2)):
        model.forget()
        model.budget(tokens)
        model.engine._budget._short = 1_000
        assert model.together(PROMPTS[:3]) == plain.answers[:3]
        assert max(model.rows) == rows


def test_a_prompt_that_cannot_be_asked_fails_and_keeps_none_from_joining(
    model: Watched, plain: Alone, tmp_path: Path
) -> None:
    hopeless = replace(PROMPTS[1], max_input_tokens=5)
    gone = asked(7, tmp_path / "gone.png")
    first, failed, absent, last = model.together([PROMPTS[0], hopeless, gone, PROMPTS[2]])

    assert isinstance(failed, TaskFailed)
    assert failed.message.endswith("tokens without its table, more than the 5 allowed")
    assert isinstance(absent, FileNotFoundError)
    assert [first, last] == [plain.answers[0], plain.answers[2]]


def test_a_table_that_was_cut_is_said_to_be(model: Watched) -> None:
    cut = replace(asked(9), table=asked(6).table * 8, max_input_tokens=150)
    expected = model.alone([cut, PROMPTS[0]])

    assert model.together([cut, PROMPTS[0]]) == expected
    assert isinstance(expected[0], Reply)
    assert expected[0].recovery["max_input_tokens"] == 150


def test_those_whom_nobody_waits_for_are_let_go(model: Watched, plain: Alone) -> None:
    import itertools

    model.budget(2 * (max(tokens_of(plain)) + NEW_TOKENS))
    model.engine._budget._short = 1_000
    assert list(itertools.islice(model.answers([*PROMPTS, *PROMPTS]), 1))
    model.forget()

    assert model.together(PROMPTS[:2]) == plain.answers[:2]
    assert model.rows == [2]


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
    # Every third word ends an answer: each has an end of its own.
    words = range(0, len(engine._tokenizer), 3)
    monkeypatch.setattr(engine._model.generation_config, "eos_token_id", list(words))
    # One engine serves all tests here; the program's own ends with its run.
    monkeypatch.setattr(engine, "load", lambda: None)
    monkeypatch.setattr(engine, "close", lambda: None)
    assert launch(runner, engine, signals).run() == 0

    assert len(model.rows) > 2
    assert model.computed == [6]
    assert stored[1:] == [6 - rows for rows in model.rows]
    assert len(runner.journal) == 6


def test_it_can_be_turned_off(model: Watched, plain: Alone) -> None:
    model.budget(0)

    assert model.together(PROMPTS) == plain.answers
    assert (model.computed, model.rows) == ([], [1] * 6)
    assert TransformersEngine(Path(), 1, 1, None, batch_tokens=0).looks_ahead == 1


def test_a_budget_that_cannot_be_meant(middle_model: Path) -> None:
    parser = argparse.ArgumentParser()
    TransformersEngine.add_arguments(parser)
    arguments = parser.parse_args(["--batch-tokens", "-1"])
    arguments.model, arguments.engine = str(middle_model), "transformers"
    with pytest.raises(RunnerError, match="--batch-tokens: a number from 0 on is expected, not -1"):
        TransformersEngine.from_arguments(arguments)
