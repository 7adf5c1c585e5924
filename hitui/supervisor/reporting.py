"""What becomes of the jobs, told to the history and to whoever is to be notified."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hitui.domain import notices
from hitui.domain.jobs import Ended, Ending, Job, Running
from hitui.domain.notices import Notice
from hitui.domain.records import JobRecord
from hitui.domain.succession import died_at_once
from hitui.supervisor.history import Historian
from hitui.supervisor.notifier import Notifier
from hitui.supervisor.store import Store


class Reporter:
    """Listens to the store. Nothing of what it sets going is waited for."""

    def __init__(self, store: Store, historian: Historian, notifier: Notifier) -> None:
        self._store = store
        self._historian = historian
        self._notifier = notifier
        self._stalled: set[int] = set()
        self._stopped_groups: set[str] = set()
        self._endings: list[Ending] = []
        """Of the jobs that have ended since the queue was empty the last time."""

    def jobs_changed(self, jobs: Sequence[Job]) -> None:
        """Takes note of the jobs that one transaction changed."""
        for job in jobs:
            if isinstance(job.state, Running):
                self._historian.begun(job)
                self._mind_stall(job)
            elif isinstance(job.state, Ended):
                self._stalled.discard(job.id)
                self._end(job, job.state.ending)
        if self._endings and not self._store.active():
            self._tell(notices.of_empty_queue(self._endings))
            self._endings = []

    def _end(self, job: Job, ending: Ending) -> None:
        onward = None
        if job.successor is None:
            self._endings.append(ending)
        elif ending is not Ending.JOINED:
            onward = self._store.job(job.successor).schedule

        shard = job.request.shard
        others_go_on = shard is not None and any(
            other.request.shard is not None and other.request.shard.split == shard.split
            for other in self._store.active()
        )

        def tell(record: JobRecord) -> None:
            notice = notices.of_ended_job(job, record.done, record.failed, onward, others_go_on=others_go_on)
            if notice is not None:
                self._notifier.tell(notice)

        self._historian.ended(job, tell)
        if ending in (Ending.FAILED, Ending.NOT_STARTED):
            self._mind_group(job.schedule.group)

    def _mind_stall(self, job: Job) -> None:
        notice = notices.of_stalled_job(job, time.time())
        if notice is None:
            self._stalled.discard(job.id)
        elif job.id not in self._stalled:
            self._stalled.add(job.id)
            self._tell(notice)

    def _mind_group(self, name: str) -> None:
        reason = self._store.queue().group(name).paused
        if not died_at_once(reason):
            self._stopped_groups.discard(name)
        elif name not in self._stopped_groups:
            self._stopped_groups.add(name)
            self._tell(notices.of_stopped_group(name, reason))

    def _tell(self, notice: Notice) -> None:
        self._historian.afterwards(lambda: self._notifier.tell(notice))
