"""What is asked of the store: jobs, the queue and its order, who holds which GPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from hitui.domain.claims import Claim
from hitui.domain.jobs import Ending, Job, Queued
from hitui.domain.queue import in_order
from hitui.domain.schedule import Group, Queue
from hitui.domain.succession import StopAim, StopWish
from hitui.supervisor.rows import COLUMNS, job_of
from hitui.supervisor.store_file import StoreFile

_RUNS_SEVERAL = """instr(request, '"also"') > 0"""


class StoreReading(StoreFile):
    """Changes nothing."""

    def jobs(self, ended: int | None = None) -> tuple[Job, ...]:
        """All active jobs and the last `ended` others (None: all of them), oldest first."""
        # Who only looks must not find a job in neither half because it ended between them.
        self._database.execute("BEGIN")
        try:
            rows = self._database.execute(
                f"SELECT {COLUMNS} FROM jobs WHERE state = 'ended' ORDER BY id DESC LIMIT ?",
                (-1 if ended is None else ended,),
            )
            found = (*map(job_of, rows), *self.active())
        finally:
            self._database.execute("COMMIT")
        return tuple(sorted(found, key=lambda job: job.id))

    def configs(self) -> set[str]:
        """Of all jobs that were launched or have ended."""
        rows = self._database.execute("SELECT DISTINCT config FROM jobs WHERE state != 'queued'")
        # Of one that runs several the column names the first.
        several = self._database.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE state != 'queued' AND {_RUNS_SEVERAL}"
        )
        return {row["config"] for row in rows} | {
            name for row in several for name in job_of(row).request.configs
        }

    def launched(
        self, configs: AbstractSet[str] | None = None, since: float | None = None, last: int | None = None
    ) -> tuple[Job, ...]:
        """Jobs that were launched or have ended, oldest first.

        Those on one of `configs` alone; those alone that ended after `since`, in seconds since the epoch, or have
        not ended; the `last` of these. None: all.
        """
        rows = self._database.execute(
            f"SELECT {COLUMNS}, {_RUNS_SEVERAL} AS several FROM jobs"
            " WHERE state != 'queued' AND (state != 'ended' OR ended >= ?) ORDER BY id DESC",
            (float("-inf") if since is None else since,),
        )
        # What is on none of them is not worth making a job of.
        likely = (
            job_of(row) for row in rows if configs is None or row["several"] or row["config"] in configs
        )
        found = (job for job in likely if configs is None or not configs.isdisjoint(job.request.configs))
        return tuple(islice(found, last))[::-1]

    def foremost(self) -> tuple[Job, ...]:
        """What has started, and for each config at least the first job that waits for it; oldest first.

        The file may hold ten times as many that wait behind these.
        """
        rows = self._database.execute(
            f"SELECT {COLUMNS} FROM jobs WHERE state != 'ended' AND (state != 'queued'"
            " OR id IN (SELECT min(id) FROM jobs WHERE state = 'queued' AND state != 'ended' GROUP BY config)"
            # Of one that runs several configs the column names the first.
            f" OR {_RUNS_SEVERAL}) ORDER BY id"
        )
        return tuple(map(job_of, rows))

    def job(self, job_id: int) -> Job:
        """Raises NoSuchName."""
        return self._active.get(job_id) or job_of(self._row(job_id))

    def started(self) -> tuple[Job, ...]:
        """What has started and not ended, oldest first."""
        if self._started is None or self._read_only:
            self._started = tuple(job for job in self.active() if not isinstance(job.state, Queued))
        return self._started

    def queued(self) -> tuple[Job, ...]:
        """What has not started, in the order of the queue."""
        if self._order is None or self._read_only:
            self._order = in_order(job for job in self.active() if isinstance(job.state, Queued))
        return self._order

    def queue(self) -> Queue:
        """What was said of the queue and of groups."""
        groups = self._database.execute("SELECT name, job_limit, paused FROM job_groups ORDER BY name")
        return Queue(
            self._database.execute("SELECT paused FROM queue").fetchone()["paused"],
            tuple(Group(row["name"], row["job_limit"], row["paused"]) for row in groups),
        )

    def claims(self) -> dict[str, tuple[Claim, ...]]:
        """The jobs that hold each claimed GPU, by UUID."""
        found: dict[str, tuple[Claim, ...]] = {}
        for row in self._database.execute(
            "SELECT uuid, job, memory, shared, pid FROM gpu_claims JOIN jobs ON jobs.id = job ORDER BY job"
        ):
            claim = Claim(row["job"], row["memory"], bool(row["shared"]), row["pid"])
            found[row["uuid"]] = (*found.get(row["uuid"], ()), claim)
        return found

    def environment(self, job_id: int) -> dict[str, str]:
        """The environment of whoever submitted the job."""
        row = self._database.execute(
            "SELECT value FROM environments WHERE id = (SELECT environment FROM jobs WHERE id = ?)", (job_id,)
        ).fetchone()
        value: dict[str, str] = json.loads(row["value"]) if row is not None else {}
        return value

    def environment_id(self, job_id: int) -> int:
        """Equal for jobs that were submitted in the same environment."""
        return int(self._row(job_id, "environment")["environment"])

    def boot(self, job_id: int) -> str | None:
        """The boot id under which the job was started; None: it never was."""
        value: str | None = self._row(job_id, "boot")["boot"]
        return value

    def stop_wish(self, job_id: int) -> StopWish | None:
        """To what end a job was asked to stop; None: nobody asked."""
        row = self._row(job_id, "stop_asked, stop_aim, stop_reason")
        return None if row["stop_asked"] is None else StopWish(StopAim(row["stop_aim"]), row["stop_reason"])

    def quick_deaths(self, group: str) -> tuple[int, ...]:
        """The last jobs of a group, if they died within seconds one after the other; oldest first."""
        rows = self._database.execute(
            "SELECT job FROM quick_deaths WHERE job_group = ? ORDER BY job", (group,)
        )
        return tuple(row["job"] for row in rows)

    def endings(self, job_ids: Sequence[int]) -> dict[int, Ending | None]:
        """How each of these jobs ended; None: it has not. Those that never were are left out."""
        found: dict[int, Ending | None] = {}
        for job_id in job_ids:
            if job_id in self._active:
                found[job_id] = None
                continue
            row = self._database.execute("SELECT ending FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is not None:
                found[job_id] = Ending(row["ending"]) if row["ending"] is not None else None
        return found
