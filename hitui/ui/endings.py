"""How jobs ended while the screen looked on, in lines that go away by themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hitui.domain.jobs import FAILURES, Ended, Ending, JobsSnapshot
from hitui.ui.job_words import job_name

if TYPE_CHECKING:
    from hitui.ui.app import Dashboard

MOST_FAILURES = 2
"""So many, as long as the lines stay, are told one by one; more would cover half of a small screen."""
MOST_OF_A_REASON = 110
"""Characters, for the same sake; the queue tells the whole."""


class Endings:
    def __init__(self, app: Dashboard, seconds: float) -> None:
        """`seconds`: how long a line that tells of a failure stays."""
        self._app = app
        self._seconds = seconds
        self._failed_at: list[float] = []

    def tell(self, before: JobsSnapshot, after: JobsSnapshot) -> None:
        """Says how jobs ended that had not ended before; of many failures their number and the last."""
        active = {job.id for job in before.jobs if job.active}
        failures = []
        for job in after.jobs:
            if job.id in active and isinstance(job.state, Ended) and job.state.ending is not Ending.JOINED:
                reason = f": {brief(job.state.reason)}" if job.state.reason else ""
                line = f"{job_name(job, short=True)}: {job.state.ending.value}{reason}"
                if job.state.ending in FAILURES:
                    failures.append(line)
                else:
                    self._app.tell(line)
        if failures:
            self._tell_failures(failures)

    def _tell_failures(self, lines: Sequence[str]) -> None:
        now = time.monotonic()
        self._failed_at = [at for at in self._failed_at if now - at < self._seconds] + [now] * len(lines)
        if len(self._failed_at) > MOST_FAILURES:
            self._app.clear_notifications()
            lines = [f"{len(self._failed_at)} jobs failed, the queue shows them; the last is {lines[-1]}"]
        for line in lines:
            self._app.tell(line, "error")


def brief(reason: str) -> str:
    """A reason in at most `MOST_OF_A_REASON` characters: how it begins, and its last part, which is what comes next."""
    if len(reason) <= MOST_OF_A_REASON:
        return reason
    _, mark, last = reason.rpartition("; ")
    end = f"…{mark}{last}" if mark and len(last) < MOST_OF_A_REASON // 2 else "…"
    return reason[: MOST_OF_A_REASON - len(end)] + end
