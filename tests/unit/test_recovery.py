"""The recovery ladder as the dashboard sees it, and that the runner climbs the same one."""

from __future__ import annotations

import pytest
from hitui_runners.realhitbench import recovery as runners
from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.recovery import EXHAUSTED, LAST_RUNG, TEXT_BUDGET, Ladder, Rung, is_exhausted, rung_of
from hitui.domain.tasks import ErrorClass, Task, TaskStatus, classify_prediction

TEXTS = st.one_of(
    st.integers(0, 2_000_000).map(lambda tokens: f"[ERROR] OOM: Text too large ({tokens} tokens)"),
    st.sampled_from([
        "[ERROR] OOM: Image too large ((7448, 4353))",
        "[ERROR] OOM: image too large, and so is the text: Text too large",
        "[ERROR] Failed to get proper final answer format",
        "[ERROR] Image size (400000000 pixels) exceeds limit of 178956970 pixels",
        "[ERROR] Input file not found: html/x.html",
        "[ERROR]",
        "[ERRORS] text too large (12 tokens)",
    ]),
)  # fmt: skip
LIMITS = st.integers(1, 1_000_000)


def climb(ladder: Ladder, text: str) -> list[Rung]:
    """Every rung that reruns try, one after the other, when each fails with the same error."""
    error = classify_prediction(text)
    rungs: list[Rung] = []
    tried = Rung()
    while (rung := ladder.rerun(error, text, tried)) is not None and len(rungs) < 20:
        rungs.append(rung)
        tried = rung
    return rungs


@pytest.mark.parametrize(
    ("modality", "text", "expected"),
    [
        ("text", "[ERROR] OOM: Text too large (565518 tokens)", [(2, 100_000, 1), (3, 50_000, 1), (4, 25_000, 1)]),
        ("text", "[ERROR] OOM: Text too large (99990 tokens)", [(3, 50_000, 1), (4, 25_000, 1)]),
        ("text", "[ERROR] OOM: Text too large (900 tokens)", [(4, None, 1)]),
        ("mix", "[ERROR] OOM: Image too large ((9, 9))", [(1, None, 0.5), (3, 50_000, 0.5), (4, 25_000, 0.5)]),
        ("mix", "[ERROR] OOM: Text too large (60000 tokens)", [(3, 50_000, 1), (4, 25_000, 1)]),
        (
            "image",
            "[ERROR] OOM: Image too large ((9, 9))",
            [(1, None, 0.5), (2, None, 0.25), (3, None, 0.125), (4, None, 0.0625)],
        ),
    ],
)  # fmt: skip
def test_the_rungs_of_an_out_of_memory(
    modality: str, text: str, expected: list[tuple[int, int | None, float]]
) -> None:
    rungs = climb(Ladder.of(modality), text)
    assert [(rung.number, rung.max_input_tokens, rung.pixel_share) for rung in rungs] == expected


def test_another_error_is_tried_as_it_was() -> None:
    tried = Rung(3, 50_000, 0.5)
    assert Ladder().rerun(ErrorClass.NO_FINAL_ANSWER, "", tried) == tried
    assert Ladder(max_rungs=0).rerun(ErrorClass.TEXT_TOO_LARGE, "", tried) == Rung()


def test_a_rung_says_what_it_changes() -> None:
    assert str(Rung()) == "as it was"
    assert str(Rung(4)) == "rung 4: as it was"
    assert str(Rung(3, 50_000, 0.5)) == "rung 3: 1/2 of the pixels and 50000 tokens"


def test_an_exhausted_task_is_pending_and_known_by_its_text() -> None:
    text = f"[ERROR] OOM: Text too large (25000 tokens){EXHAUSTED}"
    assert classify_prediction(text) is ErrorClass.TEXT_TOO_LARGE
    task = Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, text)
    assert (task.pending, is_exhausted(task)) == (True, True)
    assert not is_exhausted(Task(1, TaskStatus.BLOCKED, ErrorClass.TEXT_TOO_LARGE, text))
    said_by_none = text[: -len(EXHAUSTED)]
    assert not is_exhausted(Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, said_by_none))
    # What stands in its `Recovery` goes without saying.
    for rung in range(1, LAST_RUNG):
        assert not is_exhausted(Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, said_by_none, rung))
    assert is_exhausted(Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, said_by_none, LAST_RUNG))
    assert not is_exhausted(Task(1, TaskStatus.ERROR, ErrorClass.NO_FINAL_ANSWER, "x", LAST_RUNG))


@given(
    st.dictionaries(
        st.sampled_from(["rung", "pixel_share"]), st.integers(-2, 6) | st.booleans() | st.floats()
    )
)
def test_the_runner_reads_the_same_rung_of_a_result(recovery: dict[str, object]) -> None:
    assert rung_of(recovery) == runners.tried_rung(recovery).number


@given(TEXTS, LIMITS, st.integers(0, LAST_RUNG), st.sampled_from(["text", "image", "mix"]))
def test_it_always_ends_and_each_rung_is_lighter(text: str, limit: int, most: int, modality: str) -> None:
    ladder = Ladder.of(modality, limit, most)
    if classify_prediction(text) not in (ErrorClass.TEXT_TOO_LARGE, ErrorClass.IMAGE_TOO_LARGE) or not most:
        return
    rungs = climb(ladder, text)

    assert 1 <= len(rungs) <= most
    numbers = [rung.number for rung in rungs]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] <= most
    for before, after in zip([Rung(), *rungs], rungs, strict=False):
        budgets = before.max_input_tokens or limit + 1, after.max_input_tokens or limit + 1
        assert budgets[1] <= budgets[0]
        assert after.pixel_share <= before.pixel_share
        assert after.max_input_tokens is None or after.max_input_tokens <= TEXT_BUDGET


@given(
    TEXTS,
    st.tuples(st.integers(0, 9), st.none() | st.integers(1, 200_000), st.sampled_from([1.0, 0.5, 0.25])),
    LIMITS,
    st.integers(0, LAST_RUNG),
    st.sampled_from(["text", "image", "mix"]),
)
def test_the_runner_climbs_the_same_ladder(
    text: str, tried: tuple[int, int | None, float], limit: int, most: int, modality: str
) -> None:
    here = Ladder.of(modality, limit, most)
    there = runners.Ladder(limit, most, here.has_image, here.has_table)
    said = runners.Rung(*tried) if tried[0] else runners.Rung()
    rung = here.rerun(
        classify_prediction(text), text, Rung(said.number, said.max_input_tokens, said.pixel_share)
    )
    same = there.rerun(text, said.recovery)

    assert (rung is None) == (same is None)
    if rung is not None and same is not None:
        assert (rung.number, rung.max_input_tokens, rung.pixel_share) == (
            same.number,
            same.max_input_tokens,
            same.pixel_share,
        )
    assert (EXHAUSTED, LAST_RUNG, TEXT_BUDGET) == (runners.EXHAUSTED, runners.LAST_RUNG, runners.TEXT_BUDGET)
