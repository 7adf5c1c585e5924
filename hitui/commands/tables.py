"""Columns of text that line up, for listings that people read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from hitui.commands.saying import harmless


def lines_of(header: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Header and rows as lines; `sides` has `<` or `>` for each column."""
    rows = [[harmless(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in (header, *rows)
    ]


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
