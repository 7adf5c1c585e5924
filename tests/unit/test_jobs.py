"""How a job is said to have ended, and jobs on their way over the socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.jobs import (
    Ended,
    Ending,
    Job,
    JobRequest,
    JobsSnapshot,
    Queued,
    Running,
    Starting,
    Stopping,
    decide_ending,
    one_line,
)
from hitui.domain.schedule import HeldFor, Schedule
from hitui.domain.tasks import ErrorClass
from hitui.errors import LaunchError, NoSuchName, SupervisorError
from hitui.supervisor import snapshots, wire


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"status": 0}, (Ending.SUCCEEDED, "")),
        ({"status": 0, "stop_asked": True}, (Ending.SUCCEEDED, "")),
        ({"status": 143, "stop_asked": True}, (Ending.STOPPED, "on request")),
        ({"signal": 9, "stop_asked": True}, (Ending.STOPPED, "on request")),
        ({"status": 75}, (Ending.REQUEUED, "the runner asked for it")),
        ({"status": 75, "stop_asked": True}, (Ending.STOPPED, "on request")),
        ({"status": 1, "last_words": "no model"}, (Ending.FAILED, "exit status 1: no model")),
        ({"signal": 11}, (Ending.FAILED, "ended by SIGSEGV")),
        ({"signal": 40, "last_words": "x"}, (Ending.FAILED, "ended by signal 40; last in its log: x")),
        ({"status": 127, "error": "python: not found"}, (Ending.NOT_STARTED, "python: not found")),
    ],
)
def test_every_end_has_a_name(values: dict[str, object], expected: tuple[Ending, str]) -> None:
    known: dict[str, object] = {"status": None, "signal": None, "error": None, "stop_asked": False}
    assert decide_ending(**(known | values)) == expected  # type: ignore[arg-type]


def test_a_killed_runner_hints_at_memory() -> None:
    ending, reason = decide_ending(status=None, signal=9, error=None, stop_asked=False)
    assert ending is Ending.FAILED
    assert "out of memory" in reason


# A few characters of every kind: all of Unicode takes Hypothesis seconds to build, the first time.
texts = st.text(st.sampled_from('ab1/ _\n\r\t\x00\x1b\x7f\x9b\u202e\ufeffé│"\\'), max_size=80)


@given(texts)
def test_one_line_is_one_harmless_line(text: str) -> None:
    line = one_line(text, 50)
    assert line.isprintable()
    assert len(line) <= 50


def test_one_line_is_the_last_that_says_something() -> None:
    assert one_line("first\n 10%|#\r 20%|##\r\n\n  \n") == "20%|##"
    assert one_line("") == ""
    assert [one_line("x" * length) for length in (200, 201)] == ["x" * 200, "x" * 199 + "…"]


requests = st.builds(
    JobRequest,
    config=texts,
    ids=st.none() | st.lists(st.integers(-(2**70), 2**70) | texts, max_size=4).map(tuple),
    error_class=st.none() | st.sampled_from(ErrorClass),
    gpus=st.none() | st.lists(texts, max_size=3).map(tuple),
    executor=texts,
    gpu_count=st.none() | st.integers(1, 8),
    shards=st.none() | st.integers(1, 8),
    force=st.booleans(),
)
uuids = st.lists(texts, max_size=3).map(tuple)
times = st.floats(0, 1e10)
states = st.one_of(
    st.builds(Queued, texts),
    st.builds(Starting, uuids, times),
    st.builds(Running, uuids, st.integers(1, 2**22), times),
    st.builds(Stopping, uuids, st.none() | st.integers(1, 2**22), st.none() | times, times),
    st.builds(Ended, st.sampled_from(Ending), times, texts, gpus=uuids),
)
jobs = st.builds(
    Job,
    st.integers(1),
    requests,
    times,
    states,
    texts,
    texts,
    st.none() | st.integers(0, 9999),
    schedule=st.builds(Schedule, st.integers(-9, 9), texts, held=texts, held_for=st.sampled_from(HeldFor)),
    place=times,
    attempt=st.integers(1, 9),
    replaces=st.none() | st.integers(1),
    successor=st.none() | st.integers(1),
)


snapshots_of_jobs = st.lists(jobs, max_size=3, unique_by=lambda job: job.id).map(
    lambda sent: tuple(sorted(sent, key=lambda job: job.id))
)


@given(snapshots_of_jobs, st.none() | st.integers(1))
def test_a_snapshot_arrives_as_it_was_sent(sent: tuple[Job, ...], pid: int | None) -> None:
    snapshot = JobsSnapshot(sent, pid)
    line = wire.encode(snapshots.whole(snapshot))
    assert line.count(b"\n") == 1
    assert snapshots.read_whole(line) == snapshot


@given(jobs)
def test_a_job_arrives_as_it_was_sent(sent: Job) -> None:
    line = wire.encode({"job": wire.job_to_wire(sent), "jobs": [wire.job_to_wire(sent)]})
    assert wire.job_from_wire(wire.decode(line)["job"]) == sent
    # A supervisor that was started before an upgrade sends snapshots so.
    assert snapshots.read_whole(line).jobs == (sent,)


@pytest.mark.parametrize(
    "values",
    [
        {"config": None},
        {"executor": 3},
        {"ids": "1,2"},
        {"ids": [1.5]},
        {"ids": [True]},
        {"gpus": "0"},
        {"error_class": "none"},
        {"also": {}},
        {"also": [{}]},
        {"gpu_count": 0},
        {"shards": True},
        {"shard": {"split": 1}},
    ],
)
def test_what_is_no_request_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.request_from_wire({"config": "a", **values})


@pytest.mark.parametrize("kind", [LaunchError, NoSuchName, SupervisorError])
def test_a_refusal_is_raised_as_what_it_was(kind: type[Exception]) -> None:
    answer = wire.decode(wire.encode(wire.error_to_wire(kind("why"))))  # type: ignore[arg-type]
    with pytest.raises(kind, match="why"):
        wire.raise_error(answer)
