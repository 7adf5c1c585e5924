"""Watchers that hear only of changes know what those know that hear everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running
from hitui.domain.schedule import Queue
from hitui.domain.waits import NOT_KNOWN, Wait, WaitKind
from hitui.supervisor.bulletin import MOST_GONE, Bulletin
from hitui.supervisor.rows import with_wait
from hitui.supervisor.snapshots import SnapshotReader

PID = 4711
GPU = Wait(WaitKind.GPUS, "a GPU")
QUEUED = [
    Job(number, JobRequest(f"g/{number % 2}", ids=(number, 2**70, "\ud800")), 1.0, Queued())
    for number in range(1, 6)
]
STATES = st.sampled_from([Queued(), Running(("GPU-0",), 12, 2.5), Ended(Ending.FAILED, 3.0, "why")])
JOBS = st.dictionaries(st.integers(1, 6), STATES).map(
    lambda states: tuple(
        Job(number, JobRequest(f"g/{number}"), 1.0, state) for number, state in sorted(states.items())
    )
)
WAITS = st.dictionaries(
    st.integers(1, 7),
    st.sampled_from(
        [
            Wait(WaitKind.GPUS, "a GPU: GPU 0 is 99% busy"),
            Wait(WaitKind.RESULTS, "results_\udce9.json"),
            Wait(WaitKind.AWAY, "its model folder: /gone"),
            Wait(WaitKind.SETTINGS, "its model folder: /gone"),
        ]
    ),
)
QUEUES = st.sampled_from([Queue(), Queue("someone")])


@given(st.lists(st.tuples(JOBS, WAITS, QUEUES, st.booleans()), max_size=8))
def test_changes_lead_to_what_is_so(
    steps: list[tuple[tuple[Job, ...], dict[int, Wait], Queue, bool]],
) -> None:
    bulletin, reader = Bulletin(PID), SnapshotReader()
    told: int | None = None
    for jobs, waits, queue, hears in steps:
        bulletin.update(jobs, waits, queue)
        expected = JobsSnapshot(
            tuple(with_wait(job, waits.get(job.id, NOT_KNOWN)) for job in jobs), PID, queue
        )
        assert SnapshotReader().read(bulletin.line(None)) == expected
        if hears and told != bulletin.version:
            # One that has not heard for a while gets all that it missed, in one line.
            assert reader.read(bulletin.line(told)) == expected
            told = bulletin.version


def test_the_same_again_is_no_new_version() -> None:
    bulletin = Bulletin(PID)
    bulletin.update(QUEUED, {1: GPU}, Queue())
    version = bulletin.version
    again = [Job(job.id, job.request, job.created_at, Queued()) for job in QUEUED]
    bulletin.update(again, {1: GPU}, Queue())
    assert bulletin.version == version


def test_what_many_wait_for_is_said_once() -> None:
    bulletin = Bulletin(PID)
    bulletin.update(QUEUED, {}, Queue())
    known = bulletin.version
    wait = Wait(WaitKind.GPUS, "20 GiB free on one GPU: GPU 0 is 99% busy")
    bulletin.update(QUEUED, {job.id: wait for job in QUEUED}, Queue())
    line = bulletin.line(known)
    assert line.count(wait.words.encode()) == 1
    assert b"g/0" not in line
    assert line.count(b"\n") == 1


def test_whoever_missed_too_much_is_told_everything() -> None:
    bulletin, reader = Bulletin(PID), SnapshotReader()
    ended = [Job(number, JobRequest("x"), 1.0, Ended(Ending.STOPPED, 2.0)) for number in range(MOST_GONE + 2)]
    bulletin.update(ended, {}, Queue())
    reader.read(bulletin.line(None))
    known = bulletin.version
    bulletin.update(QUEUED, {}, Queue())
    assert reader.read(bulletin.line(known)).jobs == tuple(QUEUED)


@pytest.mark.parametrize("kinds", ["", '"kinds":["a new one"],'])
def test_a_supervisor_of_another_version_that_says_no_kind_that_is_known_is_understood(kinds: str) -> None:
    bulletin, reader = Bulletin(PID), SnapshotReader()
    bulletin.update(QUEUED, {}, Queue())
    reader.read(bulletin.line(None))
    line = '{"waits":[["a GPU",[1]]],' + kinds + '"supervisor_pid":4711,"queue":{"paused":"","groups":[]}}'
    first = reader.read(line.encode()).jobs[0]
    assert first.state == Queued("a GPU", WaitKind.TURN)
