"""Long prompts, and those with pictures, answered together: every answer and score is that of the prompt alone, also
where memory runs out."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Prompt, Reply, TaskFailed
from hitui_runners.engines.side_by_side import layers_of, side_by_side

from tests.runners.watched import (
    NEW_TOKENS,
    OUT_OF_MEMORY,
    Watched,
    asked,
    end_early,
    from_their_start,
    model,
    one_engine,
    plain,
    same_scores,
    sharing,
    tokens_of,
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


def computed_anew(model: Watched) -> int:
    """Tokens of prompts that were not shared with one before."""
    return int(model.engine._prefixes.tokens - model.engine._prefixes.shared_tokens)


def kept_tokens(model: Any) -> int:
    """Tokens for which there are keys and values in memory."""
    import torch

    text = model.config.text_config
    heads = (text.num_key_value_heads, text.head_dim)
    stored = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for value in gc.get_objects()
        if type(value) is torch.Tensor and value.dim() == 4 and (value.shape[1], value.shape[3]) == heads
    }
    return sum(stored.values()) // (2 * text.num_hidden_layers * heads[0] * heads[1] * 4)


@pytest.fixture
def kept_at_each_call(sharing: Watched, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the tokens for which there are keys and values whenever the model is called."""
    generate = sharing.engine._model.generate
    held: list[int] = []

    def watched(**inputs: Any) -> Any:
        held.append(kept_tokens(sharing.engine._model))
        return generate(**inputs)

    monkeypatch.setattr(sharing.engine._model, "generate", watched)
    # What is there now holds none, and looking through it takes longer than the model does.
    gc.collect()
    gc.freeze()
    return held


@pytest.mark.parametrize(
    ("table", "has_picture"), [(TABLE, False), ("", True), (TABLE, True)], ids=["text", "image", "mix"]
)
def test_over_one_table_they_say_the_same_together(
    sharing: Watched, tmp_path: Path, table: str, has_picture: bool
) -> None:
    (tmp_path / "shown.png").write_bytes(png(320, 256))
    prompts = over_one_table(table, tmp_path / "shown.png" if has_picture else None)
    alone = from_their_start(sharing, prompts)

    assert sharing.together(prompts) == alone.answers
    # Each is computed after the other; then all are answered.
    assert (sharing.computed, sharing.rows) == ([1, 1, 1, 1], [4])
    assert sharing.engine._prefixes.shared_tokens > sharing.engine._prefixes.tokens / 2
    same_scores(sharing, alone)
    assert len({answer.text for answer in alone.answers if isinstance(answer, Reply)}) > 2
    # What they have in common is kept, and right, for the next ones.
    before = computed_anew(sharing)
    assert sharing.together(prompts[1:3]) == alone.answers[1:3]
    assert sharing.alone(prompts[3:]) == alone.answers[3:]
    same_scores(sharing, alone)
    assert computed_anew(sharing) - before < 3 * 60


@pytest.mark.parametrize("has_picture", [False, True], ids=["text", "mix"])
def test_where_one_has_ended_the_next_one_joins(
    sharing: Watched,
    kept_at_each_call: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_picture: bool,
) -> None:
    """Over several tables, and several pictures."""
    prompts = []
    for number in range(3):
        (tmp_path / f"shown{number}.png").write_bytes(png(192 + 64 * number, 160, number + 1))
        shown = tmp_path / f"shown{number}.png" if has_picture else None
        table = TABLE.replace("Harbour", f"Quay {number}") * (1 + (number == 0))
        prompts += [
            replace(prompt, task_id=len(prompts) + place)
            for place, prompt in enumerate(over_one_table(table, shown))
        ]
    plain = from_their_start(sharing, prompts)
    end_early(sharing, plain, monkeypatch)
    alone = from_their_start(sharing, prompts)
    longest = max(tokens_of(alone))
    tokens = 3 * (longest + NEW_TOKENS)
    sharing.budget(tokens)
    sharing.engine._budget._short = 0

    kept_at_each_call.clear()
    came = list(sharing.answers(prompts))
    # Of those that have ended nothing is left when another is computed.
    assert tokens / 2 < max(kept_at_each_call) <= tokens
    assert {name: answer for at_a_time in came for name, answer in at_a_time.items()} == dict(
        enumerate(alone.answers)
    )
    same_scores(sharing, alone)
    assert len(came) > 6
    assert max(sharing.filled) <= tokens
    # Of others that were under way: who joins goes on from one of them, also where that has ended.
    assert 3 <= min(sharing.rows[:-NEW_TOKENS]) < max(sharing.rows)
    whole = sum(tokens_of(alone))
    assert sharing.engine._prefixes.tokens == whole
    assert sharing.engine._prefixes.shared_tokens > whole / 2


