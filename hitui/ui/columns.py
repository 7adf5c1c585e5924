"""The columns of the table of configs: a column is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hitui.domain.configs import ConfigCondition, ConfigState
from hitui.domain.jobs import Ended, Queued
from hitui.ui import text
from hitui.ui.config_rows import ConfigRow
from hitui.ui.line import Line

GAP = 2
NOT_COUNTED = (ConfigCondition.UNREAD, ConfigCondition.UNREADABLE)
MARK_CELLS = 3
"""The cursor's mark, the sign of a row that needs someone, a gap."""


class Column(msgspec.Struct, frozen=True):
    key: str
    title: str
    minimum: int
    """Cells that it has at least."""
    cell: Callable[[ConfigRow, int], Line]
    """What stands in it, for a number of cells; the table pads."""
    order: Callable[[ConfigRow], Any]
    """What rows are sorted by."""
    right: bool = True
    """Right-aligned, as numbers are."""
    tooltip: str = ""


def _done(row: ConfigRow, width: int) -> Line:
    state = row.state
    if state.condition in NOT_COUNTED:
        return (("", ""),)
    if state.total is None:
        return ((str(state.done), ""),)
    return ((str(state.done), ""), (f"/{state.total}", "dim"))


def _number(state: ConfigState, value: int, style: str) -> Line:
    if state.condition in NOT_COUNTED:
        # Nothing was counted: a zero would say that something was.
        return (("", ""),)
    return ((str(value), style if value else "faint"),)


def _progress(row: ConfigRow, width: int) -> Line:
    fraction = row.fraction
    if fraction is None or not row.state.scanned:
        return ((" " * width, ""),)
    filled, empty = text.bar(fraction, width)
    active = row.job is not None and row.job.active and not isinstance(row.job.state, Queued)
    style = "running" if active else "good" if row.words.style == "good" else "bar"
    return ((filled, style), (empty, "bar-empty"))


def _rate(row: ConfigRow, width: int) -> Line:
    return ((text.rate(row.progress.rate) if row.progress is not None else "", ""),)


def _eta(row: ConfigRow, width: int) -> Line:
    if row.progress is None or row.progress.eta_seconds is None:
        return (("", ""),)
    return ((text.duration(row.progress.eta_seconds), ""),)


def _state(row: ConfigRow, width: int) -> Line:
    words = row.words
    # Half a sentence is worth more than a sign where there is room for one.
    chosen = words.long if len(words.long) <= width or width >= 24 else words.short
    return ((chosen, words.style),)


def _urgency(row: ConfigRow) -> tuple[int, str]:
    """Rows that need someone first, then what runs, what waits, what is pending, what is whole."""
    if row.words.attention:
        return 0, row.name
    if row.job is not None and not isinstance(row.job.state, Ended):
        return 2 if isinstance(row.job.state, Queued) else 1, row.name
    return (3 if row.state.pending else 4), row.name


COLUMNS: tuple[Column, ...] = (
    Column("name", "name", 12, lambda row, width: ((row.name, ""),), lambda row: row.name, right=False),
    Column(
        "done",
        "done",
        9,
        _done,
        lambda row: (row.fraction if row.fraction is not None else -1.0, row.state.done),
        tooltip="answered, of all tasks",
    ),
    Column(
        "errors",
        "err",
        4,
        lambda row, width: _number(row.state, row.state.errors, "bad"),
        lambda row: row.state.errors,
        tooltip="tasks whose newest result is an error",
    ),
    Column(
        "missing",
        "miss",
        5,
        lambda row, width: _number(row.state, row.state.missing, "warn"),
        lambda row: row.state.missing,
        tooltip="tasks without any result, inputs present",
    ),
    Column(
        "blocked",
        "block",
        6,
        lambda row, width: _number(row.state, row.state.blocked, "dim"),
        lambda row: row.state.blocked,
        tooltip="tasks whose input file is missing; no rerun can help them",
    ),
    Column(
        "progress",
        "progress",
        8,
        _progress,
        lambda row: row.fraction if row.fraction is not None else -1.0,
        right=False,
        tooltip="done, of what can be done",
    ),
    Column(
        "rate",
        "rate",
        5,
        _rate,
        lambda row: -1.0 if row.progress is None or row.progress.rate is None else row.progress.rate,
        tooltip="tasks a second, minute or hour, over the last minutes",
    ),
    Column(
        "eta",
        "ETA",
        5,
        _eta,
        lambda row: (
            float("inf")
            if row.progress is None or row.progress.eta_seconds is None
            else row.progress.eta_seconds
        ),
        tooltip="time until the running job is through",
    ),
    Column("state", "state", 13, _state, _urgency, right=False),
)

TIGHT = ("errors", "missing", "blocked")
"""Columns that give up the room of their arrow where every cell counts."""
FLEXIBLE = ("name", "progress", "state")


class ColumnPlace(msgspec.Struct, frozen=True):
    column: Column
    start: int
    width: int


def place_columns(rows: Sequence[ConfigRow], width: int) -> tuple[ColumnPlace, ...]:
    """Where each column stands in `width` cells: numbers as wide as they need, the rest shares."""
    narrow = width < 120
    gap = 1 if narrow else GAP
    needed: dict[str, int] = {}
    for column in COLUMNS:
        if column.key == "done":
            digits = max((len(str(row.state.total or row.state.done)) for row in rows), default=0)
            needed[column.key] = max(column.minimum, 2 * digits + 1)
        elif column.key not in FLEXIBLE:
            needed[column.key] = len(column.title) if narrow and column.key in TIGHT else column.minimum
    spare = width - MARK_CELLS - sum(needed.values()) - gap * (len(COLUMNS) - 1)
    longest = max((len(row.name) for row in rows), default=12)
    bar, state = (5, 13) if narrow else (10, 27)
    needed["name"] = max(12, min(longest, spare - bar - state))
    # Nothing that is left over goes to a bar beyond what the eye can use.
    needed["progress"] = max(bar, min(40, (spare - needed["name"] - state + bar) // 2))
    needed["state"] = max(1, spare - needed["name"] - needed["progress"])
    places = []
    start = MARK_CELLS
    for column in COLUMNS:
        places.append(ColumnPlace(column, start, needed[column.key]))
        start += needed[column.key] + gap
    return tuple(places)
