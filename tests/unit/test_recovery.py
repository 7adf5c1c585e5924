"""The recovery ladder that runners climb, for any error, and what the dashboard knows of it."""

from __future__ import annotations

import pytest
from hitui_runners.realhitbench import recovery as runners
from hitui_runners.realhitbench.recovery import Ladder, Rung, asked_rung, tried_rung
from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.recovery import EXHAUSTED, LAST_RUNG, TEXT_BUDGET, exhausted_on, gpus_for, rung_of
from hitui.domain.tasks import ErrorClass, Task, TaskStatus, classify_prediction

TEXTS = st.one_of(
    st.integers(0, 2_000_000).map(lambda tokens: f"[ERROR] OOM: Text too large ({tokens} tokens)"),
    st.sampled_from([
        "[ERROR] OOM: Image too large ((7448, 4353))",
        "[ERROR] OOM: image too large, and so is the text: Text too large",
        "[ERROR] Failed to get proper final answer format",
        "[ERROR] Image size (400000000 pixels) exceeds limit of 178956970 pixels",
        "[ERROR] Image too large to open: 40000x10000 pixels, more than the 178956970 allowed",
        "[ERROR] Input file not found: html/x.html",
        "[ERROR]",
        "[ERRORS] text too large (12 tokens)",
    ]),
)  # fmt: skip
LIMITS = st.integers(1, 1_000_000)
MODALITIES = st.sampled_from(["text", "image", "mix"])


def ladder_of(modality: str, limit: int = TEXT_BUDGET, most: int = LAST_RUNG, gpus: int = 1) -> Ladder:
    return Ladder(limit, most, modality != "text", modality != "image", gpus)


def climb(ladder: Ladder, text: str, tried: Rung | None = None) -> list[Rung]:
    """Every rung that reruns try, one after the other, when each fails with the same error."""
    rungs: list[Rung] = []
    said = (tried or Rung()).recovery
    while (rung := ladder.rerun(text, said)) is not None and len(rungs) < 20:
        rungs.append(rung)
        said = rung.recovery
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
    rungs = climb(ladder_of(modality), text)
    assert [(rung.number, rung.max_input_tokens, rung.pixel_share) for rung in rungs] == expected


def test_another_error_is_tried_as_it_was() -> None:
    said = Rung(3, 50_000, 0.5).recovery
    assert ladder_of("mix").rerun("[ERROR] Failed to get proper final answer format", said) == tried_rung(
        said
    )
    assert ladder_of("text", most=0).rerun("[ERROR] OOM: Text too large (9 tokens)", said) == Rung()


def test_more_gpus_are_tried_with_the_whole_prompt_and_then_the_ladder_anew() -> None:
    text = "[ERROR] OOM: Text too large (565518 tokens)"
    on_one = climb(ladder_of("text"), text)
    on_two = climb(ladder_of("text", gpus=2), text, on_one[-1])
    assert [(rung.number, rung.max_input_tokens, rung.gpus) for rung in on_two] == [
        (0, None, 2), (2, 100_000, 2), (3, 50_000, 2), (4, 25_000, 2)
    ]  # fmt: skip
    assert [rung.is_wider for rung in on_two] == [True, False, False, False]
    # With as many once more, or with fewer, there is nothing left.
    assert climb(ladder_of("text", gpus=2), text, on_two[-1]) == []
    assert climb(ladder_of("text"), text, on_two[-1]) == []


def test_an_exhausted_task_is_pending_and_known_by_its_text() -> None:
    text = f"[ERROR] OOM: Text too large (25000 tokens){EXHAUSTED}"
    assert classify_prediction(text) is ErrorClass.TEXT_TOO_LARGE
    task = Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, text)
    assert (task.pending, exhausted_on(task)) == (True, 1)
    assert exhausted_on(Task(1, TaskStatus.BLOCKED, ErrorClass.TEXT_TOO_LARGE, text)) is None
    said_by_none = text[: -len(EXHAUSTED)]
    assert exhausted_on(Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, said_by_none)) is None
    # What stands in its `Recovery` goes without saying.
    for rung in range(1, LAST_RUNG):
        assert exhausted_on(Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, said_by_none, rung)) is None
    assert exhausted_on(Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, said_by_none, LAST_RUNG)) == 1
    assert exhausted_on(Task(1, TaskStatus.ERROR, ErrorClass.NO_FINAL_ANSWER, "x", LAST_RUNG)) is None


@pytest.mark.parametrize(
    ("tried", "gpus", "most", "expected"),
    [
        ([1, 1], 1, 2, 2),
        ([1, None], 1, 2, 1),
        ([1, 2], 1, 2, 2),
        ([2, 2], 1, 2, 1),
        ([1], 1, 1, 1),
        ([], 1, 4, 1),
        ([1, 2], 2, 4, 2),
        ([2, 4], 2, 4, 4),
    ],
)
def test_more_gpus_come_when_nothing_is_left_on_fewer(
    tried: list[int | None], gpus: int, most: int, expected: int
) -> None:
    assert gpus_for(tried, gpus, most) == expected


@given(st.integers(1, 64))
def test_the_runner_says_on_how_many_gpus_nothing_was_left(gpus: int) -> None:
    text = f"[ERROR] OOM: Text too large (25000 tokens){runners.exhausted(gpus)}"
    assert classify_prediction(text) is ErrorClass.TEXT_TOO_LARGE
    assert exhausted_on(Task(1, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, text, LAST_RUNG)) == gpus


@given(
    st.dictionaries(
        st.sampled_from(["rung", "pixel_share", "gpus"]), st.integers(-2, 6) | st.booleans() | st.floats()
    )
)
def test_the_runner_reads_the_same_rung_of_a_result(recovery: dict[str, object]) -> None:
    assert rung_of(recovery) == tried_rung(recovery).number


@given(TEXTS, LIMITS, st.integers(0, LAST_RUNG), MODALITIES, st.integers(1, 4))
def test_it_always_ends_and_each_rung_is_lighter(
    text: str, limit: int, most: int, modality: str, gpus: int
) -> None:
    if asked_rung(text) is None or not most:
        return
    every = climb(ladder_of(modality, limit, most, gpus), text)
    wider = [rung for rung in every if rung.is_wider]
    rungs = [rung for rung in every if not rung.is_wider]

    assert wider == every[: len(wider)] == ([Rung(gpus=gpus, is_wider=True)] if gpus > 1 else [])
    assert 1 <= len(rungs) <= most
    numbers = [rung.number for rung in rungs]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] <= most
    for before, after in zip([Rung(), *rungs], rungs, strict=False):
        budgets = before.max_input_tokens or limit + 1, after.max_input_tokens or limit + 1
        assert budgets[1] <= budgets[0]
        assert after.pixel_share <= before.pixel_share
        assert after.max_input_tokens is None or after.max_input_tokens <= TEXT_BUDGET


def test_both_sides_know_the_same_ladder() -> None:
    assert (EXHAUSTED, LAST_RUNG, TEXT_BUDGET) == (runners.EXHAUSTED, runners.LAST_RUNG, runners.TEXT_BUDGET)
