"""Columns of text that line up, for listings that people read."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from datetime import datetime

from hitui.commands.saying import harmless

_LEAST_TEXT = 30
"""A column narrower than this is no place to break a text in."""
_LEAST_NAME = 12
_INDENT = 5


def lines_of(header: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Header and rows as lines; `sides` has `<` or `>` for each column."""
    rows = list(map(_harmless_cells, rows))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in (header, *rows)
    ]


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], sides: str, width: int | None, shrink: int
) -> list[str]:
    """As `lines_of`, no line longer than `width` (None: as long as they are).

    The last column, a text, is broken into lines of its own where it finds no room; if that does not help, the
    column `shrink` loses its beginning.
    """
    rows = list(map(_harmless_cells, (header, *rows)))
    last = len(header) - 1
    widths = [max(len(row[column]) for row in rows) for column in range(last)]
    over = 0 if width is None else sum(widths) + 2 * (last - 1) - width
    if over > 0:
        widths[shrink] = max(_LEAST_NAME, widths[shrink] - over)
    lines = []
    for row in rows:
        cells = [
            f"{_end_of(cell, room):{side}{room}}"
            for cell, side, room in zip(row[:last], sides, widths, strict=False)
        ]
        start = "  ".join(cells)
        room = len(row[last]) if width is None else width - len(start) - 2
        if len(row[last]) <= room:
            lines.append(f"{start}  {row[last]}".rstrip())
            continue
        assert width is not None
        indent = len(start) + 2 if room >= _LEAST_TEXT else _INDENT
        broken = textwrap.wrap(row[last], max(width - indent, _LEAST_NAME), break_on_hyphens=False)
        if indent > _INDENT:
            start = f"{start}  {broken.pop(0)}"
        lines += [start.rstrip(), *(" " * indent + line for line in broken)]
    return lines


def _harmless_cells(row: Sequence[str]) -> Sequence[str]:
    whole = "".join(row)
    return row if harmless(whole) == whole else [harmless(cell) for cell in row]


def width_of_output() -> int | None:
    """Columns of the terminal that the output goes to; None: it goes elsewhere, where lines stay whole."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _end_of(cell: str, room: int) -> str:
    return cell if len(cell) <= room else f"…{cell[len(cell) - room + 1 :]}"


def iso_time(seconds: float | None) -> str | None:
    """Local time with its offset, ISO 8601 to the second; None stays None."""
    return (
        None
        if seconds is None
        else datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    )


def short_time(seconds: float | None) -> str:
    """`14:03` for the last day, else the date; empty for None."""
    if seconds is None:
        return ""
    recent = time.time() - seconds < 86400
    return time.strftime("%H:%M" if recent else "%Y-%m-%d", time.localtime(seconds))


def minute(seconds: float) -> str:
    """`2026-01-31 08:00`, local."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
