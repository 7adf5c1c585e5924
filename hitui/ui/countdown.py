"""Shows a screen anew when a time that it tells says something else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from hitui.ui.job_words import seconds_told

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.timer import Timer

    from hitui.domain.jobs import Job

SECONDS_PER_TICK = 10.0
"""Other times that are told, as for how long a job is stalled, are looked at so often when nothing else changes."""


class Countdown:
    def __init__(self, screen: Screen[None], show: Callable[[], None]) -> None:
        """`show` calls `follow` when it has shown."""
        self._screen = screen
        self._show = show
        self._timer: Timer | None = None

    def follow(self, queued: Iterable[Job]) -> None:
        """These jobs are told of now."""
        if self._timer is not None:
            self._timer.stop()
        now = time.time()
        told = min((seconds_told(job, now) for job in queued), default=SECONDS_PER_TICK)
        self._timer = self._screen.set_timer(min(told, SECONDS_PER_TICK), self._show)
