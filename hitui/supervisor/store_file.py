"""The file of the jobs: opened, brought to this version, changed in transactions that others hear of.

Transactions are on disk when they return. What has not ended is kept in memory too, as it is committed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hitui.domain.jobs import Ended, Job, one_line
from hitui.errors import NoSuchName, SupervisorError
from hitui.supervisor.asked import Asked
from hitui.supervisor.rows import COLUMNS, job_of
from hitui.supervisor.schema import VERSION, migrate, transaction, version_of
from hitui.supervisor.trouble import disk_trouble, note_error

_NO_JOB = 2**63
"""No number of a job is as large."""


class StoreFile:
    """Used from one thread; a read-only one beside it sees what is committed."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Raises SupervisorError when the file cannot be used or was written by a newer hitui."""
        self.path = path
        self._read_only = read_only
        self._active: dict[int, Job] = {}
        """What has not ended, as it is committed; of the one who writes alone."""
        self._asked: Asked | None = None
        """What the active jobs ask for; None: nobody wanted to know yet."""
        self._touched: set[int] = set()
        self._order: tuple[Job, ...] | None = None
        self._started: tuple[Job, ...] | None = None
        self._listeners: list[Callable[[tuple[Job, ...]], None]] = []
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
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            raise SupervisorError(disk_trouble(path, error)) from error
        except SupervisorError:
            self._database.close()
            raise

    def _prepare(self) -> None:
        version = version_of(self._database)
        if version > VERSION:
            raise SupervisorError(
                f"{self.path}: was written by a newer hitui (version {version}, this one knows {VERSION}); "
                "use that one, or move the file away to begin anew"
            )
        if self._read_only:
            if version < VERSION:
                # Only the supervisor changes the file; who looks before it did changes a copy in memory.
                copy = sqlite3.connect(":memory:", isolation_level=None)
                self._database.backup(copy)
                self._database.close()
                self._database = copy
                migrate(self._database)
            self._database.row_factory = sqlite3.Row
            return
        # Of use only before the first table is made; an older file is brought to it when it is first pruned.
        self._database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        migrate(self._database)
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.row_factory = sqlite3.Row
        self._active = {job.id: job for job in self._read_active()}

    def close(self) -> None:
        self._database.close()

    def listen(self, listener: Callable[[tuple[Job, ...]], None]) -> None:
        """From now on `listener` gets the jobs that a transaction changed, as they stand behind it."""
        self._listeners.append(listener)

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

    def active(self) -> tuple[Job, ...]:
        """What has not ended, oldest first."""
        return self._read_active() if self._read_only else tuple(self._active.values())

    def _read_active(self) -> tuple[Job, ...]:
        rows = self._database.execute(f"SELECT {COLUMNS} FROM jobs WHERE state != 'ended' ORDER BY id")
        return tuple(map(job_of, rows))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._touched.clear()
        try:
            with transaction(self._database):
                yield
        except BaseException:
            # It may tell of jobs that never came about.
            self._asked = None
            raise
        if self._touched:
            self._order = self._started = None
        changed = tuple(job_of(self._row(job_id)) for job_id in sorted(self._touched))
        for job in changed:
            if self._asked is not None:
                self._asked.change(self._active.get(job.id), job)
            if isinstance(job.state, Ended):
                self._active.pop(job.id, None)
            else:
                self._active[job.id] = job
        for listener in self._listeners if changed else ():
            try:
                listener(changed)
            except Exception:  # noqa: BLE001 - what is committed has not failed because of who hears of it
                note_error()

    def _row(self, job_id: int, columns: str = COLUMNS) -> sqlite3.Row:
        row: sqlite3.Row | None = None
        # SQLite refuses to compare with a longer number.
        if job_id < _NO_JOB:
            row = self._database.execute(f"SELECT {columns} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise NoSuchName(f"no job {job_id}; `hitui jobs --all` lists them")
        return row
