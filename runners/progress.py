"""A progress bar in the format of tqdm's lines, which the dashboard and people know.

Written by hand because a runner's environment may not have tqdm. Output usually is a log file: the bar is
redrawn with a carriage return, and cleared before anything else is printed.
"""

from __future__ import annotations

import time

from hitui_runners.output import complain, say

_WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


def clock(seconds: float) -> str:
    """`m:ss` below an hour as `mm:ss`, above it `h:mm:ss`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def bar_line(label: str, done: int, total: int, elapsed: float) -> str:
    """One line such as `label:  18%|███▋      | 3/17 [00:38<02:59, 12.80s/it]`."""
    share = done / total if total else 1.0
    filled, eighth = divmod(int(share * _WIDTH * 8), 8)
    bar = ("█" * filled + (_EIGHTHS[eighth] if filled < _WIDTH else "")).ljust(_WIDTH)
    if done and elapsed > 0:
        per_task = elapsed / done
        remaining = clock(per_task * (total - done))
        rate = f"{per_task:5.2f}s/it" if per_task >= 1 else f"{1 / per_task:5.2f}it/s"
    else:
        remaining, rate = "?", "?it/s"
    return f"{label}: {share:4.0%}|{bar}| {done}/{total} [{clock(elapsed)}<{remaining}, {rate}]"


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
        line = bar_line(self._label, done, self._total, time.monotonic() - self._started)
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
