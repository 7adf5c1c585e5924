"""What people may do to the queue is done as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.domain.jobs import Ending, JobRequest
from hitui.domain.schedule import Schedule
from hitui.errors import LaunchError, SupervisorError
from hitui.paths import RuntimePaths
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.queue_control import QueueControl
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state.db")
    yield made
    made.close()


@pytest.fixture
def control(store: Store, tmp_path: Path) -> QueueControl:
    paths = RuntimePaths(tmp_path / "state", tmp_path / "runtime")
    return QueueControl(store, Keeper(store, paths, lambda: None))


def submit(store: Store, *requests: JobRequest, schedule: Schedule = Schedule()) -> list[int]:  # noqa: B008
    return [job.id for job in store.submit(requests, {"A": "1"}, schedule)]


def start(store: Store, job_id: int) -> None:
    store.start(job_id, (), "boot", log=Path("/log"), events=Path("/events"), task_count=None)


@pytest.mark.parametrize(
    "message",
    [
        {"do": "pause"},
        {"do": "resume"},
        {"do": "prioritize", "priority": 5},
        {"do": "assign", "group": "eval"},
        {"do": "retry"},
    ],
)
def test_where_one_job_cannot_be_changed_none_is(
    store: Store, control: QueueControl, message: dict[str, object]
) -> None:
    queued, ended = submit(store, JobRequest("a"), JobRequest("b"))
    start(store, ended)
    store.end(ended, End(Ending.FAILED))
    before = store.jobs()
    with pytest.raises(LaunchError, match=f"job {queued if message['do'] == 'retry' else ended} "):
        control.do({**message, "jobs": [ended, queued] if message["do"] == "retry" else [queued, ended]})
    assert store.jobs() == before


def test_what_is_being_stopped_for_good_is_not_paused(store: Store, control: QueueControl) -> None:
    (job_id,) = submit(store, JobRequest("a"))
    start(store, job_id)
    store.stopping(job_id)
    with pytest.raises(LaunchError, match="is being stopped already"):
        control.do({"do": "pause", "jobs": [job_id]})


def test_a_limit_lets_one_job_run_at_least(store: Store, control: QueueControl) -> None:
    with pytest.raises(LaunchError, match="to stop it, pause it"):
        control.do({"do": "limit", "group": "eval", "limit": 0})
    assert store.queue().groups == ()
    control.do({"do": "limit", "group": "eval", "limit": 1})
    assert store.queue().group("eval").limit == 1
    control.do({"do": "limit", "group": "eval"})
    assert store.queue().groups == ()
    with pytest.raises(SupervisorError, match="nothing that can be done"):
        control.do({"do": "sing"})


@pytest.mark.parametrize("force", [False, True])
def test_a_retry_keeps_its_place_among_others_and_waits_for_nothing(
    store: Store, control: QueueControl, force: bool
) -> None:
    (other,) = submit(store, JobRequest("other"))
    request = JobRequest("a", also=(JobRequest("b"),))
    (job_id,) = submit(store, request, schedule=Schedule(5, "eval", after=(other,)))
    store.end(job_id, End(Ending.STOPPED))
    (again,) = control.do({"do": "retry", "jobs": [job_id], "force": force})
    assert again.schedule == Schedule(5, "eval")
    assert again.request == replace(request, force=force, also=(JobRequest("b", force=force),))
    assert store.environment(again.id) == {"A": "1"}
