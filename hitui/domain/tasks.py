"""What the results on disk say about each task: done, error, missing or blocked.

Formats are those of RealHiTBench (arXiv 2506.13405) result files: a result is an object with `id` and
`Prediction`; a failed one has a `Prediction` that starts with `[ERROR`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum

import msgspec

from hitui.domain.filtering import has_words

TaskId = int | str

ERROR_PREFIX = "[ERROR"


class ErrorClass(str, Enum):
    """Why a task failed, as far as its `Prediction` tells."""

    TEXT_TOO_LARGE = "text_too_large"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_OVER_LIMIT = "image_over_limit"
    NO_FINAL_ANSWER = "no_final_answer"
    INPUT_NOT_FOUND = "input_not_found"
    OTHER = "other"

    @property
    def words(self) -> str:
        return self.value.replace("_", " ")


_ERROR_PATTERNS: tuple[tuple[ErrorClass, re.Pattern[str]], ...] = (
    (ErrorClass.TEXT_TOO_LARGE, re.compile(r"text too large", re.IGNORECASE)),
    (ErrorClass.IMAGE_TOO_LARGE, re.compile(r"image too large(?! to open)", re.IGNORECASE)),
    (
        ErrorClass.IMAGE_OVER_LIMIT,
        re.compile(
            r"image too large to open|image size \(\d+ pixels\) exceeds limit|DecompressionBomb",
            re.IGNORECASE,
        ),
    ),
    (ErrorClass.NO_FINAL_ANSWER, re.compile(r"final answer", re.IGNORECASE)),
    (
        ErrorClass.INPUT_NOT_FOUND,
        re.compile(
            # The number and the exception's name stay where the message is in another language.
            r"no such file|file not found|not found:|does not exist|missing (source|input) file"
            r"|\[Errno 2\]|FileNotFoundError",
            re.IGNORECASE,
        ),
    ),
)


def classify_prediction(prediction: object) -> ErrorClass | None:
    """The error class of a stored `Prediction`, or None when it is an answer.

    Only what starts with `[ERROR` is an error; anything else, the empty string too, is an answer.
    """
    if not isinstance(prediction, str) or not prediction.startswith(ERROR_PREFIX):
        return None
    for error_class, pattern in _ERROR_PATTERNS:
        if pattern.search(prediction):
            return error_class
    return ErrorClass.OTHER


class Outcome(msgspec.Struct, frozen=True):
    """The newest result of one task, as far as it decides the task's state."""

    error: ErrorClass | None
    """None: the task was answered."""
    message: str = ""
    """The text of the error; empty for an answer."""
    seconds: float | None = None
    """How long the task took (`ProcessingTime`); None where the file does not say."""
    rung: int = 0
    """How far up the recovery ladder it was tried (`Recovery`), for an error; 0: as it was."""


def what_counts(
    readings: Iterable[tuple[Mapping[TaskId, float | None], Mapping[TaskId, str]]],
) -> tuple[dict[TaskId, float | None], dict[TaskId, str]]:
    """Of the results of several files, older ones first, those that count.

    Each reading, and what is returned: seconds of the answered tasks by id, and texts of the failed ones. A
    success is never replaced by an error; otherwise the later result wins.
    """
    answered: dict[TaskId, float | None] = {}
    failed: dict[TaskId, str] = {}
    for answers, errors in readings:
        answered.update(answers)
        failed.update(errors)
    for task in failed.keys() & answered.keys():
        del failed[task]
    return answered, failed


class TaskStatus(str, Enum):
    DONE = "done"
    ERROR = "error"
    MISSING = "missing"
    BLOCKED = "blocked"


class Question(msgspec.Struct, frozen=True):
    """One entry of a question list, as far as states and estimates need it."""

    id: TaskId
    file_name: str
    """Stem of the table's files, without ending."""
    question_type: str = ""


class Task(msgspec.Struct, frozen=True):
    """One task of one config and why it is in its state."""

    id: TaskId
    status: TaskStatus
    error: ErrorClass | None = None
    """Class of the newest result where that is an error, also while the task is blocked."""
    reason: str = ""
    """The error's text, or the names of the absent files; empty when done."""
    rung: int = 0
    """How far up the recovery ladder its newest result was tried, for a failed task; 0: as it was."""

    @property
    def pending(self) -> bool:
        """A rerun would run it: failed or never answered, inputs present."""
        return self.status in (TaskStatus.ERROR, TaskStatus.MISSING)


NEVER_ANSWERED = "no result, inputs present"
INPUT_ABSENT = "missing file: "
"""How the reason of a blocked task starts; the absent files follow."""


def task_states(
    questions: Sequence[Question],
    outcomes: Mapping[TaskId, Outcome],
    absent_files: Callable[[Question], Sequence[str]],
) -> tuple[Task, ...]:
    """The state of every question, in the order of the question list.

    `absent_files(question)` names the input files of that question that are not there. An answered task
    is done whatever became of its inputs; any other task with an absent input is blocked.
    """
    tasks = []
    for question in questions:
        outcome = outcomes.get(question.id)
        if outcome is not None and outcome.error is None:
            tasks.append(Task(question.id, TaskStatus.DONE))
            continue
        error = outcome.error if outcome is not None else None
        absent = absent_files(question)
        if absent:
            tasks.append(Task(question.id, TaskStatus.BLOCKED, error, INPUT_ABSENT + ", ".join(absent)))
        elif outcome is not None:
            tasks.append(Task(question.id, TaskStatus.ERROR, error, outcome.message, outcome.rung))
        else:
            tasks.append(Task(question.id, TaskStatus.MISSING, None, NEVER_ANSWERED))
    return tuple(tasks)


def task_matches(task: Task, wanted: str) -> bool:
    """Every word of a filter stands in what is known of the task, case aside."""
    if not wanted:
        return True
    error = f"{task.error.words} {task.error.value}" if task.error is not None else ""
    return has_words(f"#{task.id} {task.status.value} {error} {task.reason}", wanted)


def select_pending(tasks: Iterable[Task], error_class: ErrorClass | None = None) -> tuple[TaskId, ...]:
    """Ids that a rerun runs; with `error_class`, only those whose newest result is that error."""
    return tuple(
        task.id for task in tasks if task.pending and (error_class is None or task.error is error_class)
    )
