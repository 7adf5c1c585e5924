"""What a request would do, shown to a person before anything starts."""

from __future__ import annotations

from collections import Counter

import msgspec

from hitui.domain.jobs import JobRequest
from hitui.domain.units import counted


class PlannedLaunch(msgspec.Struct, frozen=True):
    """One request and what it would do now."""

    request: JobRequest
    task_count: int | None
    """How many tasks would run; None: the runner decides."""
    where: str
    """`GPU 2 now`, `GPU 2 once free for 10 s`, or what it would wait for."""
    seconds: float | None
    """About how long until its end, from the stored times of the answered tasks; None: nothing to estimate from."""
    writes: str
    """The folder or files that it would write."""
    refused: str | None = None
    """Why it cannot start at all (no runner, nothing pending, already running); None: it can."""
    shards: int = 1
    """Into how many jobs it would be split, each for `seconds`."""
    most_shards: int = 1
    """Into how many at most when it starts: as many as `shards` where it would start now, for there may be fewer tables;
    of one that waits, what settings, GPUs and its group allow."""
    unit: str = "tasks"
    """What `task_count` counts: tasks, steps, lines, files."""


class LaunchPlan(msgspec.Struct, frozen=True):
    launches: tuple[PlannedLaunch, ...]

    @property
    def startable(self) -> tuple[PlannedLaunch, ...]:
        return tuple(launch for launch in self.launches if launch.refused is None)

    @property
    def words(self) -> str:
        """How much would be started: `7 jobs`, `7 jobs, up to 12 shards` where some of them may be split."""
        jobs = len(self.startable)
        shards = sum(launch.most_shards for launch in self.startable)
        return counted(jobs, "job") + (f", up to {shards} shards" if shards > jobs else "")

    @property
    def units(self) -> tuple[str, ...]:
        """What is counted, most common first."""
        return tuple(unit for unit, _ in Counter(launch.unit for launch in self.startable).most_common())

    @property
    def work(self) -> str:
        """`27 tasks`, `3 or more tasks and 400 lines`."""
        parts = []
        for unit in self.units:
            counts = [launch.task_count for launch in self.startable if launch.unit == unit]
            known = sum(count or 0 for count in counts)
            parts.append(
                f"{known} or more {unit}" if None in counts else counted(known, unit.removesuffix("s"))
            )
        return " and ".join(parts)
