"""Which queued jobs run in the process of another one, so that a model is loaded once for all of them.

Jobs join the first of them that starts while together they take no longer than `[queue] join` says: beyond
that the time of a load no longer counts, and another GPU may become free. What crashed before runs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import msgspec

from hitui.domain.jobs import Job, JobRequest
from hitui.domain.tasks import TaskId

UNKNOWN_SECONDS = 10.0
"""What a task is taken to last where no stored time says it."""


class Part(msgspec.Struct, frozen=True):
    """What one config of a job has to do now."""

    request: JobRequest
    ids: tuple[TaskId, ...] | None
    """None: the runner decides."""
    seconds: float
    """About how long; 0 where it cannot be told."""


class Joined(msgspec.Struct, frozen=True):
    """What is started together."""

    parts: tuple[Part, ...]
    jobs: tuple[int, ...] = ()
    """Those that joined, in their order."""


def can_join(leader: Job, other: Job) -> bool:
    """Whether nothing that was said of the two keeps them apart; what they load is not asked here."""
    return (
        leader.attempt == other.attempt == 1
        and leader.request.shard is None
        and other.request.shard is None
        and leader.request.executor == other.request.executor
        and leader.request.gpus == other.request.gpus
        and leader.schedule.group == other.schedule.group
        and not set(leader.request.configs) & set(other.request.configs)
    )


def join(
    own: Sequence[Part],
    candidates: Sequence[tuple[Job, Hashable]],
    loads: Hashable,
    places: int,
    longest: float,
    read: Callable[[JobRequest], tuple[Part, ...]],
) -> Joined:
    """The parts of the job that starts and of those that join it.

    `candidates` are the jobs behind it that may start now, with what each loads; `places` says on how many
    GPUs such jobs could start at this moment, the one at hand included: they are shared out over these.
    `longest` is the time, in seconds, that all parts may take together. Parts with nothing to do are left out.
    """
    alike = [job for job, key in candidates if key == loads]
    share = -(-(len(alike) + 1) // max(1, places)) - 1
    parts = list(own)
    joined: list[int] = []
    configs = {part.request.config for part in own}
    for job in alike:
        if len(joined) >= share:
            break
        if configs & set(job.request.configs):
            continue
        more = [part for part in read(job.request) if part.ids != ()]
        if not more or sum(part.seconds for part in (*parts, *more)) > longest:
            continue
        parts += more
        configs |= set(job.request.configs)
        joined.append(job.id)
    return Joined(tuple(parts), tuple(joined))
