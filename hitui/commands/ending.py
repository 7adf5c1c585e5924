"""How a command ends that has started a program: together with it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


def end_by_exception() -> None:
    """From now on SIGTERM raises SystemExit, as Ctrl-C raises KeyboardInterrupt: without it, what was started goes on."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
