"""Jobs by their numbers, as the store of a workspace without a supervisor has them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hitui.commands.job_naming import configs_of, current_jobs, mend_of_wait, pauses, waits_for_group
from hitui.domain.jobs import Ending, Job, JobRequest, JobState, Queued, Running, Shard
from hitui.domain.schedule import Group, Queue, Schedule
from hitui.domain.succession import Successor
from hitui.domain.waits import WaitKind
from hitui.errors import NoSuchName
from hitui.paths import RuntimePaths
from hitui.services.jobs import JobsService
from hitui.settings import Settings
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store


@pytest.fixture
def services(tmp_path: Path) -> Any:
    return SimpleNamespace(jobs=JobsService(Settings(tmp_path), RuntimePaths(tmp_path, tmp_path / "run")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state.db")
    yield made
    made.close()


def queue(store: Store, *configs: str) -> list[int]:
    return [job.id for job in store.submit([JobRequest(config) for config in configs], {})]


def numbers(services: Any, *named: int) -> list[int]:
    return [job.id for job in current_jobs(services, named)]


def test_a_job_that_ended_before_hundreds_of_others_is_known_and_what_went_on_is_said(
    services: Any, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, tried = queue(store, "a", "b")
    store.end(old, End(Ending.SUCCEEDED))
    store.end(tried, End(Ending.FAILED), Successor(Schedule(), 2))
    (again,) = (job.id for job in store.queued())
    with sqlite3.connect(tmp_path / "state.db") as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(jobs)") if row[1] != "id"]
        named = ", ".join(columns)
        copy = f"INSERT INTO jobs ({named}) SELECT {named} FROM jobs WHERE id = ?"
        database.executemany(copy, [(old,)] * 200)
    database.close()
    assert numbers(services, tried, old, again) == [again, old]
    assert capsys.readouterr().out == f"job {tried} went on as job {again}\n"
    with pytest.raises(NoSuchName, match="no job 999"):
        current_jobs(services, [old, 999])


def test_who_names_the_first_shard_alone_is_told_of_those_that_stay_as_they_are(
    services: Any, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, first, other = queue(store, "a", "b", "c")
    shards = [JobRequest("b", shard=Shard(first, number, 4, (number,))) for number in range(4)]
    _, second, third, ended = (job.id for job in store.split(first, shards))
    store.split(other, [JobRequest("c", shard=Shard(other, number, 2, (number,))) for number in range(2)])
    store.end(ended, End(Ending.SUCCEEDED))
    found = current_jobs(services, [whole, second, first])
    assert [configs_of(job) for job in found] == ["a", "b 2/4", "b 1/4"]
    assert capsys.readouterr().out == (
        f"job {first} is shard 1/4 alone; the others stay as they are: job {third}\n"
    )
    assert numbers(services, whole, second) == [whole, second]
    assert numbers(services, third, second, first) == [third, second, first]
    assert capsys.readouterr().out == ""


def test_each_pause_is_told_with_what_ends_it() -> None:
    groups = (Group("day", None, "paused by hand"), Group("eval", 2), Group("night", None, "it is day"))
    whole = "the queue is paused: until Monday; `hitui queue resume` lets its jobs start"
    day = "group day is paused: by hand; `hitui queue resume day` lets its jobs start"
    night = "group night is paused: it is day; `hitui queue resume night` lets its jobs start"
    assert pauses(Queue("until Monday", groups)) == [whole, day, night]
    assert pauses(Queue("", groups), {"night", "eval"}) == [night]
    assert pauses(Queue("until Monday", groups), ()) == [whole]


@pytest.mark.parametrize(
    ("state", "held", "mend", "for_group"),
    [
        (Queued("", WaitKind.GPUS), "", "", False),
        (Queued("", WaitKind.GPUS), "by hand", "hitui resume 4", False),
        (Queued("", WaitKind.QUEUE_PAUSED), "", "hitui queue resume", True),
        (Queued("", WaitKind.GROUP_PAUSED), "", "hitui queue resume night", True),
        (Running((), 7, 1.0), "by hand", "", False),
    ],
)
def test_a_pause_that_a_job_waits_for_is_ended_by_one_command(
    state: JobState, held: str, mend: str, for_group: bool
) -> None:
    job = Job(4, JobRequest("a"), 0.0, state, schedule=Schedule(group="night", held=held))
    assert (mend_of_wait(job), waits_for_group(job)) == (mend, for_group)
