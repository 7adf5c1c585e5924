"""What is known of the tasks of a config from all its files together, and which of several results counts.

A success is never replaced by an error; otherwise the later result wins, a result being as old as the file that it
stands in. Of a task that ran out of memory in several files the try that went furthest counts: the file of a shard
changes with the other tasks of it. The dashboard, the merged file and the scores go by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hitui_runners.realhitbench.recovery import asked_rung
from hitui_runners.realhitbench.results import (
    Result,
    TaskId,
    encode,
    is_error,
    plain_id,
    rungs_tried,
    task_id,
)

ReadFile = tuple[Path, int, list[Result]]
"""A file of results, when it was last written, and what stands in it."""


class Known:
    """Results by task. A number that is written as text is the same id."""

    def __init__(self) -> None:
        self._answers: dict[TaskId, Result] = {}
        self._ages: dict[TaskId, int] = {}
        """Of the answers."""
        self._errors: dict[TaskId, dict[Path, Result]] = {}
        """By the file in which each is the last one, older files first."""
        self._tasks: dict[TaskId, None] = {}
        """In the order in which they first stood."""

    def take_in(self, path: Path, age: int, results: Iterable[Result]) -> list[TaskId]:
        """Takes in results of one file, later ones last, and returns their ids. Files come older ones first; of one that
        comes late the errors count as its newest."""
        tasks = []
        for result in results:
            task = task_of(result)
            tasks.append(task)
            self._tasks[task] = None
            if is_error(result):
                errors = self._errors.setdefault(task, {})
                errors.pop(path, None)
                errors[path] = result
            elif age >= self._ages.get(task, age):
                self._answers[task], self._ages[task] = result, age
        return tasks

    def result(self, task: TaskId) -> Result | None:
        """The result that counts; None: there is none."""
        task = plain_id(task)
        answer = self._answers.get(task)
        if answer is not None:
            return answer
        furthest: Result | None = None
        for error in self._errors.get(task, {}).values():
            if furthest is None or not _went_further(furthest, error):
                furthest = error
        return furthest

    def results(self) -> list[Result]:
        """Those that count, in the order in which their tasks first stood."""
        return [result for task in self._tasks if (result := self.result(task)) is not None]

    def answers(self) -> Iterable[Result]:
        """Those that count."""
        return self._answers.values()


def task_of(result: Result) -> TaskId:
    """The id of a result, of those that say the same."""
    task = task_id(result)
    assert task is not None
    return plain_id(task)


def known_of(files: Iterable[ReadFile]) -> Known:
    """What is known from these files, older ones first."""
    known = Known()
    for file in files:
        known.take_in(*file)
    return known


def would_replace(journal: Path, files: Sequence[ReadFile]) -> bool:
    """Whether results in the journal that do not count would do so if it were the newest of the files."""
    now = known_of(files)
    lines = [file[2] for file in files if file[0] == journal]
    newest = max((age for _, age, _ in files), default=0)
    then = known_of([*files, *((journal, newest, each) for each in lines)])
    tasks = {task_of(result) for each in lines for result in each}
    return any(not _are_equal(now.result(task), then.result(task)) for task in tasks)


def _are_equal(one: Result | None, other: Result | None) -> bool:
    # NaN, which some programs store as a score, is not even equal to itself.
    return one == other or encode(one) == encode(other)


def _went_further(before: Result, error: Result) -> bool:
    """Whether the later of two errors is one for lack of memory, on a lower rung of the recovery ladder."""
    return asked_rung(error["Prediction"]) is not None and rungs_tried(before) > rungs_tried(error)
