"""The rules of truth that need no files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.tasks import (
    ErrorClass,
    Outcome,
    Question,
    Task,
    TaskStatus,
    classify_prediction,
    select_pending,
    task_matches,
    task_states,
    what_counts,
)


@pytest.mark.parametrize(
    ("prediction", "error_class"),
    [
        ("[ERROR] OOM: Text too large (334162 tokens)", ErrorClass.TEXT_TOO_LARGE),
        ("[ERROR] OOM: Image too large ((7448, 4351))", ErrorClass.IMAGE_TOO_LARGE),
        (
            "[ERROR] Image size (233237016 pixels) exceeds limit of 178956970 pixels, could be decompression bomb",
            ErrorClass.IMAGE_OVER_LIMIT,
        ),
        ("[ERROR] Failed to get proper final answer after retry", ErrorClass.NO_FINAL_ANSWER),
        ("[ERROR] [Errno 2] No such file or directory: 'x.png'", ErrorClass.INPUT_NOT_FOUND),
        ("[ERROR] [Errno 2] Datei oder Verzeichnis nicht gefunden: 'x.png'", ErrorClass.INPUT_NOT_FOUND),
        ("[ERROR] FileNotFoundError: x.html", ErrorClass.INPUT_NOT_FOUND),
        ("[ERROR] DecompressionBombError", ErrorClass.IMAGE_OVER_LIMIT),
        (
            "[ERROR] Image too large to open: 40000x20000 pixels, more than the 9 allowed",
            ErrorClass.IMAGE_OVER_LIMIT,
        ),
        ("[ERROR] [Errno 28] No space left on device", ErrorClass.OTHER),
        ("[ERROR_TIMEOUT] nothing known", ErrorClass.OTHER),
        ("[ERROR", ErrorClass.OTHER),
        ("The log says [ERROR] OOM: Text too large", None),
        (" [ERROR] after a space", None),
        ("[Final Answer]: 4.2", None),
        ("", None),
        (None, None),
    ],
)
def test_an_error_is_a_prediction_that_starts_with_it(
    prediction: object, error_class: ErrorClass | None
) -> None:
    assert classify_prediction(prediction) is error_class


@given(st.lists(st.tuples(st.integers(1, 3), st.one_of(st.floats(0, 10), st.text(max_size=3)))))
def test_a_success_is_never_replaced_by_an_error_else_the_later_wins(
    history: list[tuple[int, float | str]],
) -> None:
    """A number is an answer's seconds, a text an error's."""
    readings = [({}, {task: told}) if isinstance(told, str) else ({task: told}, {}) for task, told in history]
    answered, failed = what_counts(readings)
    for task in {task for task, _ in history}:
        told = [what for known, what in history if known == task]
        answers = [what for what in told if not isinstance(what, str)]
        assert answered.get(task) == (answers[-1] if answers else None)
        assert failed.get(task) == (None if answers else told[-1])


def test_blocked_is_for_what_has_no_answer_and_lacks_a_file() -> None:
    questions = [Question(task, f"table{task}") for task in (1, 2, 3, 4, 5)]
    absent = {1: ["table1.csv"], 2: ["table2.csv"], 3: ["table3.csv"]}
    outcomes = {
        1: Outcome(None),
        2: Outcome(ErrorClass.OTHER, "[ERROR] x"),
        4: Outcome(ErrorClass.TEXT_TOO_LARGE, "[ERROR] y"),
    }
    tasks = task_states(questions, outcomes, lambda question: absent.get(int(question.id), ()))
    assert [task.status for task in tasks] == [
        TaskStatus.DONE,
        TaskStatus.BLOCKED,
        TaskStatus.BLOCKED,
        TaskStatus.ERROR,
        TaskStatus.MISSING,
    ]
    assert select_pending(tasks) == (4, 5)
    assert select_pending(tasks, ErrorClass.TEXT_TOO_LARGE) == (4,)


def test_every_word_of_a_filter_stands_in_what_is_known_of_the_task() -> None:
    task = Task(
        1234, TaskStatus.ERROR, ErrorClass.IMAGE_OVER_LIMIT, "[ERROR] Image size (9 pixels) exceeds limit"
    )
    for wanted in (
        "",
        "1234",
        "#12",
        "error",
        "image over limit",
        "LIMIT pixels",
        "exceeds #1234",
        "image_over_limit",
    ):
        assert task_matches(task, wanted), wanted
    for wanted in ("4321", "text_too", "missing", "limit text"):
        assert not task_matches(task, wanted), wanted
    assert not task_matches(Task("a1", TaskStatus.DONE), "error")