def test_over_several_tables_they_say_the_same_together(sharing: Watched) -> None:
    tables = ("", TABLE, TABLE.replace("Harbour", "Quay") * 2)
    prompts = [
        replace(prompt, task_id=f"{number}-{prompt.task_id}")
        for number, table in enumerate(tables)
        for prompt in over_one_table(table, None)[:2]
    ]
    alone = from_their_start(sharing, prompts)

    assert sharing.together(prompts) == alone.answers
    assert (sharing.computed, sharing.rows) == ([1] * 6, [6])
    same_scores(sharing, alone)
    lengths = tokens_of(alone)
    assert max(lengths) > 3 * min(lengths)
    # The last table is kept for the next prompt, which computes little more than its question.
    before = computed_anew(sharing)
    assert sharing.alone(prompts[4:5]) == alone.answers[4:5]
    assert computed_anew(sharing) - before < 60


def test_of_a_batch_that_has_ended_nothing_is_left_when_one_is_answered_alone(
    sharing: Watched, kept_at_each_call: list[int]
) -> None:
    prompts = over_one_table(TABLE, None)
    long = replace(asked(9), table=TABLE.replace("Harbour", "Quay") * 6)
    alone = from_their_start(sharing, [*prompts, long])
    lengths = tokens_of(alone)
    tokens = 4 * (max(lengths[:4]) + NEW_TOKENS)
    assert lengths[4] + 2 * NEW_TOKENS > tokens / 2
    sharing.budget(tokens)
    sharing.engine._budget._short = 0
    kept_at_each_call.clear()
    assert sharing.together([*prompts, long]) == alone.answers
    assert sharing.rows == [4, 1]
    # But the prompt before, of which it might go on.
    assert kept_at_each_call[-1] <= lengths[3] < max(kept_at_each_call)


def test_short_ones_wait_too_where_a_long_one_before_them_found_no_memory(sharing: Watched) -> None:
    import torch

    long = [replace(asked(number), table=TABLE * 3) for number in (7, 8)]
    prompts = [long[0], *(asked(number) for number in range(3)), long[1]]
    alone = from_their_start(sharing, prompts)
    lengths = tokens_of(alone)
    sharing.engine._budget._short = max(lengths[1:4])
    sharing.failures += [None, *[torch.OutOfMemoryError(OUT_OF_MEMORY)] * 2]

    assert sharing.together(prompts) == alone.answers
    same_scores(sharing, alone)
    assert sharing.computed[:3] == [1, 1, 1]
    assert sharing.rows[0] == 1


def test_short_and_long_ones_are_answered_together(sharing: Watched) -> None:
    prompts = [
        replace(prompt, table=prompt.table * (1 + 3 * (number % 3 == 1)))
        for number, prompt in enumerate(asked(number) for number in range(1, 9))
    ]
    alone = from_their_start(sharing, prompts)
    lengths = sorted(tokens_of(alone))
    sharing.engine._budget._short = lengths[4]

    assert sharing.together(prompts) == alone.answers
    assert sharing.rows == [8]
    assert sorted(sharing.computed) == [1, 1, 1, 5]
    same_scores(sharing, alone)


@pytest.mark.parametrize("failing", [2, 4], ids=["while it is computed", "while it is answered"])
def test_out_of_memory_halves_those_that_are_not_short_too(sharing: Watched, failing: int) -> None:
    import torch

    prompts = over_one_table(TABLE, None)
    alone = from_their_start(sharing, prompts)
    # From what is kept, and then from its start.
    times = 1 if failing == 4 else 2
    sharing.failures += [*[None] * failing, *[torch.OutOfMemoryError(OUT_OF_MEMORY)] * times]

    assert sharing.together(prompts) == alone.answers
    # Those that were computed by then are answered; with all computed, nothing is left of any.
    assert sharing.rows[:2] == ([2, 1] if failing == 2 else [4, 2])
    assert max(sharing.rows[1:]) <= 2


