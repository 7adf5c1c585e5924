"""Who waits for jobs sees all of what they became through, however much came about since the last look."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from hitui.commands.launching import _Followed, launch, wait_for_ends
from hitui.domain.configs import Config, ConfigState
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, JobState, Queued, Running, Shard
from hitui.domain.schedule import Schedule
from hitui.errors import SupervisorError

FAILED, DONE = Ended(Ending.FAILED, 2.0, "exit status 1"), Ended(Ending.SUCCEEDED, 3.0)


def job(number: int, state: JobState, shard: Shard | None = None, **values: int) -> Job:
    return Job(number, JobRequest("a", shard=shard), 0.0, state, **values)


def test_a_new_try_that_was_split_meanwhile_is_waited_for_with_all_of_its_shards(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = job(1, Queued())
    followed = _Followed((first,))
    shards = [Shard(2, number, 3, (number,)) for number in range(3)]
    later = (
        job(1, FAILED, successor=2),
        job(2, DONE, shards[0], replaces=1),
        job(3, FAILED, shards[1], successor=5),
        job(4, Running(("GPU-1",), 44, 1.0), shards[2]),
        job(5, Queued(), shards[1], replaces=3),
        job(6, Queued(), Shard(6, 0, 2, ())),
    )
    followed.take(JobsSnapshot(later, 1))
    assert sorted(followed.waiting) == [4, 5]
    assert sorted(followed.ended) == [2]
    assert capsys.readouterr().out.splitlines() == [
        "job 1 failed: exit status 1",
        "job 1 goes on as job 2",
        "job 2 was split: job 3 runs shard 2/3",
        "job 2 was split: job 4 runs shard 3/3",
        "job 2 succeeded",
        "job 3 failed: exit status 1",
        "job 3 goes on as job 5",
        "job 4 running, pid 44",
        "job 5 queued",
    ]


class Told:
    """What one supervisor says of the jobs until it is killed."""

    def __init__(self, *snapshots: JobsSnapshot) -> None:
        self.snapshots = snapshots

    def __iter__(self) -> Iterator[JobsSnapshot]:
        return iter(self.snapshots)

    def close(self) -> None:
        """Nothing is open."""


def services_of(*lives: Told | None, **jobs: object) -> Any:
    """Services whose supervisor is killed after each of these lives; None: before it could say anything."""
    left = list(lives)

    def open_watch() -> Told:
        life = left.pop(0)
        if life is None:
            raise ConnectionRefusedError
        return life

    client = SimpleNamespace(open_watch=open_watch, **jobs)
    return SimpleNamespace(
        jobs=SimpleNamespace(client=client, ensure_supervisor=lambda: 1, **jobs),
        progress=SimpleNamespace(start=lambda say: None, follow=lambda snapshot: None, close=lambda: None),
    )


def test_a_wait_outlives_supervisors_and_minds_an_end_that_they_do_not_name_any_more() -> None:
    running, other = job(1, Running(("GPU-0",), 44, 1.0)), job(2, Running(("GPU-1",), 45, 1.0))
    failed, done = job(1, FAILED), job(2, DONE)
    all_jobs = [SupervisorError("no supervisor runs"), JobsSnapshot((failed, other))]

    def every_job(*, every: bool) -> JobsSnapshot:
        answer = all_jobs.pop(0)
        if isinstance(answer, SupervisorError):
            raise answer
        return answer

    services = services_of(
        Told(JobsSnapshot((running, other))),
        None,
        Told(JobsSnapshot((other,))),
        Told(JobsSnapshot((other,)), JobsSnapshot((done,))),
        jobs=every_job,
    )
    assert wait_for_ends(services, (job(1, Queued()), job(2, Queued()))) == (failed, done)


@pytest.mark.parametrize(("ended", "status"), [(DONE, 0), (FAILED, 1)])
def test_a_wait_for_what_counts_lines_fails_where_its_job_does(
    ended: Ended, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config("a", "line_count", (), "out")
    catalogue: Any = SimpleNamespace(
        read=lambda config: SimpleNamespace(state=ConfigState(config, unit="lines"), tasks=())
    )
    services = services_of(
        Told(JobsSnapshot((job(1, ended),))),
        submit=lambda requests, schedule: (job(1, Queued()),),
        read_once=lambda: JobsSnapshot(),
    )
    wanted = [(config, JobRequest("a"))]
    assert launch(services, catalogue, wanted, wait=True, schedule=Schedule()) == status
    said = "hitui: a: job 1 failed: exit status 1\n" if status else ""
    assert capsys.readouterr().err == said
