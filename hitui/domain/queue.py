"""The order of the queue, and what a queued job waits for besides GPUs. Values in, values out.

Where a job waits for several things it names the one that a person can do something about first: that it is
paused, then times, jobs and processes that were named, then the jobs that run.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from hitui.domain.jobs import Ending, Job
from hitui.domain.schedule import ProcessMark, Queue, Schedule
from hitui.domain.waits import Wait, WaitKind

_PLAIN = Schedule()


class Standing(msgspec.Struct, frozen=True):
    """All that decides about queued jobs at one moment, the GPUs apart."""

    now: float
    """Seconds since the epoch."""
    queue: Queue = Queue()
    started: Mapping[str, int] = {}
    """Group → how many of its jobs hold something: starting, running or stopping."""
    busy: Mapping[str, Sequence[Job]] = {}
    """Config → the started jobs that are on it: one, or shards of one split."""
    endings: Mapping[int, Ending | None] = {}
    """Job → how it ended, None: it has not; of every job that another one is to wait for and that exists."""
    living: Collection[ProcessMark] = ()
    """Those of the processes that were named which still live."""


def order_key(job: Job) -> tuple[int, float, int]:
    """The job with the lowest starts first: higher priority first, then by place, then the older first."""
    return -job.schedule.priority, job.place, job.id


def in_order(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """As they start."""
    return tuple(sorted(jobs, key=order_key))


def on_configs(jobs: Iterable[Job]) -> dict[str, tuple[Job, ...]]:
    """Which of these jobs are on each config."""
    found: dict[str, tuple[Job, ...]] = {}
    for job in jobs:
        for config in job.request.configs:
            found[config] = (*found.get(config, ()), job)
    return found


def group_wait(group: str, standing: Standing) -> Wait | None:
    """What every queued job of the group waits for; None: nothing."""
    queue = standing.queue
    if queue.paused:
        return Wait(WaitKind.QUEUE_PAUSED, f"the queue to be resumed: {queue.paused}")
    known = queue.group(group)
    if known.paused:
        return Wait(WaitKind.GROUP_PAUSED, f"group {group} to be resumed: {known.paused}")
    if group_room(group, standing) == 0:
        run = standing.started.get(group, 0)
        return Wait(WaitKind.GROUP_FULL, f"a place in group {group}: {run} of {known.limit} run")
    return None


def group_room(group: str, standing: Standing) -> int | None:
    """How many more jobs of the group may start, by its limit; None: it has none."""
    limit = standing.queue.group(group).limit
    return None if limit is None else max(0, limit - standing.started.get(group, 0))


def own_wait(job: Job, standing: Standing) -> Wait | None:
    """What this job waits for by its own schedule; None: nothing."""
    schedule = job.schedule
    if schedule != _PLAIN:
        if schedule.held:
            return Wait(WaitKind.HELD, f"someone to resume it: {schedule.held}")
        if schedule.not_before is not None and standing.now < schedule.not_before:
            starts = _moment(schedule.not_before, standing.now)
            return Wait(WaitKind.TIME, f"{starts}: it starts then")
        for other in schedule.after:
            if standing.endings.get(other, Ending.LOST) is None:
                return Wait(WaitKind.OTHERS, f"job {other}: to end")
        for other in schedule.after_success:
            if standing.endings.get(other, Ending.LOST) is None:
                return Wait(WaitKind.OTHERS, f"job {other}: to succeed")
        for process in schedule.after_processes:
            if process in standing.living:
                return Wait(WaitKind.OTHERS, f"process {process.pid}: to end")
    if standing.busy:
        for config in job.request.configs:
            for started in standing.busy.get(config, ()):
                if job.request.keeps_off(started.request):
                    return Wait(WaitKind.OTHERS, f"job {started.id}: it is on the same config")
    return None


def never_starts(job: Job, standing: Standing) -> str:
    """Why no waiting helps: a job that it needs did not succeed. One line; empty: it may start one day."""
    for other in job.schedule.after_success:
        ending = standing.endings.get(other, Ending.LOST)
        if ending is not None and ending is not Ending.SUCCEEDED:
            return f"it needed job {other}, which ended as {ending.value}"
    return ""


def next_moment(jobs: Iterable[Job], now: float) -> float | None:
    """When the next of these jobs reaches its time, in seconds since the epoch; None: none waits for one."""
    moments = [job.schedule.not_before for job in jobs if job.schedule.not_before is not None]
    return min((moment for moment in moments if moment > now), default=None)


def place_between(before: float | None, after: float | None) -> float:
    """A place in the queue between two others; None stands for an end of it."""
    if before is None and after is None:
        return 0.0
    if before is None:
        return (after or 0.0) - 1.0
    if after is None:
        return before + 1.0
    return (before + after) / 2


def _moment(then: float, now: float) -> str:
    there = time.localtime(then)
    same_day = there[:3] == time.localtime(now)[:3]
    # Of a pause of some seconds the minute would often be the one that it is.
    minute = "%H:%M" if then - now > 60 else "%H:%M:%S"
    return time.strftime(minute if same_day else f"%Y-%m-%d {minute}", there)