def test_who_finds_no_memory_waits_until_others_have_ended(
    sharing: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    prompts = over_one_table(TABLE, None)
    end_early(sharing, from_their_start(sharing, prompts), monkeypatch)
    alone = from_their_start(sharing, prompts)
    sharing.failures += [None, None, None, *[torch.OutOfMemoryError(OUT_OF_MEMORY)] * 2]

    assert sharing.together(prompts) == alone.answers
    assert sharing.rows[0] == 3
    # The others were computed once, and that one from what is kept, from its start, and once more.
    assert sharing.computed == [1] * (3 + 3)
    same_scores(sharing, alone)


@pytest.mark.parametrize("has_picture", [False, True], ids=["text", "mix"])
def test_no_memory_to_put_those_together_who_go_on_costs_no_answer(
    sharing: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_picture: bool
) -> None:
    import torch
    from hitui_runners.engines import side_by_side as module

    (tmp_path / "shown.png").write_bytes(png(320, 256))
    prompts = over_one_table(TABLE, tmp_path / "shown.png" if has_picture else None)
    prompts += [replace(prompt, task_id=prompt.task_id + 4) for prompt in prompts]  # type: ignore[operator]
    end_early(sharing, from_their_start(sharing, prompts), monkeypatch)
    alone = from_their_start(sharing, prompts)
    next_layer = module._next_layer
    put: list[int] = []

    def one_fails(rows: Any) -> Any:
        put.append(len(rows))
        # Some have ended, and before another is computed the others are put together.
        if len(put) > 2 and len(rows) < put[0] and "failed" not in seen:
            seen.append("failed")
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return next_layer(rows)

    seen: list[str] = []
    longest = max(tokens_of(alone))
    sharing.budget(4 * (longest + NEW_TOKENS))
    sharing.engine._budget._short = 0
    monkeypatch.setattr(module, "_next_layer", one_fails)

    assert sharing.together(prompts) == alone.answers
    assert seen


def test_who_fails_while_it_is_computed_fails_alone_and_the_others_go_on(sharing: Watched) -> None:
    prompts = over_one_table(TABLE, None)
    alone = from_their_start(sharing, prompts)
    sharing.failures += [None, RuntimeError("shape mismatch"), RuntimeError("shape mismatch")]

    first, failed, *others = sharing.together(prompts)
    assert isinstance(failed, TaskFailed)
    assert failed.message == "RuntimeError: shape mismatch"
    assert [first, *others] == [alone.answers[0], *alone.answers[2:]]
    assert sharing.rows == [1, 3]


def test_no_memory_for_what_is_kept_costs_no_answer(
    sharing: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All came by then."""
    import torch

    def copied(*_: Any) -> Any:
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    prompts = over_one_table(TABLE, None)
    alone = from_their_start(sharing, prompts)
    monkeypatch.setattr("hitui_runners.engines.side_by_side._copied", copied)

    assert sharing.together(prompts) == alone.answers
    assert sharing.together(prompts) == alone.answers
    assert sharing.rows == [4] * 2


def test_rows_are_put_side_by_side_without_memory_for_two_of_all() -> None:
    import torch

    def numbers(tokens: int) -> Any:
        return torch.arange(2.0 * tokens * 3).reshape(1, 2, tokens, 3)

    class Watching(list[tuple[Any, Any]]):
        """Who is asked for the next layer has let go of the last one."""

        def pop(self, *place: Any) -> tuple[Any, Any]:  # type: ignore[override]
            if before:
                gone.append(before.pop()() is None)
            taken = super().pop(*place)
            before.append(weakref.ref(taken[0]))
            return taken

    before: list[Any] = []
    gone: list[bool] = []
    of_five = [(numbers(5), -numbers(5)) for _ in range(4)]
    cache = side_by_side([Watching((numbers(3), -numbers(3)) for _ in range(4)), of_five], [])

    assert gone == [True] * 3
    assert not of_five
    for layer in cache.layers:
        assert layer.keys.shape == (2, 2, 5, 3)
        assert torch.equal(layer.keys[:1, :, 2:], numbers(3))
        assert torch.equal(layer.values[1:], -numbers(5))
        assert not layer.keys[0, :, :2].any()
    ((keys, values), *_) = layers_of(cache, slice(2, 5), 0)
    assert torch.equal(keys, numbers(3))
    assert torch.equal(values, -numbers(3))


def test_a_prompt_is_made_ready_once(
    sharing: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shown.png").write_bytes(png(192, 160))
    made: list[int | str] = []
    of = sharing.engine._inputs.of

    def counted(prompt: Prompt, *given: Any) -> Any:
        made.append(prompt.task_id)
        return of(prompt, *given)

    monkeypatch.setattr(sharing.engine._inputs, "of", counted)
    for picture in (None, tmp_path / "shown.png"):
        prompts = over_one_table(TABLE, picture)
        # Room for one, for two, and for all of them.
        for tokens in (500, 1_200, 100_000):
            made.clear()
            sharing.budget(tokens)
            sharing.engine._budget._short = 0
            sharing.together(prompts)
            assert made == [0, 1, 2, 3]


def test_as_many_tokens_as_one_prompt_had_may_several_have(
    sharing: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was memory for them."""
    import torch

    monkeypatch.setattr("hitui_runners.engines.batch_budget.TOKENS_ON_THE_CPU", 700)
    prompts = over_one_table(TABLE, None)
    longer = replace(prompts[0], table=TABLE * 6)

    def most() -> int:
        sharing.forget()
        sharing.together(prompts)
        return max(sharing.rows)

    # Who says how many is believed.
    for said, together in ((700, 1), (None, 4)):
        sharing.budget(said)
        assert most() == 1
        assert isinstance(sharing.engine.answer_of(longer), Reply)
        assert most() == together

    # Nor does it grow once there was not.
    sharing.failures += [None] * 4 + [torch.OutOfMemoryError(OUT_OF_MEMORY)]
    sharing.together(prompts)
    sharing.engine.answer_of(longer)
    assert most() < 4
