"""The jobs and the GPUs that they hold, in SQLite on local disk.

What must hold across any `kill -9` is held by the tables themselves: one active job a config by a unique
index, one job a GPU by the primary key of `gpu_claims`. A job's GPUs are claimed in the same transaction
that makes it `starting`, before anything is spawned, and released in the one that ends it. Transactions
are on disk when they return.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from hitui.domain.jobs import (
    Ended,
    Ending,
    Job,
    JobRequest,
    JobState,
    Queued,
    Running,
    Starting,
    Stopping,
    one_line,
)
from hitui.errors import LaunchError, NoSuchName, SupervisorError
from hitui.supervisor.trouble import disk_trouble
from hitui.supervisor.wire import request_from_wire, request_to_wire

VERSION = 1
_SCHEMA = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    config TEXT NOT NULL,
    request TEXT NOT NULL,
    environment TEXT NOT NULL,
    created REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'starting', 'running', 'stopping', 'ended')),
    gpus TEXT NOT NULL DEFAULT '[]',
    boot TEXT,
    since REAL,
    pid INTEGER,
    started REAL,
    stop_asked REAL,
    ending TEXT,
    ended REAL,
    reason TEXT NOT NULL DEFAULT '',
    exit_status INTEGER,
    signal INTEGER,
    peak_memory INTEGER,
    task_count INTEGER,
    log TEXT NOT NULL DEFAULT '',
    events TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX one_active_job_a_config ON jobs (config) WHERE state != 'ended';
CREATE TABLE gpu_claims (
    uuid TEXT PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES jobs (id)
);
"""


class End(msgspec.Struct, frozen=True):
    """All that is recorded of a job's end, the time it started apart."""

    ending: Ending
    reason: str = ""
    at: float | None = None
    """None: now."""
    exit_status: int | None = None
    signal: int | None = None
    peak_memory: int | None = None


