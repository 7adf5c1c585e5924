"""Files of every earlier version become files of this one, and nothing in them is lost."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hitui.domain.claims import Claim
from hitui.domain.gpu_history import GpuBin
from hitui.domain.jobs import Ended, Ending, JobRequest, Queued, Running
from hitui.domain.records import JobRecord
from hitui.domain.schedule import Queue, Schedule
from hitui.errors import LaunchError, SupervisorError
from hitui.supervisor.history_tables import HistoryTables, read_history
from hitui.supervisor.rows import End
from hitui.supervisor.schema import MIGRATIONS, VERSION
from hitui.supervisor.store import Store


def file_of(version: int, path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    for script in MIGRATIONS[:version]:
        database.executescript(script)
    database.execute(f"PRAGMA user_version = {version}")
    return database


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    """As hitui 0.1 left it: one job that ended, one that runs and holds a GPU, one that is queued."""
    path = tmp_path / "state.db"
    database = file_of(1, path)
    columns = (
        "config, request, environment, created, state, gpus, boot, since, pid, started, ending, ended, log"
    )
    environment = json.dumps({"PATH": "/bin"})
    for values in (
        ("a", environment, 1.0, "ended", '["GPU-1"]', "boot", 2.0, 7, 3.0, "failed", 4.0, "/log/1"),
        ("b", environment, 5.0, "running", '["GPU-2"]', "boot", 6.0, 8, 7.0, None, None, "/log/2"),
        ("c", "{}", 9.0, "queued", "[]", None, None, None, None, None, None, ""),
    ):
        config, *rest = values
        request = json.dumps({"config": config, "executor": "local", "ids": [1, "x"]})
        database.execute(
            f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * 13)})", (config, request, *rest)
        )
    database.execute("INSERT INTO gpu_claims VALUES ('GPU-2', 2)")
    database.close()
    return path


def check(store: Store) -> None:
    ended, running, queued = store.jobs()
    assert isinstance(ended.state, Ended)
    assert (ended.state.ending, ended.state.gpus, ended.log) == (Ending.FAILED, ("GPU-1",), "/log/1")
    assert running.state == Running(("GPU-2",), 8, 7.0)
    assert queued.state == Queued()
    for job, config in ((ended, "a"), (running, "b"), (queued, "c")):
        assert job.request == JobRequest(config, ids=(1, "x"))
        assert (job.schedule, job.attempt, job.replaces) == (Schedule(), 1, None)
    assert store.claims() == {"GPU-2": (Claim(2, pid=8),)}
    assert store.environment(1) == store.environment(2) == {"PATH": "/bin"}
    assert store.environment(3) == {}
    assert store.queue() == Queue()


def test_a_file_of_the_first_version_is_brought_up_and_goes_on(first_version: Path) -> None:
    store = Store(first_version)
    check(store)
    (fourth,) = store.submit([JobRequest("d")], {})
    assert [job.id for job in store.queued()] == [3, fourth.id] == [3, 4]
    store.close()
    again = Store(first_version)
    assert len(again.jobs()) == 4
    again.close()


def test_what_holds_configs_and_gpus_in_a_file_of_the_second_version_goes_on_to(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = file_of(2, path)
    database.execute("INSERT INTO environments (value) VALUES ('{}')")
    for number, config in enumerate(("a", "b"), 1):
        database.execute(
            "INSERT INTO jobs (config, request, environment, created, place, state) VALUES (?, ?, 1, 1.0, ?, ?)",
            (config, json.dumps({"config": config, "executor": "local"}), number, "running"),
        )
        database.execute("INSERT INTO config_claims VALUES (?, ?)", (config, number))
    database.execute("UPDATE jobs SET gpus = '[\"GPU-1\"]', pid = 7, started = 2.0 WHERE id = 1")
    database.execute("INSERT INTO gpu_claims VALUES ('GPU-1', 1, 5, 0)")
    database.close()
    store = Store(path)
    assert store.job(1).state == Running(("GPU-1",), 7, 2.0)
    assert store.claims() == {"GPU-1": (Claim(1, 5, pid=7),)}
    (other,) = store.submit([JobRequest("b", ids=(1,))], {})
    with pytest.raises(LaunchError, match=f"another job runs on the config of job {other.id}"):
        store.start(other.id, (), "boot", log=path, events=path, task_count=1)
    store.end(2, End(Ending.SUCCEEDED))
    store.start(other.id, (), "boot", log=path, events=path, task_count=1)
    store.close()


def test_the_history_in_a_file_of_the_second_version_is_read_before_it_is_brought_up(tmp_path: Path) -> None:
    """A supervisor of the version before runs on after an upgrade."""
    path = tmp_path / "state.db"
    with closing(file_of(2, path)) as database:
        database.execute("INSERT INTO environments VALUES (1, '{}')")
        database.execute(
            "INSERT INTO jobs (config, request, environment, created, place, state) VALUES"
            """ ('a', '{"config": "a"}', 1, 1.0, 1.0, 'ended')"""
        )
        HistoryTables(database).put_record(1, JobRecord(("true",)), complete=True)
        HistoryTables(database).add_bins([GpuBin("GPU-1", 100, 1)], 101.0)
    records = read_history(path, lambda tables: tables.records([1]), {})
    assert records == {1: JobRecord(("true",))}
    nothing: tuple[GpuBin, ...] = ()
    assert [one.uuid for one in read_history(path, HistoryTables.bins, nothing)] == ["GPU-1"]


def test_who_only_looks_reads_an_old_file_and_leaves_it_as_it_is(first_version: Path) -> None:
    before = first_version.read_bytes()
    beside = Store(first_version, read_only=True)
    check(beside)
    beside.close()
    assert first_version.read_bytes() == before


def test_a_new_file_and_a_migrated_one_have_the_same_tables(first_version: Path, tmp_path: Path) -> None:
    Store(first_version).close()
    Store(tmp_path / "new.db").close()

    def tables(path: Path) -> list[tuple[str, str]]:
        database = sqlite3.connect(path)
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        found = [(name, " ".join(text.split())) for name, text in rows]
        database.close()
        return found

    assert tables(first_version) == tables(tmp_path / "new.db")


def test_a_migration_that_breaks_off_leaves_the_file_as_it_was(
    first_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*MIGRATIONS[:-1], MIGRATIONS[-1] + "INSERT INTO no_such_table VALUES (1);")
    monkeypatch.setattr("hitui.supervisor.schema.MIGRATIONS", broken)
    with pytest.raises(SupervisorError, match="no_such_table"):
        Store(first_version)
    monkeypatch.undo()
    store = Store(first_version)
    check(store)
    store.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "state.db"
    database = file_of(VERSION, path)
    database.execute(f"PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(
        SupervisorError, match=rf"newer hitui \(version {VERSION + 1}, this one knows {VERSION}\)"
    ):
        Store(path, read_only=read_only)
    assert path.read_bytes() == before
