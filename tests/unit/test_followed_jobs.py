"""Who waits for jobs sees all of what they became through, however much came about since the last look."""

from __future__ import annotations

import pytest

from hitui.commands.launching import _Followed
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, JobState, Queued, Running, Shard

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
