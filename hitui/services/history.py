"""The history of jobs and GPUs, read from where the supervisor keeps it; none need run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection

import msgspec

from hitui.domain.gpu_history import GpuBin, folded
from hitui.domain.jobs import Job
from hitui.domain.records import JobRecord
from hitui.errors import NoSuchName
from hitui.paths import RuntimePaths
from hitui.supervisor.client import SupervisorClient

MOST_NAMES = 10


class HistoryEntry(msgspec.Struct, frozen=True, gc=False):
    """One launch."""

    job: Job
    record: JobRecord | None
    """None: it was never launched, or by a hitui that kept no records."""


class HistoryService:
    """What there was in one workspace, as the store holds it at the moment of each call."""

    def __init__(self, paths: RuntimePaths) -> None:
        self._paths = paths
        self._client = SupervisorClient(paths)

    def jobs(
        self, config: str | None = None, since: float | None = None, last: int | None = None
    ) -> tuple[HistoryEntry, ...]:
        """Jobs that were launched or have ended, the oldest first.

        Of one config, by its name or the end of it; those alone that ended after `since` (seconds since the
        epoch) or have not ended; the `last` of these. Raises NoSuchName for a config that no job was on,
        SupervisorError when the store cannot be read.
        """
        own = None
        if config is not None:
            names = self._client.last_known_configs()
            own = {name for name in names if name == config or name.endswith(f"/{config}")}
            if not own:
                raise NoSuchName(f"{config}: no job was on a config of that name; {_known(names)}")
        jobs = self._client.last_known_launched(own, since, last)
        records = self.records([job.id for job in jobs])
        return tuple(HistoryEntry(job, records.get(job.id)) for job in jobs)

    def job(self, job_id: int) -> HistoryEntry:
        """Raises NoSuchName, or SupervisorError when the store cannot be read."""
        job = None
        with contextlib.suppress(NoSuchName):
            job = self._client.last_known_job(job_id)
        if job is None:
            raise NoSuchName(
                f"no job {job_id}; `hitui history` lists them, old ones are taken away ([history] keep)"
            )
        return HistoryEntry(job, self.records((job_id,)).get(job_id))

    def records(self, job_ids: Collection[int]) -> dict[int, JobRecord]:
        """Of these jobs, as far as there are any. Raises SupervisorError when the store cannot be read."""
        from hitui.supervisor.history_tables import read_history

        asked = sorted(job_ids)
        nothing: dict[int, JobRecord] = {}
        return (
            read_history(self._paths.database, lambda tables: tables.records(asked), nothing)
            if asked
            else nothing
        )

    def gpus(self, now: float | None = None) -> tuple[GpuBin, ...]:
        """The last day of all GPUs, the oldest bins first: what was not read has none.

        Raises SupervisorError when the store cannot be read.
        """
        from hitui.supervisor.history_tables import HistoryTables, read_history

        nothing: tuple[GpuBin, ...] = ()
        bins = read_history(self._paths.database, HistoryTables.bins, nothing)
        return folded(bins, time.time() if now is None else now)


def _known(names: Collection[str]) -> str:
    return f"known are {', '.join(sorted(names)[:MOST_NAMES])}" if names else "there was no job yet"
