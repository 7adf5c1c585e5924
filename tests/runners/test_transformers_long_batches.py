"""Long prompts, and those with pictures, answered together: every answer and score is that of the prompt alone, also
where memory runs out."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hitui_runners.engines.base import Prompt, Reply
from hitui_runners.engines.batches import Batches
from hitui_runners.engines.side_by_side import leave_one, side_by_side

from tests.runners.watched import (
    NEW_TOKENS,
    OUT_OF_MEMORY,
    Watched,
    asked,
    each_at_its_end,
    end_early,
    from_their_start,
    model,
    one_engine,
    plain,
    sharing,
)
from tests.tools.benchmark import png

__all__ = ["model", "one_engine", "plain", "sharing"]

pytestmark = pytest.mark.model

TABLE = "".join(f"<tr><td>Harbour {row}</td><td>{row * 37 % 101}</td></tr>\n" for row in range(12))


def over_one_table(table: str, picture: Path | None) -> list[Prompt]:
    """Four, whose questions are of different lengths."""
    prompts = [replace(asked(number, picture), table=table) for number in range(4)]
    return [
        replace(prompt, after=prompt.after + " And how many in all of them together?" * (number % 3))
        for number, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize(
    ("table", "has_picture"), [(TABLE, False), ("", True), (TABLE, True)], ids=["text", "image", "mix"]
)
def test_over_one_table_they_say_the_same_together(
    sharing: Watched, tmp_path: Path, table: str, has_picture: bool
) -> None:
    import torch

    (tmp_path / "shown.png").write_bytes(png(320, 256))
    prompts = over_one_table(table, tmp_path / "shown.png" if has_picture else None)
    alone = from_their_start(sharing, prompts)

    assert sharing.together(prompts) == alone.answers
    # Each is computed after the other, with one token of an answer; then all go on.
    assert sharing.rows == [1, 1, 1, 1, 4]
    assert sharing.engine._prefixes.shared_tokens > sharing.engine._prefixes.tokens / 2
    for place, scores in enumerate(sharing.scores[4:]):
        torch.testing.assert_close(scores, alone.scores[place], rtol=1e-3, atol=1e-2)
    assert len({answer.text for answer in alone.answers if isinstance(answer, Reply)}) > 2
    # What they have in common is kept, and right, for the next ones.
    assert sharing.together(prompts[1:3]) == alone.answers[1:3]
    assert sharing.alone(prompts[3:]) == alone.answers[3:]


@pytest.mark.parametrize("has_picture", [False, True], ids=["text", "mix"])
def test_over_one_table_too_each_comes_when_it_ends(
    sharing: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_picture: bool
) -> None:
    (tmp_path / "shown.png").write_bytes(png(320, 256))
    prompts = over_one_table(TABLE, tmp_path / "shown.png" if has_picture else None)
    alone = from_their_start(sharing, prompts)
    lengths = end_early(sharing, alone, monkeypatch)
    expected = from_their_start(sharing, prompts).answers

    assert each_at_its_end(sharing, prompts, alone, lengths, range(4)) == dict(enumerate(expected))
    assert sharing.rows[:5] == [1, 1, 1, 1, 4]
    # What they have in common is kept, and right, for the next ones.
    assert sharing.together(prompts[1:3]) == expected[1:3]


def test_over_several_tables_they_say_the_same_together(sharing: Watched) -> None:
    import torch

    tables = ("", TABLE, TABLE.replace("Harbour", "Quay") * 2)
    prompts = [prompt for table in tables for prompt in over_one_table(table, None)[:2]]
    alone = from_their_start(sharing, prompts)

    assert sharing.together(prompts) == alone.answers
    assert sharing.rows == [1] * 6 + [6]
    for place, scores in enumerate(sharing.scores[6:]):
        torch.testing.assert_close(scores, alone.scores[place], rtol=1e-3, atol=1e-2)
    lengths = [answer.input_tokens or 0 for answer in alone.answers if isinstance(answer, Reply)]
    assert max(lengths) > 3 * min(lengths)
    # The last table is kept for the next prompt, which computes little more than its question.
    computed = sharing.engine._prefixes.tokens - sharing.engine._prefixes.shared_tokens
    assert sharing.alone(prompts[4:5]) == alone.answers[4:5]
    assert sharing.engine._prefixes.tokens - sharing.engine._prefixes.shared_tokens - computed < 60


@pytest.mark.parametrize("failing", [2, 4], ids=["while it is computed", "while it is answered"])
def test_out_of_memory_halves_those_that_are_not_short_too(sharing: Watched, failing: int) -> None:
    import torch

    prompts = over_one_table(TABLE, None)
    alone = from_their_start(sharing, prompts)
    # From what is kept, and then from its start.
    times = 1 if failing == 4 else 2
    sharing.failures += [*[None] * failing, *[torch.OutOfMemoryError(OUT_OF_MEMORY)] * times]

    assert sharing.together(prompts) == alone.answers
    calls = [1, 1, 1, 1] if failing == 2 else [1, 1, 1, 1, 4]
    assert sharing.rows == [*calls, 1, 1, 2, 1, 1, 2]


def test_no_memory_for_what_is_kept_costs_no_batch(sharing: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """All answers came by then."""
    import torch

    def left(*_: Any) -> Any:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    prompts = over_one_table(TABLE, None)
    alone = from_their_start(sharing, prompts)
    monkeypatch.setattr("hitui_runners.engines.prefix_cache.leave_one", left)

    assert sharing.together(prompts) == alone.answers
    assert sharing.together(prompts) == alone.answers
    assert sharing.rows == [1, 1, 1, 1, 4] * 2


def test_one_row_is_left_without_memory_for_two_of_all() -> None:
    import torch

    def numbers(tokens: int) -> Any:
        return torch.arange(2.0 * tokens * 3).reshape(1, 2, tokens, 3)

    rows = [[(numbers(tokens), -numbers(tokens)) for _ in range(4)] for tokens in (5, 3)]
    cache = side_by_side(rows)
    gone: list[bool] = []

    def watched() -> Iterator[Any]:
        for layer in cache.layers:
            before = weakref.ref(layer.keys)
            yield layer
            gone.append(before() is None)

    leave_one(SimpleNamespace(layers=watched()), 1, 2, 3)
    assert gone == [True] * 4
    for layer in cache.layers:
        assert torch.equal(layer.keys, numbers(3))
        assert torch.equal(layer.values, -numbers(3))
        assert layer.keys.untyped_storage().nbytes() == numbers(3).untyped_storage().nbytes()


def test_those_that_show_other_pictures_are_answered_apart(sharing: Watched, tmp_path: Path) -> None:
    """No more than one is kept in memory."""
    for number, name in enumerate(("shown.png", "other.png")):
        (tmp_path / name).write_bytes(png(192, 160, number + 1))
    prompts = over_one_table(TABLE, tmp_path / "shown.png")
    others = over_one_table(TABLE, tmp_path / "other.png")

    assert sharing.engine.together([*prompts[:3], *others[:2]]) == 3
    assert sharing.engine.together([prompts[0], *others]) == 1
    assert sharing.engine.together([*over_one_table(TABLE, None)[:2], *prompts]) == 2
    sharing.engine._batches._tokens = 700
    assert sharing.engine.together(prompts) == 1


def test_a_prompt_of_text_is_made_ready_once(sharing: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int | str] = []
    of = sharing.engine._inputs.of

    def counted(prompt: Prompt, *given: Any) -> Any:
        made.append(prompt.task_id)
        return of(prompt, *given)

    monkeypatch.setattr(sharing.engine._inputs, "of", counted)
    prompts = over_one_table(TABLE, None)
    sharing.engine._batches._tokens = 500
    assert sharing.engine.together(prompts) == 1
    list(sharing.engine.answer_all(prompts[:1]))
    # Nor is one made ready that cannot join.
    assert made == [0]
    sharing.budget(100_000)
    sharing.engine._batches._short = 0
    sharing.together(prompts)
    assert made == [0, 0, 1, 2, 3]


def test_as_many_tokens_as_one_prompt_had_may_several_have(
    sharing: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was memory for them."""
    import torch

    monkeypatch.setattr("hitui_runners.engines.batches.TOKENS_ON_THE_CPU", 700)
    prompts = over_one_table(TABLE, None)
    longer = replace(prompts[0], table=TABLE * 6)

    # Who says how many is believed.
    for said, together in ((700, 1), (None, 4)):
        sharing.engine._batches = Batches(sharing.engine._model, said, NEW_TOKENS)
        assert sharing.engine.together(prompts) == 1
        assert isinstance(sharing.engine.answer_of(longer), Reply)
        assert sharing.engine.together(prompts) == together

    # Nor does it grow once there was not.
    sharing.failures += [None] * 4 + [torch.OutOfMemoryError(OUT_OF_MEMORY)]
    sharing.together(prompts)
    sharing.engine.answer_of(longer)
    assert sharing.engine.together(prompts) < 4
