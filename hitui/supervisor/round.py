"""One look at the whole queue: what holds for several of its jobs is found out once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec.structs import replace

from hitui.domain.claims import Claim, Claims, keep
from hitui.domain.jobs import Job
from hitui.domain.placement import Need
from hitui.domain.placer import Placer
from hitui.domain.queue import Standing, group_room, group_wait, never_starts, own_wait
from hitui.domain.waits import Wait
from hitui.errors import HituiError, LaunchError
from hitui.supervisor.needs import need_of_request


class Round:
    """One look at the whole queue: what holds for all of its jobs is found out once."""

    def __init__(
        self, queued: Sequence[Job], standing: Standing, needs: Mapping[str, Need | HituiError]
    ) -> None:
        self._queued = queued
        self._standing = standing
        self.joined: set[int] = set()
        """Jobs that joined another one in this round."""
        self.split = False
        """Whether a job was split in this round, so that the queue is another one now."""
        self._needs = needs
        self._started = Counter(standing.started)
        self._busy = dict(standing.busy)
        self._groups: dict[str, Wait | None] = {}
        self._alike: dict[Hashable, Wait] = {}
        self._kept: Claims = {}
        self.placer: Placer | None = None
        """Says where the jobs of this round go, as long as nothing was started or kept; None: not asked yet."""
        self.locked: set[str] = set()
        """UUIDs on which someone else's lock stands."""

    def as_one_ahead(self, job: Job) -> Wait | None:
        """What a job ahead waits for that differs in nothing but its tasks; None: there is none."""
        return self._alike.get(_likeness(job))

    def remember(self, job: Job, wait: Wait | None) -> None:
        """What the job waits for; holds for those like it until something changes."""
        likeness = _likeness(job)
        if likeness is not None and wait is not None:
            self._alike[likeness] = wait

    def _forget(self) -> None:
        self._alike.clear()
        self.placer = None

    def wait(self, job: Job) -> Wait | None:
        """What the job waits for besides GPUs; None: nothing. Raises LaunchError when it can never start."""
        if job.schedule.after_success:
            never = never_starts(job, self._standing)
            if never:
                raise LaunchError(never)
        group = job.schedule.group
        if group not in self._groups:
            self._groups[group] = group_wait(group, self._standing)
        return own_wait(job, self._standing) or self._groups[group]

    def group_room(self, job: Job) -> int | None:
        """How many more jobs of its group may start; None: it has no limit."""
        return group_room(job.schedule.group, self._standing)

    def need(self, job: Job) -> Need:
        """What the job asks of the GPUs. Raises HituiError where that cannot be told."""
        need = self._needs[job.request.config]
        if isinstance(need, HituiError):
            raise need
        return need_of_request(need, job.request)

    def beside(self, claims: Claims) -> Claims:
        """The claims, and what jobs ahead in the queue keep for themselves."""
        found = dict(claims)
        for uuid, kept_ones in self._kept.items():
            found[uuid] = (*found.get(uuid, ()), *kept_ones)
        return found

    def keep(self, job: Job, need: Need, uuids: Sequence[str]) -> None:
        """The job waits: these GPUs are not for those behind it."""
        kept_now = keep(self._kept, uuids, Claim(job.id, need.memory, need.share))
        if kept_now is not self._kept:
            self._kept = kept_now
            self._forget()

    def take_lock(self, uuid: str) -> None:
        self.locked.add(uuid)
        self._forget()

    def those(self, job_ids: Sequence[int]) -> list[Job]:
        """The jobs with these numbers, as they stood when the round began."""
        return [job for job in self._queued if job.id in job_ids]

    def behind(self, job: Job) -> Iterator[Job]:
        """Jobs further back in the queue that wait for nothing but GPUs."""
        for other in islice(self._queued, self._queued.index(job) + 1, None):
            if other.id not in self.joined and not self._waits(other):
                yield other

    def rivals(self, job: Job) -> Iterator[Job]:
        """Those of them that are as urgent, need a GPU too, and could run beside the job."""
        for other in self.behind(job):
            if other.schedule.priority < job.schedule.priority:
                return
            need = self._needs[other.request.config]
            if isinstance(need, Need) and need.memory and not other.request.keeps_off(job.request):
                yield other

    def _waits(self, job: Job) -> bool:
        try:
            return self.wait(job) is not None
        except LaunchError:
            return True

    def take_start(self, job: Job, joined: Sequence[int] = ()) -> None:
        """The job was started: what it takes, those behind it no longer find."""
        self.joined.update(joined)
        self._started[job.schedule.group] += 1
        parts = [part for other in self.those(joined) for part in other.request.parts]
        started = replace(job, request=replace(job.request, also=(*job.request.also, *parts)))
        for config in started.request.configs:
            self._busy[config] = (*self._busy.get(config, ()), started)
        self._standing = replace(self._standing, started=self._started, busy=self._busy)
        self._groups.clear()
        self._forget()


def _likeness(job: Job) -> Hashable:
    """Equal for jobs that wait for the same; None: for this one more was said than its group."""
    schedule, request = job.schedule, job.request
    own = (
        schedule.held
        or schedule.after
        or schedule.after_success
        or schedule.after_processes
        or schedule.not_before is not None
        or request.also
        or request.shard
    )
    return None if own else (request.config, request.gpus, request.gpu_count, request.shards, schedule.group)
