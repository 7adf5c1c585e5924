"""What `state.db` holds beside the jobs: a record of each launch, and the last day of the GPUs.

Its writers are not the one who keeps the jobs: a connection of their own, short transactions, and nothing that
anyone waits for. What a power cut takes of it is made anew from the jobs' folders.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from hitui.domain.gpu_history import GpuBin, due_before, folded, merged
from hitui.domain.records import JobRecord
from hitui.supervisor.schema import VERSION, version_of

_decode_record = msgspec.json.Decoder(JobRecord).decode
_decode_bin = msgspec.json.Decoder(GpuBin).decode


def connect(path: Path) -> sqlite3.Connection:
    """Another writer of a file that a `Store` has made. Raises sqlite3.Error."""
    database = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
    # The jobs' own writer has every commit on disk before it goes on; these need not.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


class HistoryTables:
    """Used from one thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    @classmethod
    def read_only(cls, path: Path) -> HistoryTables | None:
        """None: there is no file, or one of a hitui that kept no history. Raises sqlite3.Error."""
        if not path.is_file() or not path.stat().st_size:
            return None
        database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        if version_of(database) < VERSION:
            database.close()
            return None
        return cls(database)

    def close(self) -> None:
        self._database.close()

    def record(self, job_id: int) -> JobRecord | None:
        row = self._database.execute("SELECT value FROM job_records WHERE job = ?", (job_id,)).fetchone()
        return None if row is None else _decode_record(row[0])

    def records(self) -> dict[int, JobRecord]:
        """All of them, by job."""
        rows = self._database.execute("SELECT job, value FROM job_records")
        return {job: _decode_record(value) for job, value in rows}

    def put_record(self, job_id: int, record: JobRecord, *, complete: bool) -> None:
        """`complete`: the job has ended, and nothing more will be known of it. One of a job that was pruned
        meanwhile is dropped."""
        self._database.execute(
            "INSERT OR REPLACE INTO job_records SELECT id, ?, ? FROM jobs WHERE id = ?",
            (complete, msgspec.json.encode(record).decode(), job_id),
        )

    def incomplete(self) -> tuple[int, ...]:
        """Jobs that were launched and have ended, and whose end is not on record."""
        rows = self._database.execute(
            "SELECT id FROM jobs LEFT JOIN job_records ON job = id"
            " WHERE state = 'ended' AND log != '' AND NOT coalesce(complete, 0) ORDER BY id"
        )
        return tuple(row[0] for row in rows)

    def add_bins(self, bins: Iterable[GpuBin], now: float) -> None:
        """Adds readings, and brings what has grown old to the resolution of its age."""
        with transaction(self._database):
            due = []
            for seconds, before in due_before(now).items():
                due += self._bins("seconds = ? AND start < ?", (seconds, before))
                self._database.execute(
                    "DELETE FROM gpu_history WHERE seconds = ? AND start < ?", (seconds, before)
                )
            new = folded([*due, *bins], now)
            known = []
            for one in new:
                known += self._bins(
                    "seconds = ? AND start = ? AND uuid = ?", (one.seconds, one.start, one.uuid)
                )
            self._database.executemany(
                "INSERT OR REPLACE INTO gpu_history VALUES (?, ?, ?, ?)",
                [
                    (one.seconds, one.start, one.uuid, msgspec.json.encode(one).decode())
                    for one in merged([*known, *new])
                ],
            )

    def bins(self) -> tuple[GpuBin, ...]:
        """All of them, the oldest first."""
        return merged(self._bins("1", ()))

    def _bins(self, where: str, values: tuple[object, ...]) -> list[GpuBin]:
        rows = self._database.execute(f"SELECT value FROM gpu_history WHERE {where}", values)
        return [_decode_bin(value) for (value,) in rows]
