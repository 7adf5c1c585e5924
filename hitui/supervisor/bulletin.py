"""What all watchers are to know of the jobs: composed once for each change, however many of them there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hitui.domain.jobs import Job, JobsSnapshot, Queued
from hitui.domain.schedule import Queue
from hitui.domain.waits import NOT_KNOWN, Wait
from hitui.supervisor import snapshots, wire
from hitui.supervisor.rows import with_wait

MOST_GONE = 10_000
"""Jobs that are told no more; whoever has heard nothing for so many of them is told everything anew."""


class Bulletin:
    """The jobs in their latest `version`, which is told whole or as what changed since an earlier one."""

    def __init__(self, supervisor_pid: int, supervisor_code: str = "") -> None:
        self.version = 0
        self._pid = supervisor_pid
        self._code = supervisor_code
        self._jobs: dict[int, Job] = {}
        self._waits: dict[int, Wait] = {}
        self._queue = Queue()
        self._changed: dict[int, int] = {}
        """Job → the version in which it came or changed."""
        self._waits_changed: dict[int, int] = {}
        """Queued job → the version in which what it waits for changed."""
        self._gone: dict[int, int] = {}
        """Job → the version in which it was no longer told."""
        self._oldest = 0
        """The version since which every change is known."""
        self._lines: dict[int | None, bytes] = {}
        """The lines for this version, by the version that a watcher knows."""

    def update(self, jobs: Iterable[Job], waits: Mapping[int, Wait], queue: Queue) -> None:
        """Takes the jobs as they stand now, and what the queued ones wait for; the same is no new version."""
        version = self.version + 1
        now = {job.id: job for job in jobs}
        known = self._jobs
        changed = [
            job_id
            for job_id, job in now.items()
            # Most are the very same object.
            if known.get(job_id) is not job and known.get(job_id) != job
        ]
        gone = known.keys() - now.keys()
        told = self._waits
        waits_now = {
            job_id: waits.get(job_id, NOT_KNOWN) for job_id, job in now.items() if type(job.state) is Queued
        }
        waits_changed = [
            job_id
            for job_id, wait in waits_now.items()
            if (known_wait := told.get(job_id, NOT_KNOWN)) is not wait and known_wait != wait
        ]
        self._jobs, self._waits = now, waits_now
        if not (changed or gone or waits_changed or queue != self._queue) and self.version:
            return
        self.version, self._queue = version, queue
        self._lines.clear()
        self._changed.update(dict.fromkeys(changed, version))
        self._waits_changed.update(dict.fromkeys(waits_changed, version))
        self._gone.update(dict.fromkeys(gone, version))
        for job_id in gone:
            self._changed.pop(job_id, None)
            self._waits_changed.pop(job_id, None)
        for job_id in changed:
            self._gone.pop(job_id, None)
        if len(self._gone) > MOST_GONE:
            self._gone.clear()
            self._oldest = version

    def line(self, since: int | None) -> bytes:
        """The line for a watcher that knows version `since`; None: it knows nothing yet."""
        if since is not None and since < self._oldest:
            since = None
        line = self._lines.get(since)
        if line is None:
            line = self._lines[since] = wire.encode_told(
                self._whole() if since is None else self._changes(since)
            )
        return line

    def _whole(self) -> dict[str, object]:
        jobs = tuple(map(self._shown, self._jobs))
        return snapshots.whole(JobsSnapshot(jobs, self._pid, self._queue, self._code))

    def _changes(self, since: int) -> dict[str, object]:
        changed = [job_id for job_id, version in self._changed.items() if version > since]
        waits: dict[Wait, list[int]] = {}
        for job_id, version in self._waits_changed.items():
            if version > since and self._changed[job_id] <= since and job_id in self._waits:
                waits.setdefault(self._waits[job_id], []).append(job_id)
        gone = [job_id for job_id, version in self._gone.items() if version > since]
        return snapshots.changes(map(self._shown, changed), gone, waits, self._pid, self._queue)

    def _shown(self, job_id: int) -> Job:
        return with_wait(self._jobs[job_id], self._waits.get(job_id, NOT_KNOWN))
