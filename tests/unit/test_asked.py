"""No two jobs are queued for the same tasks, whatever became of those that asked for them before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Ending, JobRequest
from hitui.domain.schedule import Schedule
from hitui.domain.succession import Successor
from hitui.domain.tasks import ErrorClass
from hitui.errors import LaunchError
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store
from hitui.supervisor.wire import request_from_wire

SOME = JobRequest("x", ids=(1, 2))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state.db")
    store.submit([SOME, JobRequest("y")], {})
    yield store
    store.close()


def _start(store: Store, job_id: int, joined: tuple[int, ...] = ()) -> None:
    store.start(
        job_id, ["GPU-0"], "boot", log=Path("log"), events=Path("events"), task_count=None, joined=joined
    )


def _refused(store: Store, request: JobRequest, by: int) -> None:
    with pytest.raises(LaunchError, match=f"{request.config}: job {by} is already on it"):
        store.submit([request], {})


def test_other_tasks_of_the_config_are_another_matter(store: Store) -> None:
    _refused(store, SOME, by=1)
    others = [
        JobRequest("x"),
        JobRequest("x", ids=(1,)),
        JobRequest("x", error_class=ErrorClass.TEXT_TOO_LARGE),
        JobRequest("x", ids=(1, 2), error_class=ErrorClass.TEXT_TOO_LARGE),
    ]
    assert [job.id for job in store.submit(others, {})] == [3, 4, 5, 6]
    _refused(store, others[-1], by=6)


def test_of_a_batch_that_is_refused_nothing_is_remembered(store: Store) -> None:
    new = JobRequest("z")
    with pytest.raises(LaunchError, match="z: job 3 is already on it"):
        store.submit([new, new], {})
    assert [job.request for job in store.submit([new], {})] == [new]


def test_the_tasks_of_an_ended_job_may_be_asked_for_again(store: Store) -> None:
    store.end(1, End(Ending.STOPPED, "on request"))
    assert [job.id for job in store.submit([SOME], {})] == [3]


def test_those_of_one_that_goes_on_as_another_may_not(store: Store) -> None:
    _start(store, 1)
    store.end(1, End(Ending.FAILED, "exit status 1"), Successor(Schedule(), attempt=2))
    _refused(store, SOME, by=3)


def test_nor_those_of_one_that_joined_another(store: Store) -> None:
    _start(store, 2, joined=(1,))
    _refused(store, SOME, by=2)
    store.end(2, End(Ending.SUCCEEDED))
    assert [job.id for job in store.submit([SOME, JobRequest("y")], {})] == [3, 4]


def test_one_that_is_to_wait_for_the_other_may_ask_for_the_same(store: Store) -> None:
    assert store.submit([SOME], {}, Schedule(after=(1,)))[0].id == 3


def test_it_holds_for_the_next_supervisor_too(store: Store) -> None:
    store.close()
    again = Store(store.path)
    _refused(again, SOME, by=1)
    again.close()


@pytest.mark.parametrize("ids", [[True], [1.5], [None], [[1]]])
def test_what_can_be_no_id_is_refused_at_the_door(ids: list[object]) -> None:
    with pytest.raises(ValueError, match="an id is a whole number or a text"):
        request_from_wire({"config": "x", "ids": ids})
