"""What is asked for each wish, from values alone; and the words for what waits."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running
from hitui.domain.queue import in_order, place_between
from hitui.domain.schedule import Schedule
from hitui.ui.job_index import ConfigJobs, JobIndex
from hitui.ui.job_words import wait_words
from hitui.ui.queue_wishes import TO_THE_END, Wish, matches, requests_for

NOON = 1_700_000_000.0


def waiting(number: int, priority: int = 0, **others: object) -> Job:
    job = Job(
        number,
        JobRequest(f"g/config{number}"),
        NOON,
        Queued(),
        schedule=Schedule(priority),
        place=float(number),
    )
    return replace(job, **others)


QUEUE = (waiting(1, 1), waiting(2, 1), waiting(3), waiting(4), waiting(5), waiting(6, -1))


def after(moves: list[tuple[str, dict[str, object]]], jobs: tuple[Job, ...] = QUEUE) -> list[tuple[int, int]]:
    """Ids and priorities in their order, once the moves were made by the rule of the store."""
    known = {job.id: job for job in jobs}
    for verb, what in moves:
        assert verb == "move"
        (number,) = what["jobs"]  # type: ignore[misc]
        others = [job for job in in_order(known.values()) if job.id != number]
        ids = [job.id for job in others]
        at = len(others) if what["before"] is None else ids.index(what["before"])
        neighbour = others[min(at, len(others) - 1)]
        peers = [job for job in others if job.schedule.priority == neighbour.schedule.priority]
        here = len(peers) if what["before"] is None else peers.index(neighbour)
        place = place_between(
            peers[here - 1].place if here else None, peers[here].place if here < len(peers) else None
        )
        known[number] = replace(known[number], schedule=neighbour.schedule, place=place)
    return [(job.id, job.schedule.priority) for job in in_order(known.values())]


@pytest.mark.parametrize(
    ("job", "amount", "expected"),
    [
        (4, -1, [(1, 1), (2, 1), (4, 0), (3, 0), (5, 0), (6, -1)]),
        (4, 1, [(1, 1), (2, 1), (3, 0), (5, 0), (4, 0), (6, -1)]),
        (3, 2, [(1, 1), (2, 1), (4, 0), (5, 0), (3, 0), (6, -1)]),
        (2, 1, [(1, 1), (3, 0), (2, 0), (4, 0), (5, 0), (6, -1)]),
        (3, -1, [(1, 1), (3, 1), (2, 1), (4, 0), (5, 0), (6, -1)]),
        (5, -TO_THE_END, [(5, 1), (1, 1), (2, 1), (3, 0), (4, 0), (6, -1)]),
        (3, TO_THE_END, [(1, 1), (2, 1), (4, 0), (5, 0), (6, -1), (3, -1)]),
        (6, 1, None),
        (1, -1, None),
    ],
)
def test_a_move_ends_where_it_leads(job: int, amount: int, expected: list[tuple[int, int]] | None) -> None:
    requests = requests_for(Wish("move", job, amount), JobsSnapshot(QUEUE))
    assert (after(requests) == expected) if expected else requests == []


def test_a_move_passes_only_what_the_filter_shows() -> None:
    night = Schedule(group="night")
    jobs = (waiting(1, schedule=night), waiting(2), waiting(3), waiting(4, schedule=night), waiting(5))
    assert requests_for(Wish("move", 4, -1, wanted="night"), JobsSnapshot(jobs)) == [
        ("move", {"jobs": [4], "before": 1})
    ]
    back = requests_for(Wish("move", 1, TO_THE_END, wanted="night"), JobsSnapshot(jobs))
    assert [number for number, _ in after(back, jobs)] == [2, 3, 4, 1, 5]
    # It may match no more by the time that the wish is worked out.
    left = requests_for(Wish("move", 2, TO_THE_END, wanted="night"), JobsSnapshot(jobs))
    assert [number for number, _ in after(left, jobs)] == [1, 3, 4, 2, 5]


def test_what_is_no_longer_queued_is_not_asked_for() -> None:
    running = replace(QUEUE[0], state=Running((), 1, NOON))
    assert requests_for(Wish("move", 1, 1), JobsSnapshot((running, *QUEUE[1:]))) == []
    assert requests_for(Wish("prioritize", 9, 1), JobsSnapshot(QUEUE)) == []
    assert requests_for(Wish("prioritize", 2, 3), JobsSnapshot(QUEUE)) == [
        ("prioritize", {"jobs": [2], "priority": 4})
    ]
    assert requests_for(Wish("prioritize", 2), JobsSnapshot(QUEUE)) == []
    # One that has ended is tried again.
    assert requests_for(Wish("retry", 9), JobsSnapshot(QUEUE)) == [("retry", {"jobs": [9]})]
    forced = requests_for(Wish("retry", 9, force=True), JobsSnapshot(QUEUE))
    assert forced == [("retry", {"jobs": [9], "force": True})]
    assert requests_for(Wish("pause", group="night"), JobsSnapshot()) == [("pause", {"group": "night"})]
    assert requests_for(Wish("resume"), JobsSnapshot()) == [("resume", {})]


def test_a_filter_looks_at_config_group_state_and_reason() -> None:
    job = waiting(15, state=Queued("20 GiB free on one GPU"), schedule=Schedule(group="night"))
    assert all(matches(job, wanted) for wanted in ("", "#15", "CONFIG15", "night queued", "gib free"))
    assert not matches(job, "night running")
    lost = replace(job, state=Ended(Ending.LOST, NOON, "the machine went down"))
    assert matches(lost, "lost machine")


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (0.5, "again in 1 s, attempt 2"),
        (14.8, "again in 15 s, attempt 2"),
        (60.0, "again in 60 s, attempt 2"),
        (61.0, "again in 70 s, attempt 2"),
        (110.0, "again in 110 s, attempt 2"),
        (111.0, "again in 2 min, attempt 2"),
        (3599.0, "again in 60 min, attempt 2"),
        (7300.0, "again in 2h 2m, attempt 2"),
        (0.0, "waits for a GPU"),
    ],
)
def test_a_retry_is_told_in_steps(left: float, told: str) -> None:
    job = waiting(1, state=Queued("a GPU"), schedule=Schedule(not_before=NOON + left), attempt=2)
    assert wait_words(job, NOON)[0] == told


def test_the_words_of_a_pause() -> None:
    by_hand = waiting(1, schedule=Schedule(held="paused by hand", not_before=NOON + 9), attempt=2)
    assert wait_words(by_hand, NOON) == ("paused by hand", "warn")
    assert wait_words(waiting(1, schedule=Schedule(held="until Monday")), NOON)[0] == "paused: until Monday"
    assert wait_words(waiting(1), NOON)[0] == "waits for its turn"


def test_of_several_jobs_the_one_that_runs_stands_for_the_config_else_the_first_in_order() -> None:
    request = JobRequest("a/b")
    ended = waiting(9, request=request, state=Ended(Ending.SUCCEEDED, NOON))
    late = waiting(1, request=request)
    first = waiting(2, 5, request=request)
    running = waiting(3, request=request, state=Running((), 1, NOON))
    assert JobIndex(JobsSnapshot((late, first, running, ended))).of_config("a/b") == ConfigJobs(running, 2)
    assert JobIndex(JobsSnapshot((late, first, ended))).of_config("a/b") == ConfigJobs(first, 1)
    assert JobIndex(JobsSnapshot((ended,))).of_config("a/b") == ConfigJobs(ended)
    assert JobIndex(JobsSnapshot()).of_config("a/b") is None
