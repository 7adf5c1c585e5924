"""Jobs that have ended: their records, and a store of old ones that nobody else has open."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hitui.domain.jobs import Ending, JobRequest
from hitui.domain.records import JobRecord
from hitui.paths import RuntimePaths
from hitui.services.history import HistoryService
from hitui.supervisor.history_tables import HistoryTables, connect
from hitui.supervisor.pruning import prune
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store
from tests.tools.control import Control
from tests.tools.eventually import eventually

DAY = 86400.0


def record(here: Control, job_id: int) -> JobRecord:
    """What is on record of a job once its end is."""
    here.ended(job_id)

    def complete() -> JobRecord | None:
        with closing(sqlite3.connect(here.paths.database)) as database:
            row = database.execute("SELECT complete FROM job_records WHERE job = ?", (job_id,)).fetchone()
        return HistoryService(here.paths).job(job_id).record if row is not None and row[0] else None

    return eventually(complete, f"the end of job {job_id} is on record")  # type: ignore[return-value]


class Kept:
    """A store of jobs that ended a hundred days ago and later, each with its folder."""

    def __init__(self, folder: Path, paths: RuntimePaths | None = None) -> None:
        self.paths = paths or RuntimePaths(folder / "state", folder / "runtime")
        self.paths.state.mkdir(parents=True, exist_ok=True)
        self.store = Store(self.paths.database)
        self.now = time.time()

    def end(self, config: str, days_ago: float, record: JobRecord | None = None, **environment: str) -> int:
        (job,) = self.store.submit([JobRequest(config)], environment)
        folder = self.paths.job(job.id)
        folder.mkdir(parents=True)
        (folder / "log").write_text("said\n")
        self.store.start(job.id, (), "boot", log=folder / "log", events=folder / "events", task_count=1)
        self.store.end(job.id, End(Ending.SUCCEEDED, at=self.now - days_ago * DAY))
        with closing(connect(self.paths.database)) as database:
            HistoryTables(database).put_record(job.id, record or JobRecord(done=1), complete=True)
        return job.id

    def prune(self, least: int = 0, **more: Any) -> int:
        return prune(self.paths, 90 * DAY, self.now, least=least, **more)

    def ids(self) -> list[int]:
        return [job.id for job in self.store.jobs()]

    def folders(self) -> list[int]:
        return sorted(int(folder.name) for folder in (self.paths.state / "jobs").iterdir())

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(self.paths.database)) as database:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.store.close()
