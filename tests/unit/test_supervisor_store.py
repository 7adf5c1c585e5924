"""The store alone: what its tables refuse whatever is asked of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Ended, Ending, JobRequest, Queued, Running, Starting, Stopping
from hitui.errors import LaunchError, NoSuchName, SupervisorError
from hitui.supervisor.store import End, Store
from hitui.supervisor.trouble import disk_trouble

LOG, EVENTS = Path("/state/log"), Path("/state/events")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state.db")
    yield made
    made.close()


def start(store: Store, job_id: int, *gpus: str) -> None:
    store.start(job_id, gpus, "boot", log=LOG, events=EVENTS, task_count=3)


def queue(store: Store, *configs: str) -> list[int]:
    return [job.id for job in store.submit([JobRequest(config) for config in configs], {"PATH": "/bin"})]


def test_a_job_goes_through_its_states(store: Store) -> None:
    (job_id,) = queue(store, "a")
    assert store.job(job_id).state == Queued()
    start(store, job_id, "GPU-1")
    assert isinstance(store.job(job_id).state, Starting)
    assert store.claims() == {"GPU-1": job_id}
    assert store.begun(job_id, 77, 5.0).state == Running(("GPU-1",), 77, 5.0)
    stopping = store.stopping(job_id).state
    assert isinstance(stopping, Stopping)
    assert stopping.pid == 77
    ended = store.end(job_id, End(Ending.STOPPED, "on request", signal=15)).state
    assert isinstance(ended, Ended)
    assert (ended.gpus, ended.started_at, ended.signal) == (("GPU-1",), 5.0, 15)
    assert store.claims() == {}
    assert store.environment(job_id) == {"PATH": "/bin"}


def test_a_gpu_is_never_claimed_twice_and_nothing_of_the_try_remains(store: Store) -> None:
    first, second = queue(store, "a", "b")
    start(store, first, "GPU-1")
    with pytest.raises(LaunchError, match="held by another job"):
        start(store, second, "GPU-0", "GPU-1")
    assert store.claims() == {"GPU-1": first}
    assert store.job(second).state == Queued()


def test_a_config_has_one_active_job_and_a_batch_is_all_or_nothing(store: Store) -> None:
    (first,) = queue(store, "a")
    with pytest.raises(LaunchError, match=f"a: job {first} is already on it"):
        queue(store, "b", "a")
    assert [job.request.config for job in store.jobs()] == ["a"]
    store.end(first, End(Ending.STOPPED))
    assert len(queue(store, "b", "a")) == 2


def test_a_job_that_asks_for_it_is_queued_anew_in_the_same_step(store: Store) -> None:
    (first,) = queue(store, "a")
    start(store, first, "GPU-1")
    store.end(first, End(Ending.REQUEUED))
    (again,) = store.active()
    assert (again.state, again.request, store.claims()) == (Queued(), JobRequest("a"), {})
    assert store.environment(again.id) == {"PATH": "/bin"}


def test_states_that_are_over_do_not_come_back(store: Store) -> None:
    (job_id,) = queue(store, "a")
    ended = store.end(job_id, End(Ending.STOPPED, "first"))
    assert store.end(job_id, End(Ending.LOST, "second")) == ended
    assert store.begun(job_id, 1, 1.0) == ended
    assert store.stopping(job_id) == ended
    with pytest.raises(LaunchError, match="no longer queued"):
        start(store, job_id)
    with pytest.raises(LaunchError, match="no longer starting"):
        store.unstart(job_id)


def test_a_job_whose_runner_never_ran_waits_again_without_its_gpu(store: Store) -> None:
    (job_id,) = queue(store, "a")
    start(store, job_id, "GPU-1")
    assert store.unstart(job_id).state == Queued()
    assert store.claims() == {}


def test_numbers_are_not_used_again(store: Store) -> None:
    (first,) = queue(store, "a")
    store.end(first, End(Ending.STOPPED))
    assert queue(store, "a") == [first + 1]
    with pytest.raises(NoSuchName, match="no job 99"):
        store.job(99)


def test_what_is_committed_is_seen_from_beside_and_after(store: Store, tmp_path: Path) -> None:
    (job_id,) = queue(store, "a")
    beside = Store(tmp_path / "state.db", read_only=True)
    assert beside.jobs() == store.jobs()
    start(store, job_id, "GPU-1")
    assert beside.job(job_id) == store.job(job_id)
    beside.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(SupervisorError, match=r"state\.db: the jobs cannot be kept there"):
        Store(path)


def test_a_full_disk_is_told_from_a_broken_file(store: Store) -> None:
    store._database.execute("PRAGMA max_page_count = 8")
    with pytest.raises(sqlite3.Error) as full:
        store.submit([JobRequest("a")], {"LONG": "x" * 100_000})
    assert disk_trouble(store.path, full.value) == (
        f"{store.path}: the jobs cannot be kept there: database or disk is full;"
        " make room there and see that it can be written"
    )
    assert store.jobs() == ()
    broken = disk_trouble(store.path, sqlite3.DatabaseError("file is not a database"))
    assert broken.endswith("file is not a database; move it away to begin anew")
