"""Jobs of the queue as lines, from values alone."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, JobState, Queued, Running, Shard
from hitui.domain.progress import JobProgress
from hitui.domain.schedule import Schedule
from hitui.domain.waits import WaitKind
from hitui.ui.job_index import JobIndex
from hitui.ui.queue_lines import QueueView, facts, header, job_line, layout, words
from hitui.ui.text import moment
from tests.ui.sample import NOON


@pytest.mark.parametrize("rate", [4.7, 0.078])
def test_the_queue_tells_numbers_whole_or_not_at_all(rate: float) -> None:
    running = Job(
        26, JobRequest("a_long_name/of_a_config_that_takes_its_share"), NOON, Running(("u0",), 1, NOON)
    )
    progress = JobProgress("running", 18, 3056, errors=3, rate=rate, eta_seconds=3038 / rate)
    view = QueueView(JobIndex(JobsSnapshot((running,))), {26: progress}, {"u0": "0"}, NOON)
    full = "".join(part for part, _ in words(running, view))
    told = set()
    for width in range(60, 110):
        places = layout(view, width)
        line = "".join(part for part, _ in job_line(running, view, places, False))
        assert len(line) == width
        told.add(line[width - places.words :].rstrip())
    assert full in told
    assert len(told) > 1
    assert all(full.startswith(some) and full.removeprefix(some)[:2] in ("", "  ") for some in told), told


def _told(job: Job, width: int, *others: Job) -> str:
    """What stands in the queue's line behind the name."""
    view = QueueView(JobIndex(JobsSnapshot((job, *others))), {}, {"u0": "0"}, NOON)
    places = layout(view, width)
    line = "".join(part for part, _ in job_line(job, view, places, False))
    assert len(line) == width
    return line[width - places.words :].rstrip()


@pytest.mark.parametrize(
    ("reason", "narrow"),
    [
        (
            "exit status 1: error: /models/Qwen3-VL-8B: no such folder; correct it",
            "failed: /models/Qwen3-VL-8B: no …",
        ),
        ("exit status 1: KeyError: layer 7 of the model", "failed: KeyError: layer 7 of the…"),
        ("exit status 3; not tried again: no retries are allowed", "failed: exit status 3; not tried…"),
        ("exit status 3", "failed 12:00: exit status 3"),
        ("", "failed 12:00"),
    ],
)
def test_where_there_is_little_room_why_a_job_ended_comes_before_when(reason: str, narrow: str) -> None:
    ended = Job(
        26, JobRequest("a_long_name/of_a_config"), NOON, Ended(Ending.FAILED, NOON, reason, NOON - 9, 1)
    )
    at = f"{time.localtime(NOON).tm_hour:02}:{time.localtime(NOON).tm_min:02}"
    told = f"failed {at}: {reason}" if reason else f"failed {at}"
    grouped = replace(ended, id=1, schedule=Schedule(5, "night"), attempt=2)
    assert _told(ended, 80, grouped).replace(at, "12:00") == narrow
    assert told.startswith(_told(ended, 120, grouped).rstrip("…"))


@pytest.mark.parametrize(
    ("kind", "waits_for", "narrow"),
    [
        (
            WaitKind.GPUS,
            "20 GiB free on one GPU: GPU 0 has 12.1 GiB; GPU 1 is held by job 2",
            "20 GiB free on one GPU",
        ),
        (
            WaitKind.GROUP_PAUSED,
            "group night to be resumed: #9 and #10 failed at their start",
            "group night to be resumed",
        ),
        (WaitKind.OTHERS, "job 14: to succeed", "job 14: to succeed"),
        (WaitKind.RESULTS, "results that can be read: x", "results that can be read: x"),
        (
            WaitKind.AWAY,
            "its model folder: hitui.toml: [runner.own] model: /gone does not exist; correct the path",
            "its model folder is away",
        ),
    ],
)
def test_where_there_is_little_room_no_half_a_reason_is_told(
    kind: WaitKind, waits_for: str, narrow: str
) -> None:
    waiting = Job(
        26,
        JobRequest("a_long_name/of_a_config"),
        NOON,
        Queued(waits_for, kind),
        schedule=Schedule(5, "night"),
        attempt=2,
    )
    assert _told(waiting, 80) == narrow
    assert _told(waiting, 200) == f"waits for {waits_for}"


def test_the_names_of_shards_have_room_for_which_they_are() -> None:
    plain = Job(26, JobRequest("t/text_csv", shard=Shard(26, 1, 12, (1,))), NOON, Queued("its turn"))
    view = QueueView(JobIndex(JobsSnapshot((plain,))), {}, {}, NOON)
    line = job_line(plain, view, layout(view, 80), selected=False)
    assert "t/text_csv 2/12 " in "".join(part for part, _ in line)


def test_columns_that_say_the_same_of_all_jobs_are_left_out() -> None:
    def head(width: int, *jobs: Job) -> list[str]:
        view = QueueView(JobIndex(JobsSnapshot(jobs)), {}, {}, NOON)
        (text,) = (part for part, _ in header(layout(view, width)))
        return text.split()

    plain = Job(26, JobRequest("a/b"), NOON, Queued("its turn"))
    assert head(80, plain) == head(200, plain) == ["job", "config", "state"]
    assert head(80, plain, replace(plain, schedule=Schedule(5))) == ["job", "config", "prio", "state"]
    assert head(80, plain, replace(plain, attempt=2)) == ["job", "config", "try", "state"]
    night = replace(plain, schedule=Schedule(group="night"))
    assert head(80, night) == head(80, plain, night) == ["job", "config", "group", "state"]
    everything = replace(night, schedule=Schedule(5, "night"), attempt=2)
    assert head(200, everything) == ["job", "config", "prio", "group", "try", "state"]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Queued(), ""),
        (Running(("u0",), 1, NOON), f" · started {moment(NOON, NOON)}"),
        (Ended(Ending.SUCCEEDED, NOON + 8100, started_at=NOON), " · took 2 h 15 min"),
        (Ended(Ending.STOPPED, NOON, "on request, before it started"), ""),
    ],
)
def test_the_details_tell_when_a_job_started_or_how_long_it_took(state: JobState, told: str) -> None:
    job = Job(7, JobRequest("a/b"), NOON - 60, state)
    view = QueueView(JobIndex(JobsSnapshot((job,))), {}, {}, NOON + 60)
    line = "".join(words for words, _ in facts(job, view, 120)[-1])
    assert line == f"  queued {moment(NOON - 60, NOON)}{told} · group default"
