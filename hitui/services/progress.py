"""How far the running jobs are: their event lines, or else the last bar that tqdm drew in their log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from hitui.adapters.events import EventFile, read_tail
from hitui.domain.jobs import Job, JobsSnapshot, Queued
from hitui.domain.progress import JobProgress, parse_tqdm

POLL_SECONDS = 1.0
"""A look at a file that did not grow is one open and one fstat."""


class ProgressService:
    """Reads the progress of active jobs once a second, in a thread of its own."""

    def __init__(self) -> None:
        self._jobs = JobsSnapshot()
        self._files: dict[int, EventFile] = {}
        self._latest: Mapping[int, JobProgress] = {}
        self._closed = threading.Event()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def latest(self) -> Mapping[int, JobProgress]:
        """Progress by job id; a job that has said nothing yet is not in it."""
        return self._latest

    def start(self, publish: Callable[[Mapping[int, JobProgress]], None]) -> None:
        """Begins to read; `publish` gets the whole mapping whenever it changed, from a thread."""
        self._thread = threading.Thread(target=self._run, args=(publish,), name="progress", daemon=True)
        self._thread.start()

    def follow(self, jobs: JobsSnapshot) -> None:
        """From now on the jobs are these."""
        self._jobs = jobs
        self._news.set()

    def close(self) -> None:
        self._closed.set()
        self._news.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _run(self, publish: Callable[[Mapping[int, JobProgress]], None]) -> None:
        while not self._closed.is_set():
            followed = [job for job in self._jobs.jobs if job.active and not isinstance(job.state, Queued)]
            self._files = {
                job.id: self._files.get(job.id) or EventFile(job.events) for job in followed if job.events
            }
            found = {job.id: _progress(job, self._files.get(job.id)) for job in followed}
            latest = {job_id: progress for job_id, progress in found.items() if progress is not None}
            if latest != self._latest:
                self._latest = latest
                publish(latest)
            # With nothing to follow there is nothing to look at until someone says so.
            self._news.wait(POLL_SECONDS if followed else None)
            if self._news.is_set() and not self._closed.wait(0.1):
                self._news.clear()


def read_progress(job: Job) -> JobProgress:
    """Progress of one job as its files stand, for commands."""
    return _progress(job, EventFile(job.events) if job.events else None) or JobProgress()


def _progress(job: Job, events: EventFile | None) -> JobProgress | None:
    if events is not None:
        progress = events.read().progress(time.time())
        if progress is not None:
            return progress
    return parse_tqdm(read_tail(job.log)) if job.log else None
