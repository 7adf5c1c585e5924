"""Jobs that ended long ago are taken away again, and nothing that is still needed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hitui.adapters.executors.locks import JOB_LOCK, try_lock
from hitui.domain.jobs import Ending, JobRequest
from hitui.domain.schedule import Schedule
from hitui.domain.succession import Successor
from hitui.errors import NoSuchName
from hitui.paths import RuntimePaths
from hitui.supervisor.pruning import rotate_log
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store
from tests.tools.control import HEAD, Control, control
from tests.tools.eventually import eventually
from tests.tools.kept_jobs import DAY, Kept, kept, record

__all__ = ["kept"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def test_old_jobs_go_with_folder_row_record_and_environment(kept: Kept) -> None:
    old = kept.end("a", 100, SECRET="x")
    young = kept.end("b", 80)
    assert kept.prune() == 1
    assert kept.ids() == kept.folders() == [young]
    assert kept.count("job_records") == kept.count("environments") == 1
    with pytest.raises(NoSuchName):
        kept.store.job(old)
    (new,) = kept.store.submit([JobRequest("c")], {})
    assert new.id == young + 1


def test_the_last_jobs_are_kept_however_old_they_are(kept: Kept) -> None:
    ids = [kept.end(f"c{number}", 100 + number) for number in range(5)]
    assert kept.prune(least=3) == 2
    assert kept.ids() == kept.folders() == ids[2:]


def test_what_a_queued_job_needs_and_what_still_lives_is_kept(kept: Kept) -> None:
    first, second, living, gone = (kept.end(name, 100) for name in "abcd")
    kept.store.submit([JobRequest("x")], {}, Schedule(after=(first,)))
    kept.store.submit([JobRequest("y")], {}, Schedule(after_success=(second,)))
    (replaced,) = kept.store.submit([JobRequest("z")], {})
    end = End(Ending.FAILED, at=kept.now - 100 * DAY)
    active = kept.store.job(kept.store.end(replaced.id, end, Successor(Schedule(), 2)).successor or 0)
    folder = kept.paths.job(active.id)
    folder.mkdir()
    kept.store.start(active.id, (), "boot", log=folder / "log", events=folder / "events", task_count=1)
    lock = try_lock(kept.paths.job(living) / JOB_LOCK)
    assert lock is not None
    try:
        assert kept.prune() == 1
    finally:
        os.close(lock)
    assert gone not in kept.ids()
    assert replaced.id in kept.ids()
    assert kept.folders() == [first, second, living, active.id]


def test_a_job_that_someone_begins_to_wait_for_while_it_is_pruned_stays(kept: Kept) -> None:
    old = kept.end("a", 100)
    other = kept.end("b", 100)
    asked = False

    def submit_meanwhile() -> bool:
        nonlocal asked
        if not asked:
            kept.store.submit([JobRequest("x")], {}, Schedule(after_success=(old,)))
        asked = True
        return False

    assert kept.prune(stop=submit_meanwhile) == 1
    assert other not in kept.ids()
    assert kept.store.endings([old]) == {old: Ending.SUCCEEDED}


def test_an_interrupted_pruning_is_finished_by_the_next(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [kept.end(f"c{number}", 100) for number in range(4)]
    looks = iter([False, False, True])
    assert kept.prune(stop=lambda: next(looks, True)) == 2
    assert kept.ids() == kept.folders() == ids[2:]
    # Killed behind the folder and before the row.
    monkeypatch.setattr("hitui.supervisor.pruning.transaction", _killed)
    with pytest.raises(KeyboardInterrupt):
        kept.prune()
    monkeypatch.undo()
    assert (kept.ids(), kept.folders()) == (ids[2:], [])
    assert kept.prune() == 2
    assert kept.ids() == []
    assert kept.count("job_records") == kept.count("environments") == 0


def _killed(_: sqlite3.Connection) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("version", [1, 2])
def test_the_file_becomes_smaller(tmp_path: Path, version: int) -> None:
    kept = Kept(tmp_path)
    for number in range(40):
        kept.end(f"c{number}", 100, TEXT=str(number) * 100_000)
    kept.end("last", 1)
    kept.store.close()
    if version == 1:
        # As one that was made before pages could be given back.
        with closing(sqlite3.connect(kept.paths.database)) as database:
            database.execute("PRAGMA auto_vacuum = NONE")
            database.execute("VACUUM")
            assert database.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    before = kept.paths.database.stat().st_size
    assert kept.prune() == 40
    after = kept.paths.database.stat().st_size
    assert before > 4_000_000
    assert after < 200_000
    kept.store = Store(kept.paths.database)
    kept.store.check()
    kept.store.close()


def test_the_log_of_the_supervisor_is_begun_anew_when_it_is_too_large(tmp_path: Path) -> None:
    paths = RuntimePaths(tmp_path, tmp_path)
    descriptor = os.open(paths.supervisor_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, b"x" * 1000)
        rotate_log(paths, descriptor)
        assert paths.supervisor_log.stat().st_size == 1000
        os.write(descriptor, b"x" * (6 << 20))
        rotate_log(paths, descriptor)
        with paths.supervisor_log.open("a") as other:
            other.write("of another\n")
        os.write(descriptor, b"new\n")
        assert paths.supervisor_log.read_text() == "of another\nnew\n"
        assert (tmp_path / "supervisor.log.1").stat().st_size == 1000 + (6 << 20)
    finally:
        os.close(descriptor)


def test_what_is_no_log_of_the_supervisor_is_not_begun_anew(tmp_path: Path) -> None:
    paths = RuntimePaths(tmp_path, tmp_path)
    paths.supervisor_log.write_text("said\n")
    with (tmp_path / "journal").open("wb") as other:
        other.truncate(6 << 20)
        rotate_log(paths, other.fileno())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "supervisor.log"]


def test_a_supervisor_prunes_as_the_settings_say(here: Control) -> None:
    here.write_settings(HEAD + '[history]\nkeep = "1d"\n')
    first = here.submit("answer")
    record(here, first)
    here.client.shut_down()
    with closing(sqlite3.connect(here.paths.database)) as database, database:
        database.execute("UPDATE jobs SET ended = ended - ?", (2 * DAY,))
        # So many more that it is not one of the last ones.
        database.execute(
            "INSERT INTO jobs (config, request, environment, created, place, state, ending, ended)"
            " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
            " SELECT config, request, environment, created, place, state, ending, ended FROM jobs, n"
        )
    here.service.ensure_supervisor()
    eventually(lambda: not here.paths.job(first).exists(), "the job's folder is gone")
    eventually(lambda: len(here.client.last_known(None).jobs) == 200, "its row is gone")
