"""Failures that a task does not explain by itself: whether its own table or picture is at fault, or what all tasks need.

Questions over one table follow each other, and what is wrong with a table or its picture fails all of them. So the fault is
looked for elsewhere only where several tables in a row fail, or all that there are. A rerun may be about one that is
damaged, and nothing else. Where a table or picture cannot even be read, that says little of others: the engine had no part
in it, and may look at many before it answers one.
"""

from __future__ import annotations

TASKS = 5
TABLES = 3
"""After so many tasks in a row, over so many tables, nothing further is asked, rather than thousands of tasks marked as
failed."""
MOST_TASKS = 50
"""After so many, over however few, and whatever it was."""


class StrangeFailures:
    """How many there were in a row; of all configs of a launch, since what is broken for one may be broken for all."""

    def __init__(self) -> None:
        self._tasks = 0
        self._tables: set[str] = set()
        """That they were about."""
        self._asked_about: set[str] = set()
        """Of these, those that could be read."""

    def not_theirs(self, table: str, is_strange: bool, tables: int, *, unread: bool = False) -> int:
        """How many tasks in a row have failed of what cannot be their own any more; 0: it may be.

        `table`: the file name of the one that the last task was about, one of so many `tables` that there are, whether
        they are asked about now or were before; `is_strange`: whether it failed, and does not explain it;
        `unread`: whether it failed because its table or picture cannot be read.
        """
        if not (is_strange or unread):
            self._tasks = 0
            self._tables.clear()
            self._asked_about.clear()
            return 0
        self._tasks += 1
        self._tables.add(table)
        if is_strange:
            self._asked_about.add(table)
        are_enough = len(self._asked_about) >= TABLES or len(self._tables) >= tables
        return self._tasks if self._tasks >= (TASKS if are_enough else MOST_TASKS) else 0
