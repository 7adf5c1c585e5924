"""The jobs of one snapshot, sorted once: of ten thousand a screen needs a few, and asks for them every second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from hitui.domain.jobs import FAILURES, Ended, Ending, Job, JobsSnapshot, Queued
from hitui.domain.queue import order_key


class ConfigJobs(msgspec.Struct, frozen=True):
    """What is to be said of one config's jobs."""

    job: Job
    """The one that is on it, the first shard of several, else the first that waits for it, else the newest that
    ended."""
    more_waiting: int = 0
    """How many others wait for it."""
    shards: tuple[Job, ...] = ()
    """All shards of its split that have not ended, itself among them; empty: it is not split."""
    failed: tuple[Job, ...] = ()
    """Shards of its split that failed and were not tried again, while others go on."""


class JobIndex:
    def __init__(self, snapshot: JobsSnapshot) -> None:
        self.snapshot = snapshot
        started: list[Job] = []
        queued: list[Job] = []
        ended: list[Job] = []
        for job in snapshot.jobs:
            state = job.state
            part = queued if isinstance(state, Queued) else ended if isinstance(state, Ended) else started
            part.append(job)
        self.started = tuple(started)
        """Starting, running or stopping; oldest first."""
        self.queued = tuple(queued)
        """Oldest first."""
        self.ended = tuple(ended)
        """Oldest first."""
        self.holders = JobsSnapshot(self.started, snapshot.supervisor_pid, snapshot.queue)
        """As the snapshot, with nothing but the jobs that hold GPUs."""
        self._by_config = self._sorted_by_config()

    def of_config(self, name: str) -> ConfigJobs | None:
        """None: it was never run here."""
        return self._by_config.get(name)

    def with_log(self, job: Job) -> Job | None:
        """The job whose log tells of its tasks: itself, the one that it joined, or the one whose place it took.

        None: there is none, or it is not known any more.
        """
        known = {other.id: other for other in (*self.started, *self.ended)}
        passed: set[int] = set()
        found: Job | None = job
        while found is not None and not found.log and found.id not in passed:
            passed.add(found.id)
            joined = isinstance(found.state, Ended) and found.state.ending is Ending.JOINED
            found = known.get((found.successor if joined else found.replaces) or 0)
        return found if found is not None and found.log else None

    def log_left(self, config: str, job: Job) -> Job | None:
        """The job whose log is the newest on a config, of which this one is the last: as `with_log`, or else what ended
        last. None: nothing that is known has left one."""
        left = (each for each in self.ended if each.log and config in each.request.configs)
        return self.with_log(job) or max(left, key=_ended_at, default=None)

    def needs_someone(self, job: Job) -> bool:
        """Whether an ended job is the last word on its config: nothing has followed it but other shards."""
        return any(
            known is not None and (known.job is job or job in known.failed)
            for known in map(self.of_config, job.request.configs)
        )

    def _sorted_by_config(self) -> dict[str, ConfigJobs]:
        chosen: dict[str, Job] = {}
        waiting: dict[str, int] = {}
        failed: dict[int, list[Job]] = {}
        tries = _newest_tries(self.snapshot.jobs)
        for job in self.ended:
            if job.request.shard is not None and _is_left(job, tries):
                failed.setdefault(job.request.shard.split, []).append(job)
            # Of one that joined another there is nothing to say but what that one says.
            if isinstance(job.state, Ended) and job.state.ending is not Ending.JOINED:
                for config in _configs(job):
                    known = chosen.get(config)
                    if known is None or _is_the_last_word(job, known, tries):
                        chosen[config] = job
        shards: dict[int, list[Job]] = {}
        for job in self.queued:
            for config in _configs(job):
                known = chosen.get(config)
                if known is None or isinstance(known.state, Ended) or order_key(job) < order_key(known):
                    chosen[config] = job
                waiting[config] = waiting.get(config, 0) + 1
            if job.request.shard is not None:
                shards.setdefault(job.request.shard.split, []).append(job)
        for job in self.started:
            shard = job.request.shard
            if shard is None:
                chosen.update(dict.fromkeys(_configs(job), job))
            else:
                shards.setdefault(shard.split, []).append(job)
                known = chosen.get(job.request.config)
                if known is None or not _is_started(known) or _shard_number(job) < _shard_number(known):
                    chosen[job.request.config] = job
        return {
            config: _config_jobs(job, waiting.get(config, 0), shards, failed)
            for config, job in chosen.items()
        }


def _config_jobs(
    job: Job, waiting: int, shards: dict[int, list[Job]], failed: dict[int, list[Job]]
) -> ConfigJobs:
    """`waiting` is how many jobs wait for the config in all; `shards` are those that have not ended, by split."""
    split = job.request.shard.split if job.request.shard is not None and job.active else 0
    together = tuple(sorted(shards.get(split, ()), key=_shard_number))
    own = sum(isinstance(each.state, Queued) for each in together or (job,))
    return ConfigJobs(job, waiting - own, together, tuple(failed.get(split, ())))


def _is_started(job: Job) -> bool:
    return not isinstance(job.state, (Queued, Ended))


def _shard_number(job: Job) -> int:
    return job.request.shard.number if job.request.shard is not None else 0


def _newest_tries(jobs: Iterable[Job]) -> dict[tuple[int, int], int]:
    """The number of the newest job of each shard, by its split and its number in that."""
    newest: dict[tuple[int, int], int] = {}
    for job in jobs:
        shard = job.request.shard
        if shard is not None:
            newest[shard.split, shard.number] = max(job.id, newest.get((shard.split, shard.number), 0))
    return newest


def _is_the_last_word(job: Job, known: Job, tries: Mapping[tuple[int, int], int]) -> bool:
    """Whether one ended job says more of their config than another. A shard that failed is not made good by others."""
    shard, other = job.request.shard, known.request.shard
    if shard is not None and other is not None and shard.split == other.split:
        left = [_is_left(each, tries) for each in (job, known)]
        if left[0] != left[1]:
            return left[0]
    return _ended_at(known) <= _ended_at(job)


def _is_left(job: Job, tries: Mapping[tuple[int, int], int]) -> bool:
    """Whether a shard failed, and was not tried again: a try that was asked for by hand is no successor of it."""
    shard = job.request.shard
    failed = isinstance(job.state, Ended) and job.state.ending in FAILURES and job.successor is None
    return failed and shard is not None and tries[shard.split, shard.number] == job.id


def _ended_at(job: Job) -> float:
    return job.state.ended_at if isinstance(job.state, Ended) else 0.0


def _configs(job: Job) -> tuple[str, ...]:
    # Of ten thousand jobs nearly all have one.
    request = job.request
    return request.configs if request.also else (request.config,)
