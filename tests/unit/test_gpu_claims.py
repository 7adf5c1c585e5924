"""Two jobs on one GPU of which one does not share: impossible in the database itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitui.domain.claims import Claim
from hitui.domain.jobs import Ending, JobRequest, Queued
from hitui.errors import LaunchError
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state.db")
    yield made
    made.close()


def start(store: Store, config: str, *gpus: str, memory: int = 0, shared: bool = False) -> int:
    job = store.submit([JobRequest(config)], {})[0]
    store.start(
        job.id,
        gpus,
        "boot",
        log=Path("/log"),
        events=Path("/events"),
        task_count=None,
        memory=memory,
        shared=shared,
    )
    return job.id


def test_jobs_that_share_stand_beside_each_other_with_what_they_ask_for(store: Store) -> None:
    first = start(store, "a", "GPU-1", "GPU-2", memory=20, shared=True)
    second = start(store, "b", "GPU-1", memory=10, shared=True)
    store.begun(second, 77, 1.0)
    assert store.claims() == {
        "GPU-1": (Claim(first, 20, True), Claim(second, 10, True, 77)),
        "GPU-2": (Claim(first, 20, True),),
    }
    store.end(first, End(Ending.SUCCEEDED))
    assert store.claims() == {"GPU-1": (Claim(second, 10, True, 77),)}


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False)])
def test_a_job_that_does_not_share_stands_alone(store: Store, first: bool, second: bool) -> None:
    holder = start(store, "a", "GPU-1", shared=first)
    with pytest.raises(LaunchError, match="is held by another job"):
        start(store, "b", "GPU-2", "GPU-1", shared=second)
    assert list(store.claims()) == ["GPU-1"]
    assert [claim.job for claim in store.claims()["GPU-1"]] == [holder]
    assert [job.state for job in store.queued()] == [Queued()]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO gpu_claims (uuid, job) VALUES ('GPU-1', 2)",
        "INSERT INTO gpu_claims (uuid, job, shared) VALUES ('GPU-1', 2, 1)",
        "INSERT INTO gpu_claims (uuid, job, shared) VALUES ('GPU-2', 1, 0)",
        "INSERT OR REPLACE INTO gpu_claims (uuid, job, shared) VALUES ('GPU-1', 2, 0)",
        "UPDATE gpu_claims SET shared = 1",
        "UPDATE gpu_claims SET uuid = 'GPU-1', shared = 0",
    ],
)
def test_whoever_writes_the_file_is_refused(store: Store, statement: str) -> None:
    start(store, "a", "GPU-1")
    start(store, "b", "GPU-2", shared=True)
    before = store.claims()
    other = sqlite3.connect(store.path, isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError):
        other.execute(statement)
    other.close()
    assert store.claims() == before


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 2), min_size=1), st.booleans(), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_what_is_claimed_is_what_a_simple_book_says(
    tmp_path: Path, steps: list[tuple[set[int], bool, bool]]
) -> None:
    database = tmp_path / "book.db"
    for file in tmp_path.glob("book.db*"):
        file.unlink()
    store = Store(database)
    book: dict[int, tuple[set[int], bool]] = {}
    for number, (gpus, shared, ends) in enumerate(steps):
        if ends and book:
            gone = min(book)
            store.end(gone, End(Ending.SUCCEEDED))
            del book[gone]
        free = all(shared and theirs for held, theirs in book.values() if held & gpus)
        names = [f"GPU-{gpu}" for gpu in sorted(gpus)]
        if free:
            book[start(store, f"config {number}", *names, shared=shared)] = (gpus, shared)
        else:
            with pytest.raises(LaunchError):
                start(store, f"config {number}", *names, shared=shared)
        found = {(uuid, claim.job) for uuid, claims in store.claims().items() for claim in claims}
        assert found == {(f"GPU-{gpu}", job) for job, (held, _) in book.items() for gpu in held}
    store.close()
