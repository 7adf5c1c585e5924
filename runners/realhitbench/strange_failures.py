"""Failures that a task does not explain by itself: whether its own table or picture is at fault, or what all tasks need.

Questions over one table follow each other, and what is wrong with a table or its picture fails all of them. So the fault is
looked for elsewhere only where several tables in a row fail, or all that there are.
"""

from __future__ import annotations

from hitui_runners.errors import RunnerError
from hitui_runners.realhitbench.asking import Outcome

TASKS = 5
TABLES = 3
"""After so many tasks in a row, over so many tables, the run ends, rather than mark thousands of tasks as failed."""
MOST_TASKS = 50
"""After so many it ends, over however few."""


class StrangeFailures:
    """Unexpected failures in a row, over all configs of a launch: what is broken for one may be broken for all."""

    def __init__(self) -> None:
        self._tasks = 0
        self._tables: set[str] = set()

    def take(self, table: str, outcome: Outcome, tables: int) -> None:
        """What came of a question over `table`, the file name of one of so many that its config asks about.

        Raises RunnerError where the fault cannot be in the tasks any more.
        """
        if not outcome.unexpected:
            self._tasks = 0
            self._tables.clear()
            return
        self._tasks += 1
        self._tables.add(table)
        if self._tasks < TASKS or (len(self._tables) < min(TABLES, tables) and self._tasks < MOST_TASKS):
            return
        raise RunnerError(
            f"the last {self._tasks} tasks failed with errors that are not theirs, the last one with: "
            f"{outcome.prediction}; mend that and run again with --resume"
        )
