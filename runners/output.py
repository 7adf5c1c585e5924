"""Words for people, on stdout and stderr: they may be lost, and never end a run.

The log of a job may lie on a disk that is full while results still find room on another one.
"""

from __future__ import annotations

import contextlib
import os
import sys


def say(text: str) -> None:
    """One piece of the story, on stdout."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def complain(text: str, end: str = "\n") -> None:
    """A warning, an error, or a progress bar, on stderr."""
    with contextlib.suppress(OSError):
        print(text, end=end, file=sys.stderr, flush=True)


def warn(line: str) -> None:
    """One line on stderr; the run goes on."""
    complain(f"warning: {line}")


def close() -> None:
    """Writes out what is still buffered; without it, Python would end with status 120 where it cannot."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
