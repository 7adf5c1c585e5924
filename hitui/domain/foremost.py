"""Of many jobs those for each config that a listing tells: ten thousand may wait for a thousand configs."""

from __future__ import annotations

from collections.abc import Iterable

from hitui.domain.jobs import Ended, Job, Queued


def foremost(jobs: Iterable[Job]) -> dict[str, tuple[Job, ...]]:
    """Config → the job that is on it, or the shards that are, else the first that waits. `jobs` come oldest first."""
    waiting: dict[str, tuple[Job, ...]] = {}
    started: dict[str, tuple[Job, ...]] = {}
    for job in jobs:
        # Of ten thousand jobs nearly all have one.
        names = job.request.configs if job.request.also else (job.request.config,)
        if isinstance(job.state, Queued):
            for name in names:
                if name not in waiting:
                    waiting[name] = (job,)
        elif not isinstance(job.state, Ended):
            for name in names:
                started[name] = (*started.get(name, ()), job)
    return waiting | started
