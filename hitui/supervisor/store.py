"""The jobs, the queue and the GPUs that jobs hold, in SQLite on local disk.

What must hold across any `kill -9` is held by the tables themselves: one started job a config, or shards of one
split, by key and trigger of `config_claims`; one job a GPU, or several that all share, by index and trigger of
`gpu_claims`. A job's
configs and GPUs are claimed in the same transaction that makes it `starting`, before anything is spawned, and
released in the one that ends it; a job that is to run again is queued anew in that same one. Transactions are
on disk when they return.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from msgspec.structs import replace

from hitui.domain.jobs import Ending, Job, JobRequest, Queued
from hitui.domain.queue import place_between
from hitui.domain.schedule import Group, Schedule
from hitui.domain.succession import StopWish, Successor, Toll
from hitui.errors import LaunchError
from hitui.supervisor.asked import Asked
from hitui.supervisor.rows import End, job_of, schedule_to_text
from hitui.supervisor.store_reading import StoreReading
from hitui.supervisor.wire import request_to_wire


class Store(StoreReading):
    """One workspace's jobs. Used from one thread; a read-only one beside it sees what is committed."""

    def submit(
        self,
        requests: Sequence[JobRequest],
        environment: Mapping[str, str],
        schedule: Schedule = Schedule(),  # noqa: B008 - a frozen value
    ) -> tuple[Job, ...]:
        """Queues all of the requests, or none.

        What is to wait for a job that went on as another one, or in shards, waits for these. Raises LaunchError
        when a job is on the same tasks of a config already, or is to wait for the success of one that ended
        otherwise; NoSuchName for a job that the schedule waits for and that never was.
        """
        with self._transaction():
            schedule = replace(
                schedule,
                after=tuple(chain.from_iterable(map(self._in_place_of, schedule.after))),
                after_success=tuple(chain.from_iterable(map(self._in_place_of, schedule.after_success))),
            )
            for other, ending in self.endings(schedule.after_success).items():
                if ending is not None and ending is not Ending.SUCCEEDED:
                    raise LaunchError(f"job {other} ended as {ending.value}: nothing can follow its success")
            value = json.dumps(dict(environment), sort_keys=True)
            self._database.execute("INSERT OR IGNORE INTO environments (value) VALUES (?)", (value,))
            kept = self._database.execute("SELECT id FROM environments WHERE value = ?", (value,)).fetchone()
            ids = [self._insert(request, kept["id"], schedule) for request in requests]
        return tuple(map(self.job, ids))

    def start(
        self,
        job_id: int,
        gpus: Sequence[str],
        boot: str,
        *,
        log: Path,
        events: Path,
        task_count: int | None,
        memory: int = 0,
        shared: bool = False,
        joined: Sequence[int] = (),
    ) -> Job:
        """Claims configs and GPUs, `memory` bytes on each, and makes a queued job `starting`.

        Queued jobs that `joined` it end in the same step; their requests become parts of its own. Raises
        LaunchError when a config is held already, or a GPU, unless all of its jobs are `shared`, or when one
        of the jobs is no longer queued.
        """
        with self._transaction():
            job = self._queued(job_id)
            others = [self._queued(other) for other in joined]
            parts = [part for other in others for part in other.request.parts]
            request = replace(job.request, also=(*job.request.also, *parts))
            for other in others:
                end = End(Ending.JOINED, f"its tasks run in job {job_id}, which loads the model once for all")
                self._end(other.id, end, job_id)
            self._hand_on({other.id for other in others}, job_id)
            try:
                self._database.executemany(
                    "INSERT INTO gpu_claims (uuid, job, memory, shared) VALUES (?, ?, ?, ?)",
                    [(uuid, job_id, memory, shared) for uuid in gpus],
                )
            except sqlite3.IntegrityError as error:
                raise LaunchError(f"a GPU of job {job_id} is held by another job") from error
            try:
                self._database.executemany(
                    "INSERT INTO config_claims (config, split, shard, job) VALUES (?, ?, ?, ?)",
                    [(part.config, *_split_and_shard(part), job_id) for part in request.parts],
                )
            except sqlite3.IntegrityError as error:
                raise LaunchError(f"another job runs on the config of job {job_id}") from error
            self._change(
                job_id,
                "queued",
                state="starting",
                request=json.dumps(request_to_wire(request)),
                gpus=json.dumps(list(gpus)),
                boot=boot,
                since=time.time(),
                log=str(log),
                events=str(events),
                task_count=task_count,
            )
        return self.job(job_id)

    def split(self, job_id: int, shards: Sequence[JobRequest]) -> tuple[Job, ...]:
        """Makes a queued job the first of these shards, and queues the others just behind it.

        What is to wait for the job waits for all of them. Raises LaunchError when it is no longer queued.
        """
        with self._transaction():
            job = self._queued(job_id)
            environment = self._row(job_id, "environment")["environment"]
            self._change(job_id, "queued", request=json.dumps(request_to_wire(shards[0])))
            # At one place of the queue the older job is first.
            others = [
                self._insert_row(shard, environment, job.schedule, job.place, attempt=job.attempt)
                for shard in shards[1:]
            ]
            self._hand_on({job_id}, job_id, *others)
        return tuple(map(self.job, (job_id, *others)))

    def begun(self, job_id: int, pid: int, started: float) -> Job:
        """The runner runs. A job that is being stopped by now stays so."""
        with self._transaction():
            self._touched.add(job_id)
            self._database.execute(
                "UPDATE jobs SET pid = ?, started = ?,"
                " state = CASE state WHEN 'starting' THEN 'running' ELSE state END"
                " WHERE id = ? AND state IN ('starting', 'running', 'stopping')",
                (pid, started, job_id),
            )
        return self.job(job_id)

    def stopping(self, job_id: int, wish: StopWish = StopWish()) -> Job:  # noqa: B008 - a frozen value
        """Someone asked a started job to stop, to this end; the last wish holds."""
        with self._transaction():
            self._touched.add(job_id)
            self._database.execute(
                "UPDATE jobs SET state = 'stopping', stop_asked = coalesce(stop_asked, ?),"
                " stop_aim = ?, stop_reason = ? WHERE id = ? AND state IN ('starting', 'running', 'stopping')",
                (time.time(), wish.aim.value, wish.reason, job_id),
            )
        return self.job(job_id)

    def mark_stalled(self, job_id: int, since: float | None) -> Job:
        """Since when nothing comes of a running job, in seconds since the epoch; None: something does again."""
        with self._transaction():
            self._touched.add(job_id)
            self._database.execute(
                "UPDATE jobs SET stalled = ? WHERE id = ? AND state = 'running'", (since, job_id)
            )
        return self.job(job_id)

    def unstart(self, job_id: int) -> Job:
        """Puts a job whose runner was never executed back into the queue, its GPUs released."""
        with self._transaction():
            self._release(job_id)
            self._change(job_id, "starting", state="queued", gpus="[]", boot=None, since=None)
        return self.job(job_id)

    def end(self, job_id: int, end: End, successor: Successor | None = None, toll: Toll | None = None) -> Job:
        """Ends a job and releases its GPUs.

        A successor takes its place in the queue in the same step, and what was to wait for it waits for that;
        the `toll` that its group has paid by then is taken down in it too.
        """
        with self._transaction():
            row = self._row(job_id, "*")
            if row["state"] == "ended":
                return job_of(row)
            self._release(job_id)
            new = None
            if successor is not None:
                new = self._put_in_place_of(job_of(row), row["environment"], successor)
            self._end(job_id, end, new)
            if toll is not None:
                self._take_toll(job_of(row).schedule.group, toll)
        return self.job(job_id)

    def _end(self, job_id: int, end: End, successor: int | None) -> None:
        self._database.execute(
            "UPDATE jobs SET state = 'ended', ending = ?, ended = ?, reason = ?, exit_status = ?, signal = ?,"
            " peak_memory = ?, successor = ? WHERE id = ?",
            (
                end.ending.value,
                end.at or time.time(),
                # It may name a file whose name is no text, which no database takes.
                end.reason.encode("utf-8", "replace").decode(),
                end.exit_status,
                end.signal,
                end.peak_memory,
                successor,
                job_id,
            ),
        )
        self._touched.add(job_id)

    def reschedule(self, job_id: int, change: Callable[[Schedule], Schedule]) -> Job:
        """Changes the schedule of a queued job. Raises LaunchError for one that has started or ended."""
        with self._transaction():
            job = self._queued(job_id)
            self._change(job_id, "queued", schedule=schedule_to_text(change(job.schedule)))
        return self.job(job_id)

    def move(self, job_id: int, before: int | None) -> Job:
        """Puts a queued job before another one, `before` None: behind all.

        Its priority changes as far as it must for that order. Raises LaunchError for a job that has started
        or ended.
        """
        if before == job_id:
            return self._queued(job_id)
        with self._transaction():
            job = self._queued(job_id)
            others = [other for other in self.queued() if other.id != job_id]
            index = len(others)
            if before is not None:
                target = self._queued(before)
                index = next(at for at, other in enumerate(others) if other.id == target.id)
            priority = job.schedule.priority
            if index < len(others):
                priority = max(priority, others[index].schedule.priority)
            if index > 0:
                priority = min(priority, others[index - 1].schedule.priority)
            peers = [other for other in others if other.schedule.priority == priority]
            at = sum(other.schedule.priority == priority for other in others[:index])
            place = place_between(
                peers[at - 1].place if at else None, peers[at].place if at < len(peers) else None
            )
            if any(other.place == place for other in peers):
                # Halved too often: places are made anew.
                for number, other in enumerate([*peers[:at], job, *peers[at:]]):
                    self._change(other.id, "queued", place=float(number))
                    place = float(number) if other is job else place
            self._change(
                job_id,
                "queued",
                place=place,
                schedule=schedule_to_text(replace(job.schedule, priority=priority)),
            )
        return self.job(job_id)

    def pause_queue(self, reason: str) -> None:
        """No job starts; an empty reason: they do again."""
        with self._transaction():
            self._database.execute("UPDATE queue SET paused = ?", (reason,))

    def set_group(self, group: Group) -> None:
        """Takes down what was said of a group; one of which nothing is said is forgotten."""
        with self._transaction():
            self._set_group(group)

    def _set_group(self, group: Group) -> None:
        self._database.execute("DELETE FROM job_groups WHERE name = ?", (group.name,))
        if group != Group(group.name):
            self._database.execute(
                "INSERT INTO job_groups VALUES (?, ?, ?)", (group.name, group.limit, group.paused)
            )

    def _take_toll(self, group: str, toll: Toll) -> None:
        self._database.execute("DELETE FROM quick_deaths WHERE job_group = ?", (group,))
        self._database.executemany(
            "INSERT INTO quick_deaths VALUES (?, ?)", [(job_id, group) for job_id in toll.died]
        )
        if toll.pause:
            self._set_group(replace(self.queue().group(group), paused=toll.pause))

    def _in_place_of(self, job_id: int) -> tuple[int, ...]:
        """The job as it goes on: the last that took its place, and all shards where one of them was split. Raises
        NoSuchName."""
        course = [job_id]
        while (successor := self._row(course[-1], "successor")["successor"]) is not None:
            course.append(successor)
        shards = self._database.execute(
            "SELECT id FROM jobs WHERE id > ? AND successor IS NULL AND json_extract(request, '$.shard.split') IN"
            f" ({', '.join('?' * len(course))}) ORDER BY id",
            (job_id, *course),
        )
        return tuple(dict.fromkeys((course[-1], *(row["id"] for row in shards))))

    def _queued(self, job_id: int) -> Job:
        job = self.job(job_id)
        if not isinstance(job.state, Queued):
            raise LaunchError(f"job {job_id} is no longer queued: it is {job.word}")
        return job

    def _insert(self, request: JobRequest, environment: int, schedule: Schedule) -> int:
        if self._asked is None:
            self._asked = Asked(self._active.values())
        for other in self._asked.same(request):
            if other not in (*schedule.after, *schedule.after_success):
                raise LaunchError(f"{request.config}: job {other} is already on it")
        last = self._database.execute("SELECT coalesce(max(id), 0) AS id FROM jobs").fetchone()["id"]
        new = self._insert_row(request, environment, schedule, float(last + 1))
        # Those behind it in this very transaction are to know of it.
        self._asked.add(new, request)
        return new

    def _insert_row(
        self,
        request: JobRequest,
        environment: int,
        schedule: Schedule,
        place: float,
        attempt: int = 1,
        replaces: int | None = None,
    ) -> int:
        cursor = self._database.execute(
            "INSERT INTO jobs (config, request, environment, created, schedule, place, attempt, replaces, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued')",
            (
                request.config,
                json.dumps(request_to_wire(request)),
                environment,
                time.time(),
                schedule_to_text(schedule),
                place,
                attempt,
                replaces,
            ),
        )
        new = int(cursor.lastrowid or 0)
        self._touched.add(new)
        return new

    def _put_in_place_of(self, job: Job, environment: int, successor: Successor) -> int:
        new = self._insert_row(
            job.request, environment, successor.schedule, job.place, successor.attempt, job.id
        )
        self._hand_on({job.id}, new)
        return new

    def _hand_on(self, old: set[int], *new: int) -> None:
        """What was to wait for one of the old jobs waits for the new ones."""
        for waiting in self._active.values():
            known = waiting.schedule
            named = not old.isdisjoint((*known.after, *known.after_success))
            if not named or not isinstance(waiting.state, Queued):
                continue
            moved = replace(
                known,
                after=_with_others(known.after, old, new),
                after_success=_with_others(known.after_success, old, new),
            )
            self._change(waiting.id, "queued", schedule=schedule_to_text(moved))

    def _change(self, job_id: int, expected: str, **values: object) -> None:
        """Sets columns of a job that is in the expected state. Raises LaunchError when it is not."""
        assignments = ", ".join(f"{name} = ?" for name in values)
        cursor = self._database.execute(
            f"UPDATE jobs SET {assignments} WHERE id = ? AND state = ?", (*values.values(), job_id, expected)
        )
        if cursor.rowcount != 1:
            raise LaunchError(f"job {job_id} is no longer {expected}")
        self._touched.add(job_id)

    def _release(self, job_id: int) -> None:
        self._database.execute("DELETE FROM gpu_claims WHERE job = ?", (job_id,))
        self._database.execute("DELETE FROM config_claims WHERE job = ?", (job_id,))


def _with_others(job_ids: Sequence[int], old: set[int], new: Sequence[int]) -> tuple[int, ...]:
    """The numbers, the new ones in the place of each old one."""
    return tuple(other for job_id in job_ids for other in (new if job_id in old else (job_id,)))


def _split_and_shard(request: JobRequest) -> tuple[int, int]:
    """As `config_claims` tells them; no split has the number 0."""
    return (0, 0) if request.shard is None else (request.shard.split, request.shard.number)
