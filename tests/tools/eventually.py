"""Waiting for what another thread or process brings about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str = "", deadline: float = 30.0) -> T:
    """The first true answer of `condition`; fails the test when none came within `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        begun = time.monotonic()
        answer = condition()
        if answer:
            return answer
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"did not come about in {deadline:.0f} s: {what or condition}")
        # Who looks all the time keeps what he waits for from the processor.
        time.sleep(min(max(0.01, 4 * (now - begun)), 0.25))
