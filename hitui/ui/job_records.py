"""What came of jobs that succeeded, read from the records beside a screen: how many of their tasks failed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hitui.domain.jobs import Ended, Ending, Job
from hitui.errors import HituiError
from hitui.ui.messages import RecordsRead

if TYPE_CHECKING:
    from hitui.domain.records import JobRecord
    from hitui.ui.screens.base import FullScreen

SECONDS_TO_A_RECORD = 30.0
"""After which none comes any more."""
SECONDS_TO_NEXT_LOOK = 1.0


class JobRecords:
    """The records of the jobs that one screen shows. The screen hands it each `RecordsRead` that it gets."""

    def __init__(self, screen: FullScreen) -> None:
        self._screen = screen
        self.known: Mapping[int, JobRecord] = {}
        """By job, those that say how many tasks failed."""
        self._jobs: Sequence[Job] = ()
        self._settled: set[int] = set()
        """Jobs of which nothing more is to be read."""
        self._reading = False

    def look_at(self, jobs: Sequence[Job]) -> None:
        """Reads what came of those that succeeded: of one that ended a moment ago it is on record soon."""
        self._jobs = jobs
        self._look()

    def _look(self) -> None:
        wanted = [
            job.id for job in self._jobs if job.word == Ending.SUCCEEDED.value and job.id not in self._settled
        ]
        if wanted and not self._reading:
            self._reading = True
            self._screen.run_worker(
                lambda: self._read(wanted), thread=True, group="records", exit_on_error=False
            )

    def _read(self, wanted: Sequence[int]) -> None:
        records: Mapping[int, JobRecord] = {}
        # They only add to what is known of the jobs.
        with contextlib.suppress(HituiError, OSError):
            records = self._screen.dashboard.services.jobs.records(wanted)
        self._screen.post_message(RecordsRead(wanted, records))

    def take(self, message: RecordsRead) -> bool:
        """Whether more is known now than before. What is not on record yet is looked for again in a moment."""
        self._reading = False
        news = {number: record for number, record in message.records.items() if record.done is not None}
        late = {
            job.id
            for job in self._jobs
            if isinstance(job.state, Ended) and time.time() - job.state.ended_at > SECONDS_TO_A_RECORD
        }
        self._settled |= news.keys() | late.intersection(message.asked)
        self.known = {**self.known, **news}
        if not self._settled.issuperset(message.asked):
            self._screen.set_timer(SECONDS_TO_NEXT_LOOK, self._look)
        return bool(news)
