"""A progress bar in the format of tqdm's lines, which the dashboard and people know.

Written by hand because a runner's environment may not have tqdm. Output usually is a log file: the bar is
redrawn with a carriage return, and cleared before anything else is printed. In a terminal it is no wider than that,
since a carriage return does not go back over a line that was wrapped.
"""

from __future__ import annotations

import os
import sys
import time

from hitui_runners.output import complain, say

_WIDTH = 20
_NARROWEST = 5
"""Columns of the bar itself, which gives way before its label does."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def clock(seconds: float) -> str:
    """`m:ss` below an hour as `mm:ss`, above it `h:mm:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def bar_line(label: str, done: int, total: int, elapsed: float, columns: int | None = None) -> str:
    """One line such as `label:  18%|███▋      | 3/17 [00:38<02:59, 12.80s/it]`.

    `columns`: of the terminal; a longer line gets a narrower bar, and then less of its label. None: as long as it is.
    """
    share = done / total if total else 1.0
    if done and elapsed > 0:
        per_task = elapsed / done
        remaining = clock(per_task * (total - done))
        rate = f"{per_task:5.2f}s/it" if per_task >= 1 else f"{1 / per_task:5.2f}it/s"
    else:
        remaining, rate = "?", "?it/s"
    percent = f"{share:4.0%}"
    counts = f"{done}/{total} [{clock(elapsed)}<{remaining}, {rate}]"
    width = _WIDTH
    if columns is not None:
        spare = columns - len(f"{label}: {percent}|| {counts}")
        width = min(_WIDTH, max(_NARROWEST, spare))
        if (over := width - spare) > 0:
            label = f"…{label[over + 1 :]}"
    filled, eighth = divmod(int(share * width * 8), 8)
    bar = ("█" * filled + (_EIGHTHS[eighth] if filled < width else "")).ljust(width)
    return f"{label}: {percent}|{bar}| {counts}"


class ProgressBar:
    """The bar on stderr; `write` puts text on stdout without mixing the two."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._started = time.monotonic()
        self._shown = 0
        self._done = 0

    def show(self, done: int) -> None:
        """Draws the bar at `done` finished tasks."""
        self._done = done
        line = bar_line(self._label, done, self._total, time.monotonic() - self._started, _columns())
        complain("\r" + line.ljust(self._shown), end="")
        self._shown = len(line)

    def write(self, text: str) -> None:
        """Clears the bar and prints `text`; the next `show` draws the bar again."""
        self._clear()
        say(text)

    def close(self) -> None:
        """Leaves the last bar in the log and ends its line."""
        self.show(self._done)
        complain("")
        self._shown = 0

    def _clear(self) -> None:
        if self._shown:
            complain("\r" + " " * self._shown + "\r", end="")
            self._shown = 0


def _columns() -> int | None:
    """Of the terminal that shows stderr, without the last, behind which some wrap; None: it is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns - 1
    except (OSError, ValueError, AttributeError):
        # No terminal; closed; taken away.
        return None
