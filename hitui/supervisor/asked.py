"""What the jobs that have not ended ask for: thousands may wait on one config, each for tasks of its own."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from hitui.domain.jobs import Job, JobRequest


class Asked:
    """Finds the jobs that ask for the same without looking at the others."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._parts: dict[Hashable, dict[int, JobRequest]] = {}
        for job in jobs:
            self.add(job.id, job.request)

    def add(self, job_id: int, request: JobRequest) -> None:
        for part in request.parts:
            self._parts.setdefault(_key(part), {})[job_id] = part

    def change(self, before: Job | None, job: Job) -> None:
        """Takes note of a job that changed, came or ended; None: it was not there before."""
        for part in before.request.parts if before is not None else ():
            jobs = self._parts.get(_key(part), {})
            jobs.pop(job.id, None)
            if not jobs:
                self._parts.pop(_key(part), None)
        if job.active:
            self.add(job.id, job.request)

    def same(self, request: JobRequest) -> list[int]:
        """The jobs to which the request has nothing to add, oldest first; the shards of one split each have."""
        jobs = self._parts.get(_key(request), {})
        return sorted(job_id for job_id, part in jobs.items() if request.keeps_off(part))


def _key(part: JobRequest) -> Hashable:
    return part.config, part.ids, part.error_class
