"""How many tasks of a config a request would run, by the config's counts: nobody has to look at its tasks."""

from __future__ import annotations

from collections.abc import Iterable

from hitui.domain.configs import ConfigState
from hitui.domain.jobs import Job, JobRequest


def tasks_of_request(request: JobRequest, state: ConfigState) -> int | None:
    """Never more than is pending of the config; None: its runner decides.

    Of a request for several configs the part for this one counts. Which of the tasks that it names are answered
    meanwhile is not asked: as many of them as are pending may be among those.
    """
    if state.total is None:
        return None
    part = next((part for part in request.parts if part.config == state.name), request)
    most = [state.pending]
    if part.ids is not None:
        most.append(len(part.ids))
    if part.shard is not None:
        most.append(len(part.shard.ids))
    if part.error_class is not None:
        most.append(dict(state.error_classes).get(part.error_class, 0))
    return min(most)


def tasks_of_jobs(jobs: Iterable[Job], state: ConfigState) -> int | None:
    """The same of jobs that have not ended, one or the shards of one: of what was started, what it was started with."""
    counts = [_tasks_of_job(job, state) for job in jobs]
    known = [count for count in counts if count is not None]
    return min(sum(known), state.pending) if len(known) == len(counts) else None


def _tasks_of_job(job: Job, state: ConfigState) -> int | None:
    # Of a job of several configs its number is that of all of them.
    if job.task_count is not None and not job.request.also:
        return job.task_count
    return tasks_of_request(job.request, state)
