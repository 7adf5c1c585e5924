"""Of many jobs the one for each config that a listing tells: ten thousand may wait for a thousand configs."""

from __future__ import annotations

from collections.abc import Iterable

from hitui.domain.jobs import Ended, Job, Queued


def foremost(jobs: Iterable[Job]) -> dict[str, Job]:
    """Config → the job that is on it, else the first that waits for it. `jobs` come oldest first."""
    waiting: dict[str, Job] = {}
    started: dict[str, Job] = {}
    for job in jobs:
        if isinstance(job.state, Ended):
            continue
        chosen = waiting if isinstance(job.state, Queued) else started
        for name in job.request.configs:
            chosen.setdefault(name, job)
    return waiting | started
