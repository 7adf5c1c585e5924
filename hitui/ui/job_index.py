"""The jobs of one snapshot, sorted once: of ten thousand a screen needs a few, and asks for them every second."""

from __future__ import annotations

import msgspec

from hitui.domain.jobs import Ended, Ending, Job, JobsSnapshot, Queued


class ConfigJobs(msgspec.Struct, frozen=True):
    """What is to be said of one config's jobs."""

    job: Job
    """The one that is on it, else the first that waits for it, else the newest that ended."""
    more_waiting: int = 0
    """How many others wait for it."""


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

    def needs_someone(self, job: Job) -> bool:
        """Whether an ended job is the last word on its config: nothing has followed it."""
        return any(
            known is not None and known.job is job for known in map(self.of_config, job.request.configs)
        )

    def _sorted_by_config(self) -> dict[str, ConfigJobs]:
        chosen: dict[str, Job] = {}
        waiting: dict[str, int] = {}
        for job in self.ended:
            # Of one that joined another there is nothing to say but what that one says.
            if isinstance(job.state, Ended) and job.state.ending is not Ending.JOINED:
                for config in _configs(job):
                    known = chosen.get(config)
                    if known is None or _ended_at(known) <= _ended_at(job):
                        chosen[config] = job
        for job in self.queued:
            for config in _configs(job):
                known = chosen.get(config)
                if known is None or isinstance(known.state, Ended) or queue_key(job) < queue_key(known):
                    chosen[config] = job
                waiting[config] = waiting.get(config, 0) + 1
        for job in self.started:
            chosen.update(dict.fromkeys(_configs(job), job))
        return {
            config: ConfigJobs(job, waiting.get(config, 0) - isinstance(job.state, Queued))
            for config, job in chosen.items()
        }


def queue_key(job: Job) -> tuple[int, float, int]:
    """What `domain.queue.in_order` sorts by."""
    return -job.schedule.priority, job.place, job.id


def _ended_at(job: Job) -> float:
    return job.state.ended_at if isinstance(job.state, Ended) else 0.0


def _configs(job: Job) -> tuple[str, ...]:
    # Of ten thousand jobs nearly all have one.
    request = job.request
    return request.configs if request.also else (request.config,)
