"""Words for people, on stdout and stderr: they may be lost, and never end a run.

The log of a job may lie on a disk that is full while results still find room on another one. A text that begins with a
line end is to stand on lines of its own: that end is left out where no progress bar stands before it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence


class _Line:
    """The last line of what was written, stdout and stderr together, as a log and a terminal have it."""

    has_bar = False


def prepare() -> None:
    """Makes sure that every text can be written, and that words cannot end up in a file of results.

    A question may hold half of a surrogate pair, and a locale may lack the bar's characters. A program that was
    started without stdout would give its place to the next file that it opens.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(handle)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_UNSEEN = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
"""Characters that a terminal takes for commands."""
_OF_BARS = {code: shown for code, shown in _UNSEEN.items() if chr(code) != "\r"}


def say(text: str) -> None:
    """One piece of the story, on stdout. What a model or a server said is in it: it commands no terminal."""
    text = _below_bar(text).translate(_UNSEEN)
    _Line.has_bar = False
    with contextlib.suppress(OSError):
        print(text, flush=True)


def complain(text: str, end: str = "\n") -> None:
    """A warning, an error, or a progress bar, which has no end, on stderr."""
    text = _below_bar(text).translate(_OF_BARS)
    _Line.has_bar = not end and not text.endswith("\r")
    with contextlib.suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


def _below_bar(text: str) -> str:
    return text if _Line.has_bar else text.removeprefix("\n")


def warn(line: str) -> None:
    """One line on stderr; the run goes on."""
    complain(f"warning: {line}")


def named(items: Sequence[int | str], at_most: int = 5) -> str:
    """The first few, and how many more there are."""
    shown = ", ".join(map(str, items[:at_most]))
    return shown + (f" and {len(items) - at_most} more" if len(items) > at_most else "")


def counted(number: int, one: str) -> str:
    """`1 task`, `3 tasks`."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def close() -> None:
    """Writes out what is still buffered; without it, Python would end with status 120 where it cannot."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
