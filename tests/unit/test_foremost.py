"""What a listing of configs asks for: of each the job, or the shards, that are on it, out of many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.domain.foremost import foremost
from hitui.domain.jobs import Ending, JobRequest, Shard
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Jobs 1 to 6, of which none has started."""
    store = Store(tmp_path / "state.db")
    tasks_of_x = [JobRequest("x", ids=(number,)) for number in range(3)]
    store.submit([*tasks_of_x, JobRequest("y"), JobRequest("z"), JobRequest("x", ids=(9,))], {})
    yield store
    store.close()


def _start(store: Store, job_id: int, joined: tuple[int, ...] = ()) -> None:
    store.start(
        job_id, ["GPU-0"], "boot", log=Path("log"), events=Path("events"), task_count=None, joined=joined
    )


def _chosen(store: Store) -> dict[str, list[int]]:
    """The same from all jobs, from what the store picks out and from beside."""
    beside = Store(store.path, read_only=True)
    found = foremost(store.jobs())
    assert foremost(store.foremost()) == foremost(beside.foremost()) == found
    beside.close()
    return {name: [job.id for job in jobs] for name, jobs in found.items()}


def test_of_those_that_wait_it_is_the_first(store: Store) -> None:
    assert _chosen(store) == {"x": [1], "y": [4], "z": [5]}
    assert [job.id for job in store.foremost()] == [1, 4, 5]


def test_one_that_has_started_comes_before_those_that_wait(store: Store) -> None:
    _start(store, 3)
    assert _chosen(store) == {"x": [3], "y": [4], "z": [5]}


def test_what_has_ended_is_on_no_config(store: Store) -> None:
    store.end(1, End(Ending.STOPPED, "on request"))
    store.end(4, End(Ending.STOPPED, "on request"))
    assert _chosen(store) == {"x": [2], "z": [5]}


def test_a_job_of_several_configs_is_on_each(store: Store) -> None:
    _start(store, 5, joined=(4,))
    assert _chosen(store) == {"x": [1], "y": [5], "z": [5]}


def test_a_job_of_several_configs_that_waits_again_is_the_first_for_each(store: Store) -> None:
    _start(store, 5, joined=(4,))
    store.unstart(5)
    again, _ = store.submit([JobRequest("y", ids=(7,)), JobRequest("z", ids=(7,))], {})
    assert again.id == 7
    assert _chosen(store) == {"x": [1], "y": [5], "z": [5]}


def test_all_shards_that_have_started_are_on_their_config(store: Store) -> None:
    request = store.job(4).request
    shards = [replace(request, shard=Shard(4, number, 3, (number,))) for number in range(3)]
    numbers = [job.id for job in store.split(4, shards)]
    assert _chosen(store)["y"] == [4]
    for gpu, job_id in enumerate(numbers[:2]):
        store.start(job_id, [f"GPU-{gpu}"], "boot", log=Path("log"), events=Path("events"), task_count=None)
    assert _chosen(store)["y"] == numbers[:2]