class Store:
    """One workspace's jobs. Used from one thread; a read-only one beside it sees what is committed."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Raises SupervisorError when the file cannot be used or was written by a newer hitui."""
        self.path = path
        try:
            if path.exists() and not path.is_file():
                raise SupervisorError(f"{path}: is no file; move it away to begin anew")
            if read_only:
                self._database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
            else:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                self._database = sqlite3.connect(path, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise SupervisorError(disk_trouble(path, error)) from error
        try:
            self._database.row_factory = sqlite3.Row
            self._prepare(read_only)
        except sqlite3.Error as error:
            self._database.close()
            raise SupervisorError(disk_trouble(path, error)) from error
        except SupervisorError:
            self._database.close()
            raise

    def _prepare(self, read_only: bool) -> None:
        version = int(self._database.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise SupervisorError(
                f"{self.path}: was written by a newer hitui (version {version}, this one knows {VERSION}); "
                "use that one, or move the file away to begin anew"
            )
        if read_only:
            return
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("PRAGMA foreign_keys = ON")
        if version == 0:
            self._database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    def close(self) -> None:
        self._database.close()

    def check(self) -> None:
        """Looks at every page of the file. Raises SupervisorError when one is damaged."""
        try:
            found = str(self._database.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.Error as error:
            raise SupervisorError(disk_trouble(self.path, error)) from error
        if found != "ok":
            raise SupervisorError(
                disk_trouble(self.path, sqlite3.DatabaseError(f"it is damaged: {one_line(found)}"))
            )

    def jobs(self, ended: int | None = None) -> tuple[Job, ...]:
        """All active jobs and the last `ended` others (None: all of them), oldest first."""
        rows = self._database.execute(
            "SELECT * FROM jobs WHERE state != 'ended' OR id IN"
            " (SELECT id FROM jobs WHERE state = 'ended' ORDER BY id DESC LIMIT ?) ORDER BY id",
            (-1 if ended is None else ended,),
        )
        return tuple(map(_job, rows))

    def job(self, job_id: int) -> Job:
        """Raises NoSuchName."""
        return _job(self._row(job_id))

    def active(self) -> tuple[Job, ...]:
        return self.jobs(ended=0)

    def claims(self) -> dict[str, int]:
        """The job that holds each claimed GPU, by UUID."""
        return {row["uuid"]: row["job"] for row in self._database.execute("SELECT * FROM gpu_claims")}

    def environment(self, job_id: int) -> dict[str, str]:
        """The environment of whoever submitted the job."""
        value: dict[str, str] = json.loads(self._row(job_id)["environment"])
        return value

    def boot(self, job_id: int) -> str | None:
        """The boot id under which the job was started; None: it never was."""
        value: str | None = self._row(job_id)["boot"]
        return value

    def stop_asked(self, job_id: int) -> bool:
        return self._row(job_id)["stop_asked"] is not None

    def submit(self, requests: Sequence[JobRequest], environment: Mapping[str, str]) -> tuple[Job, ...]:
        """Queues all of the requests, or none. Raises LaunchError when a config already has a job."""
        with self._transaction():
            return tuple(self._insert(request, json.dumps(dict(environment))) for request in requests)

    def start(
        self,
        job_id: int,
        gpus: Sequence[str],
        boot: str,
        *,
        log: Path,
        events: Path,
        task_count: int | None,
    ) -> Job:
        """Claims the GPUs and makes a queued job `starting`. Raises LaunchError when one is held already."""
        with self._transaction():
            try:
                self._database.executemany(
                    "INSERT INTO gpu_claims VALUES (?, ?)", [(uuid, job_id) for uuid in gpus]
                )
            except sqlite3.IntegrityError as error:
                raise LaunchError(f"a GPU of job {job_id} is held by another job") from error
            self._change(
                job_id,
                "queued",
                state="starting",
                gpus=json.dumps(list(gpus)),
                boot=boot,
                since=time.time(),
                log=str(log),
                events=str(events),
                task_count=task_count,
            )
        return self.job(job_id)

    def begun(self, job_id: int, pid: int, started: float) -> Job:
        """The runner runs. A job that is being stopped by now stays so."""
        with self._transaction():
            self._database.execute(
                "UPDATE jobs SET pid = ?, started = ?,"
                " state = CASE state WHEN 'starting' THEN 'running' ELSE state END"
                " WHERE id = ? AND state IN ('starting', 'running', 'stopping')",
                (pid, started, job_id),
            )
        return self.job(job_id)

    def stopping(self, job_id: int) -> Job:
        """Someone asked a started job to stop."""
        with self._transaction():
            self._database.execute(
                "UPDATE jobs SET state = 'stopping', stop_asked = ?"
                " WHERE id = ? AND state IN ('starting', 'running')",
                (time.time(), job_id),
            )
        return self.job(job_id)

    def unstart(self, job_id: int) -> Job:
        """Puts a job whose runner was never executed back into the queue, its GPUs released."""
        with self._transaction():
            self._release(job_id)
            self._change(job_id, "starting", state="queued", gpus="[]", boot=None, since=None)
        return self.job(job_id)

    def end(self, job_id: int, end: End) -> Job:
        """Ends a job and releases its GPUs. One that asked for it is queued anew in the same step."""
        with self._transaction():
            row = self._row(job_id)
            if row["state"] == "ended":
                return _job(row)
            self._release(job_id)
            self._change(
                job_id,
                row["state"],
                state="ended",
                ending=end.ending.value,
                ended=end.at or time.time(),
                reason=end.reason,
                exit_status=end.exit_status,
                signal=end.signal,
                peak_memory=end.peak_memory,
            )
            if end.ending is Ending.REQUEUED:
                self._insert(_job(row).request, row["environment"])
        return self.job(job_id)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has rolled back by itself; or it has not, and the next one could not begin.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _row(self, job_id: int) -> sqlite3.Row:
        row: sqlite3.Row | None = self._database.execute(
            "SELECT * FROM jobs WHERE id = ?", (job_id,)
        ).fetchone()
        if row is None:
            raise NoSuchName(f"no job {job_id}; `hitui jobs --all` lists them")
        return row

    def _insert(self, request: JobRequest, environment: str) -> Job:
        try:
            cursor = self._database.execute(
                "INSERT INTO jobs (config, request, environment, created, state) VALUES (?, ?, ?, ?, 'queued')",
                (request.config, json.dumps(request_to_wire(request)), environment, time.time()),
            )
        except sqlite3.IntegrityError as error:
            running = self._database.execute(
                "SELECT id FROM jobs WHERE config = ? AND state != 'ended'", (request.config,)
            ).fetchone()
            raise LaunchError(f"{request.config}: job {running['id']} is already on it") from error
        return self.job(int(cursor.lastrowid or 0))

    def _change(self, job_id: int, expected: str, **values: object) -> None:
        """Sets columns of a job that is in the expected state. Raises LaunchError when it is not."""
        assignments = ", ".join(f"{name} = ?" for name in values)
        cursor = self._database.execute(
            f"UPDATE jobs SET {assignments} WHERE id = ? AND state = ?", (*values.values(), job_id, expected)
        )
        if cursor.rowcount != 1:
            raise LaunchError(f"job {job_id} is no longer {expected}")

    def _release(self, job_id: int) -> None:
        self._database.execute("DELETE FROM gpu_claims WHERE job = ?", (job_id,))


def with_wait(job: Job, waits_for: str) -> Job:
    """A queued job that says what it waits for; any other as it is."""
    return replace(job, state=Queued(waits_for)) if isinstance(job.state, Queued) else job


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        request=request_from_wire(json.loads(row["request"])),
        created_at=row["created"],
        state=_state(row),
        log=row["log"],
        events=row["events"],
        task_count=row["task_count"],
    )


def _state(row: sqlite3.Row) -> JobState:
    gpus = tuple(json.loads(row["gpus"]))
    state = row["state"]
    if state == "queued":
        return Queued()
    if state == "starting":
        return Starting(gpus, row["since"])
    if state == "running":
        return Running(gpus, row["pid"], row["started"])
    if state == "stopping":
        return Stopping(gpus, row["pid"], row["started"], row["stop_asked"])
    return Ended(
        ending=Ending(row["ending"]),
        ended_at=row["ended"],
        reason=row["reason"],
        started_at=row["started"],
        exit_status=row["exit_status"],
        signal=row["signal"],
        peak_memory=row["peak_memory"],
        gpus=gpus,
    )
