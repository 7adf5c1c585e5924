"""Takes away what nobody will ask for again: folders and rows of old jobs, pages of the file, lines of the log.

A job loses its folder first and its row then, so that whatever interrupts it in between is finished the next
time. What is kept for certain: jobs that have not ended, those that a queued job waits for or took the place
of, the last ones, and every folder in which something still lives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable

from hitui.adapters.executors.locks import JOB_LOCK, is_locked
from hitui.paths import RuntimePaths
from hitui.supervisor.history_tables import connect
from hitui.supervisor.rows import COLUMNS, job_of
from hitui.supervisor.schema import transaction
from hitui.supervisor.trouble import note, note_error

LEAST_JOBS = 200
"""So many of the last jobs that have ended are kept, however old they are."""
LARGEST_LOG = 5 << 20
"""Bytes of the supervisor's log; the one before is kept beside it."""
BATCH = 50
"""Jobs that are taken away in one transaction: who starts a job waits for no more than that."""
PAGES = 200
"""Pages of the file that are given back in one step."""


def prune(
    paths: RuntimePaths,
    keep: float,
    now: float,
    stop: Callable[[], bool] = lambda: False,
    least: int = LEAST_JOBS,
) -> int:
    """Takes away jobs that ended more than `keep` seconds before `now`, and returns how many.

    Breaks off as soon as `stop` says so. Raises sqlite3.Error.
    """
    with contextlib.closing(connect(paths.database)) as database:
        database.row_factory = sqlite3.Row
        _make_vacuumable(database)
        newest, needed = _newest(database), _needed(database, 0)
        old = [job_id for job_id in _old(database, now - keep, least) if job_id not in needed]
        gone = 0
        for first in range(0, len(old), BATCH):
            batch = []
            for job_id in old[first : first + BATCH]:
                if stop():
                    break
                if _remove_folder(paths, job_id):
                    batch.append(job_id)
            with transaction(database):
                # One that was submitted since may wait for a job whose folder is gone by now.
                needed |= _needed(database, newest)
                newest = _newest(database)
                batch = [job_id for job_id in batch if job_id not in needed]
                values = [(job_id,) for job_id in batch]
                database.executemany("DELETE FROM job_records WHERE job = ?", values)
                database.executemany("DELETE FROM jobs WHERE id = ?", values)
            gone += len(batch)
            if stop():
                return gone
        unused = "FROM environments WHERE id NOT IN (SELECT environment FROM jobs)"
        if database.execute(f"SELECT 1 {unused}").fetchone():
            with transaction(database):
                database.execute(f"DELETE {unused}")
        _give_back_pages(database, stop)
    return gone


def rotate_log(paths: RuntimePaths, descriptor: int = 2) -> None:
    """Begins the supervisor's log anew once it is too large. `descriptor` is what the supervisor writes to;
    where that is another file, as under a service manager, nothing is done."""
    try:
        ours, named = os.fstat(descriptor), paths.supervisor_log.stat()
        if (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino) or ours.st_size <= LARGEST_LOG:
            return
        paths.supervisor_log.replace(paths.supervisor_log.with_name(f"{paths.supervisor_log.name}.1"))
        new = os.open(paths.supervisor_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(new, descriptor)
        os.close(new)
    except OSError:
        note_error()


def _old(database: sqlite3.Connection, before: float, least: int) -> list[int]:
    rows = database.execute(
        "SELECT id FROM jobs WHERE state = 'ended' AND ended < ? AND id NOT IN"
        " (SELECT id FROM jobs WHERE state = 'ended' ORDER BY id DESC LIMIT ?) ORDER BY id",
        (before, least),
    )
    return [row["id"] for row in rows]


def _newest(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()[0])


def _needed(database: sqlite3.Connection, above: int) -> set[int]:
    """Jobs that those with numbers above `above` which have not ended name."""
    rows: Iterable[sqlite3.Row] = database.execute(
        f"SELECT {COLUMNS} FROM jobs WHERE state != 'ended' AND id > ?", (above,)
    )
    needed: set[int] = set()
    for job in map(job_of, rows):
        needed.update(job.schedule.after, job.schedule.after_success)
        if job.replaces is not None:
            needed.add(job.replaces)
    return needed


def _remove_folder(paths: RuntimePaths, job_id: int) -> bool:
    """Whether it is gone."""
    folder = paths.job(job_id)
    try:
        if is_locked(folder / JOB_LOCK):
            return False
        shutil.rmtree(folder)
    except FileNotFoundError:
        return not folder.exists()
    except OSError as error:
        note(f"job {job_id} is kept: {error.filename or folder}: {error.strerror}")
        return False
    return True


def _make_vacuumable(database: sqlite3.Connection) -> None:
    """A file of an earlier hitui gives back no pages until it was written anew once."""
    if database.execute("PRAGMA auto_vacuum").fetchone()[0] == 0:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("VACUUM")


def _give_back_pages(database: sqlite3.Connection, stop: Callable[[], bool]) -> None:
    while not stop() and (free := database.execute("PRAGMA freelist_count").fetchone()[0]):
        # Not `execute`: that makes one step, and so gives back one page.
        database.executescript(f"PRAGMA incremental_vacuum({PAGES})")
        if database.execute("PRAGMA freelist_count").fetchone()[0] >= free:
            break
    # The log of what was written is as long as it ever was, unless it is cut; nobody is kept waiting for that.
    database.execute("PRAGMA busy_timeout = 0")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
