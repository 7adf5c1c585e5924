"""What `state.db` holds beside the jobs: a record of each launch, and the last day of the GPUs.

Its writers are not the one who keeps the jobs: a connection of their own, short transactions, and nothing that
anyone waits for. What a power cut takes of it is made anew from the jobs' folders.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from hitui.decoding import json_decoder
from hitui.domain.gpu_history import GpuBin, due_before, folded, merged
from hitui.domain.records import JobRecord
from hitui.errors import SupervisorError
from hitui.supervisor.schema import HISTORY_SINCE, transaction, version_of
from hitui.supervisor.trouble import disk_trouble

_decode_record = json_decoder(JobRecord)
_decode_bin = json_decoder(GpuBin)
_Answer = TypeVar("_Answer")
_AT_ONCE = 500
"""SQLite takes 999 values in one question at least."""


def connect(path: Path) -> sqlite3.Connection:
    """Another writer of a file that a `Store` has made. Raises sqlite3.Error."""
    database = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
    # The jobs' own writer has every commit on disk before it goes on; these need not.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    return database


def read_history(path: Path, question: Callable[[HistoryTables], _Answer], otherwise: _Answer) -> _Answer:
    """What `question` finds, without writing anything; `otherwise` where there is no file, or one of a hitui that
    kept no history. Raises SupervisorError when it cannot be read."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return otherwise
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as database:
            return otherwise if version_of(database) < HISTORY_SINCE else question(HistoryTables(database))
    except (OSError, sqlite3.Error) as error:
        raise SupervisorError(disk_trouble(path, error)) from error


class HistoryTables:
    """Used from one thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def close(self) -> None:
        self._database.close()

    def record(self, job_id: int) -> JobRecord | None:
        """None: there is none, or what stands there is none."""
        return self._records("job = ?", (job_id,)).get(job_id)

    def records(self, job_ids: Sequence[int]) -> dict[int, JobRecord]:
        """By job, of those that have one."""
        found: dict[int, JobRecord] = {}
        for start in range(0, len(job_ids), _AT_ONCE):
            asked = job_ids[start : start + _AT_ONCE]
            found |= self._records(f"job IN ({', '.join('?' * len(asked))})", asked)
        return found

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

    def _records(self, where: str, values: Sequence[object]) -> dict[int, JobRecord]:
        found = {}
        for job, value in self._database.execute(f"SELECT job, value FROM job_records WHERE {where}", values):
            with suppress(msgspec.DecodeError):
                found[job] = _decode_record(value)
        return found

    def _bins(self, where: str, values: tuple[object, ...]) -> list[GpuBin]:
        found = []
        for (value,) in self._database.execute(f"SELECT value FROM gpu_history WHERE {where}", values):
            with suppress(msgspec.DecodeError):
                found.append(_decode_bin(value))
        return found
