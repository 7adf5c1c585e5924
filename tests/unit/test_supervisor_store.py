"""The store alone: what its tables refuse whatever is asked of them."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.domain.claims import Claim
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Queued, Running, Shard, Starting, Stopping
from hitui.domain.schedule import Group, Queue, Schedule
from hitui.domain.succession import StopAim, StopWish, Successor
from hitui.errors import LaunchError, NoSuchName, SupervisorError
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store
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
    assert store.claims() == {"GPU-1": (Claim(job_id),)}
    assert store.begun(job_id, 77, 5.0).state == Running(("GPU-1",), 77, 5.0)
    stopping = store.stopping(job_id).state
    assert isinstance(stopping, Stopping)
    assert stopping.pid == 77
    ended = store.end(job_id, End(Ending.STOPPED, "on request", signal=15)).state
    assert isinstance(ended, Ended)
    assert (ended.gpus, ended.started_at, ended.signal) == (("GPU-1",), 5.0, 15)
    assert store.claims() == {}
    assert store.environment(job_id) == {"PATH": "/bin"}


def test_a_job_ends_for_a_reason_that_is_no_text(store: Store) -> None:
    [job_id] = queue(store, "a")
    store.end(job_id, End(Ending.NOT_STARTED, "results_\udce9.json: is empty"))
    state = store.job(job_id).state
    assert isinstance(state, Ended)
    assert state.reason == "results_?.json: is empty"


def test_a_gpu_is_never_claimed_twice_and_nothing_of_the_try_remains(store: Store) -> None:
    first, second = queue(store, "a", "b")
    start(store, first, "GPU-1")
    with pytest.raises(LaunchError, match="held by another job"):
        start(store, second, "GPU-0", "GPU-1")
    assert store.claims() == {"GPU-1": (Claim(first),)}
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
    store.end(first, End(Ending.REQUEUED), Successor(Schedule(group="eval"), 2))
    (again,) = store.active()
    assert (again.state, again.request, store.claims()) == (Queued(), JobRequest("a"), {})
    assert (again.schedule, again.attempt, again.replaces) == (Schedule(group="eval"), 2, first)
    assert store.environment(again.id) == {"PATH": "/bin"}


def test_what_waits_for_a_job_waits_for_the_one_that_takes_its_place(store: Store) -> None:
    (first,) = queue(store, "a")
    (waiting,) = store.submit([JobRequest("b")], {}, Schedule(after=(first,), after_success=(first,)))
    (other,) = queue(store, "c")
    start(store, first)
    store.end(first, End(Ending.FAILED), Successor(Schedule(), 2))
    (successor,) = (job for job in store.active() if job.replaces == first)
    expected = Schedule(after=(successor.id,), after_success=(successor.id,))
    assert store.job(waiting.id).schedule == expected
    assert store.job(other).schedule == Schedule()
    assert store.endings([first, successor.id, 99]) == {first: Ending.FAILED, successor.id: None}


def test_a_job_takes_the_place_in_the_queue_of_the_one_before_it(store: Store) -> None:
    first, second = queue(store, "a", "b")
    start(store, first)
    store.end(first, End(Ending.REQUEUED), Successor(Schedule(), 1))
    assert [job.request.config for job in store.queued()] == ["a", "b"]
    assert [job.id for job in store.active()] == [second, second + 1]


def test_jobs_on_other_tasks_of_a_config_wait_and_never_run_at_one_time(store: Store) -> None:
    (first,) = queue(store, "a")
    with pytest.raises(LaunchError, match=f"a: job {first} is already on it"):
        queue(store, "a")
    (second,) = store.submit([JobRequest("a", ids=(1, 2))], {})
    (third,) = store.submit([JobRequest("a")], {}, Schedule(after=(first,)))
    start(store, first, "GPU-1")
    with pytest.raises(LaunchError, match=f"another job runs on the config of job {second.id}"):
        start(store, second.id, "GPU-2")
    assert store.claims() == {"GPU-1": (Claim(first),)}
    assert [job.id for job in store.queued()] == [second.id, third.id]


def shards(store: Store, job_id: int, *ids: tuple[int, ...]) -> list[JobRequest]:
    request = store.job(job_id).request
    return [replace(request, shard=Shard(job_id, number, len(ids), own)) for number, own in enumerate(ids)]


def test_a_split_job_stands_in_the_queue_as_its_shards_and_is_waited_for_as_all_of_them(store: Store) -> None:
    first, second = queue(store, "a", "b")
    (waiting,) = store.submit([JobRequest("c")], {}, Schedule(after=(second, first), after_success=(first,)))
    parts = store.split(first, shards(store, first, (1,), (2,), (3,)))
    assert [job.request.shard and job.request.shard.label for job in parts] == ["1/3", "2/3", "3/3"]
    numbers = [job.id for job in parts]
    assert numbers[0] == first
    assert [job.id for job in store.queued()] == [*numbers, second, waiting.id]
    assert store.job(waiting.id).schedule == Schedule(after=(second, *numbers), after_success=tuple(numbers))
    assert {store.environment_id(number) for number in numbers} == {store.environment_id(first)}
    start(store, numbers[1], "GPU-1")
    store.end(numbers[1], End(Ending.FAILED), Successor(Schedule(), 2))
    (retried,) = (job for job in store.queued() if job.replaces == numbers[1])
    (later,) = store.submit([JobRequest("d")], {}, Schedule(after=(first,)))
    assert set(later.schedule.after) == {first, numbers[2], retried.id}
    start(store, second, "GPU-2")
    with pytest.raises(LaunchError, match=f"job {second} is no longer queued"):
        store.split(second, shards(store, second, (1,), (2,)))


def test_who_names_a_job_that_was_tried_again_and_split_then_waits_for_all_of_its_shards(
    store: Store,
) -> None:
    (first,) = queue(store, "a")
    start(store, first, "GPU-1")
    store.end(first, End(Ending.FAILED), Successor(Schedule(), 2))
    (again,) = store.queued()
    parts = store.split(again.id, shards(store, again.id, (1,), (2,), (3,)))
    (later,) = store.submit([JobRequest("b")], {}, Schedule(after=(first,), after_success=(first,)))
    numbers = tuple(job.id for job in parts)
    assert (later.schedule.after, later.schedule.after_success) == (numbers, numbers)
    (one,) = store.submit([JobRequest("c")], {}, Schedule(after=(numbers[1],)))
    assert one.schedule.after == (numbers[1],)


def test_shards_of_one_split_run_at_one_time_and_nothing_else_beside_them(store: Store) -> None:
    (first,) = queue(store, "a")
    (whole,) = store.submit([JobRequest("a", ids=(1,))], {})
    (again,) = store.submit([JobRequest("a", ids=(2,))], {})
    (_, second) = store.split(first, shards(store, first, (1,), (2,)))
    store.split(again.id, shards(store, again.id, (3,), (4,)))
    start(store, first, "GPU-1")
    start(store, second.id, "GPU-2")
    for refused in (whole.id, again.id):
        with pytest.raises(LaunchError, match=f"another job runs on the config of job {refused}"):
            start(store, refused, "GPU-3")
    with pytest.raises(LaunchError, match=f"a: job {first} is already on it"):
        queue(store, "a")
    store.end(first, End(Ending.SUCCEEDED))
    with pytest.raises(LaunchError, match=f"another job runs on the config of job {whole.id}"):
        start(store, whole.id, "GPU-3")
    (retried,) = store.submit(shards(store, first, (1,)), {})
    with pytest.raises(LaunchError, match=f"a: job {second.id} is already on it"):
        store.submit(shards(store, first, (1,), (2,))[1:], {})
    start(store, retried.id, "GPU-1")
    for job_id in (retried.id, second.id):
        store.end(job_id, End(Ending.SUCCEEDED))
    start(store, whole.id, "GPU-3")


def test_jobs_are_moved_before_others_and_to_the_end(store: Store) -> None:
    a, b, c, d = queue(store, "a", "b", "c", "d")
    store.move(d, a)
    assert [job.id for job in store.queued()] == [d, a, b, c]
    store.move(a, None)
    assert [job.id for job in store.queued()] == [d, b, c, a]
    store.reschedule(c, lambda known: replace(known, priority=5))
    assert [job.id for job in store.queued()] == [c, d, b, a]
    store.move(b, c)
    assert [job.id for job in store.queued()] == [b, c, d, a]
    assert store.job(b).schedule.priority == 5


def test_a_job_goes_just_before_another_though_one_that_was_there_has_gone(store: Store) -> None:
    a, b, c, d, e = queue(store, "a", "b", "c", "d", "e")
    store.end(b, End(Ending.STOPPED))
    assert store.move(e, d).id == e
    assert [job.id for job in store.queued()] == [a, c, e, d]


def test_an_environment_is_the_same_in_any_order(store: Store) -> None:
    (one,) = store.submit([JobRequest("a")], {"A": "1", "B": "2"})
    (other,) = store.submit([JobRequest("b")], {"B": "2", "A": "1"})
    (third,) = store.submit([JobRequest("c")], {"A": "2", "B": "1"})
    ids = [store.environment_id(job.id) for job in (one, other, third)]
    assert ids[0] == ids[1] != ids[2]


def test_a_move_changes_a_priority_no_further_than_the_order_needs(store: Store) -> None:
    a, b, c, d = queue(store, "a", "b", "c", "d")
    for job_id, priority in ((a, 9), (b, 9), (c, 5)):
        store.reschedule(job_id, lambda known, new=priority: replace(known, priority=new))  # type: ignore[misc]
    for moved, before, order, priority in (
        (a, c, [b, a, c, d], 9),
        (c, d, [b, a, c, d], 5),
        (d, c, [b, a, d, c], 5),
        (b, None, [a, d, c, b], 5),
        (a, a, [a, d, c, b], 9),
    ):
        store.move(moved, before)
        assert [job.id for job in store.queued()] == order
        assert store.job(moved).schedule.priority == priority


def test_what_is_to_wait_for_a_job_waits_for_the_last_that_took_its_place(store: Store) -> None:
    (first,) = queue(store, "a")
    for job_id in (first, first + 1):
        start(store, job_id, f"GPU-{job_id}")
        store.end(job_id, End(Ending.REQUEUED), Successor(Schedule(), 1))
    (waiting,) = store.submit([JobRequest("b")], {}, Schedule(after=(first,), after_success=(first + 1,)))
    assert (waiting.schedule.after, waiting.schedule.after_success) == ((first + 2,), (first + 2,))
    store.end(first + 2, End(Ending.STOPPED))
    with pytest.raises(
        LaunchError, match=f"job {first + 2} ended as stopped: nothing can follow its success"
    ):
        store.submit([JobRequest("c")], {}, Schedule(after_success=(first,)))


def test_places_between_two_jobs_never_run_out(store: Store) -> None:
    first, second, third = queue(store, "a", "b", "c")
    for _ in range(200):
        # Each goes before the last one: the room there is halved each time.
        store.move(first, third)
        assert [job.id for job in store.queued()] == [second, first, third]
        store.move(second, third)
        assert [job.id for job in store.queued()] == [first, second, third]


def test_only_what_is_queued_can_be_changed(store: Store) -> None:
    (job_id,) = queue(store, "a")
    start(store, job_id)
    with pytest.raises(LaunchError, match=f"job {job_id} is no longer queued: it is starting"):
        store.reschedule(job_id, lambda known: known)
    with pytest.raises(LaunchError, match="no longer queued"):
        store.move(job_id, None)


def test_what_was_said_of_queue_and_groups_is_kept(store: Store, tmp_path: Path) -> None:
    store.pause_queue("maintenance")
    store.set_group(Group("eval", 2, "it died twice"))
    store.set_group(Group("train", 1))
    store.set_group(Group("train"))
    beside = Store(tmp_path / "state.db", read_only=True)
    assert beside.queue() == store.queue() == Queue("maintenance", (Group("eval", 2, "it died twice"),))
    beside.close()


def test_a_job_cannot_wait_for_one_that_never_was(store: Store) -> None:
    with pytest.raises(NoSuchName, match="no job 99"):
        store.submit([JobRequest("a")], {}, Schedule(after=(99,)))
    assert store.active() == ()


def test_what_is_in_memory_is_what_is_on_disk(store: Store, tmp_path: Path) -> None:
    first, second, third = queue(store, "a", "b", "c")
    start(store, first, "GPU-1")
    store.begun(first, 7, 1.0)
    store.stopping(first, StopWish(StopAim.PAUSE, "paused by hand"))
    start(store, second, "GPU-2")
    store.unstart(second)
    store.end(third, End(Ending.STOPPED))
    with pytest.raises(LaunchError):
        store.submit([JobRequest("d"), JobRequest("b")], {})
    beside = Store(tmp_path / "state.db", read_only=True)
    assert beside.active() == store.active()
    assert beside.jobs() == store.jobs()
    assert (beside.stop_wish(first).reason, beside.claims()) == (
        "paused by hand",
        {"GPU-1": (Claim(first, pid=7),)},
    )
    beside.close()


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


def test_what_has_started_and_ended_is_found_by_state_config_and_time(store: Store) -> None:
    a, b, c, d = queue(store, "a", "b", "c", "d")
    (several,) = (job.id for job in store.submit([JobRequest("e", also=(JobRequest("f"),))], {}))
    for job_id in (a, c, several):
        start(store, job_id, f"GPU-{job_id}")
    store.end(a, End(Ending.SUCCEEDED, at=100.0))
    store.end(b, End(Ending.STOPPED, at=200.0))
    assert [job.id for job in store.started()] == [c, several]
    assert [job.id for job in store.queued()] == [d]
    # Those that have not ended hide no others.
    assert store.endings([c, a, d, 99, b]) == {c: None, a: Ending.SUCCEEDED, d: None, b: Ending.STOPPED}
    for ended, found in ((None, [a, b]), (0, []), (1, [b]), (2, [a, b])):
        assert [job.id for job in store.jobs(ended)] == [*found, c, d, several]
    for configs, since, last, expected in (
        (None, None, None, [a, b, c, several]),
        (None, 200.0, None, [b, c, several]),
        (None, None, 2, [c, several]),
        ({"a", "d", "c"}, None, None, [a, c]),
        ({"f"}, None, None, [several]),
        ({"a", "b"}, None, 1, [b]),
    ):
        assert [job.id for job in store.launched(configs, since, last)] == expected
    assert store.configs() == {"a", "b", "c", "e", "f"}


def test_who_listens_hears_of_each_change_and_what_he_makes_of_it_undoes_nothing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[list[tuple[int, str]]] = []

    def fail(changed: tuple[Job, ...]) -> None:
        raise RuntimeError("no ears")

    store.listen(fail)
    store.listen(lambda changed: heard.append([(job.id, job.word) for job in changed]))
    a, b = queue(store, "a", "b")
    store.pause_queue("lunch")
    start(store, b)
    assert heard == [[(a, "queued"), (b, "queued")], [(b, "starting")]]
    assert "no ears" in capsys.readouterr().err


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


def test_a_state_folder_where_no_file_can_be_locked_is_to_lie_elsewhere(tmp_path: Path) -> None:
    """NFS locks no file that is open for reading alone: it says that the descriptor is bad."""
    assert disk_trouble(tmp_path, OSError(errno.EBADF, os.strerror(errno.EBADF))) == (
        f"{tmp_path}: the jobs cannot be kept there: no locks (Bad file descriptor);"
        " as on a network file system: set XDG_STATE_HOME to a local folder"
    )
