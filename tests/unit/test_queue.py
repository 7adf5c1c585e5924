"""The order of the queue, what a job waits for, and what follows one that ended: for any queue there may be."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hitui.domain.jobs import Ending, Job, JobRequest, Queued, Shard
from hitui.domain.queue import (
    Standing,
    group_wait,
    in_order,
    never_starts,
    next_moment,
    on_configs,
    own_wait,
    place_between,
)
from hitui.domain.schedule import (
    DEFAULT_GROUP,
    LONGEST_GROUP,
    Group,
    HeldFor,
    ProcessMark,
    Queue,
    Schedule,
    group_name,
)
from hitui.domain.succession import (
    END,
    HowItEnded,
    RetryRules,
    StopAim,
    StopWish,
    Successor,
    out_of_memory,
    successor,
)
from hitui.domain.waits import Wait, WaitKind

NOW = 1_700_000_000.0
PLAIN = Schedule()
ENDINGS = st.sampled_from(list(Ending))
NUMBERS = st.integers(1, 9)
SCHEDULES = st.builds(
    Schedule,
    priority=st.integers(-3, 3),
    group=st.sampled_from(["default", "eval", "train"]),
    after=st.lists(NUMBERS, max_size=2).map(tuple),
    after_success=st.lists(NUMBERS, max_size=2).map(tuple),
    after_processes=st.lists(st.builds(ProcessMark, NUMBERS, NUMBERS), max_size=1).map(tuple),
    not_before=st.none() | st.floats(NOW - 100, NOW + 100),
    held=st.sampled_from(["", "by hand"]),
)
JOBS = st.builds(
    lambda number, schedule, place, config: job(number, schedule, place, config),
    st.integers(10, 99),
    SCHEDULES,
    st.floats(-5, 5),
    st.sampled_from(["a", "b"]),
)
STANDINGS = st.builds(
    Standing,
    now=st.just(NOW),
    queue=st.builds(
        Queue,
        st.sampled_from(["", "for maintenance"]),
        st.lists(
            st.builds(Group, st.sampled_from(["eval", "train"]), st.none() | st.integers(1, 3)), max_size=2
        ).map(tuple),
    ),
    started=st.dictionaries(st.sampled_from(["default", "eval"]), st.integers(1, 4)),
    busy=st.lists(st.sampled_from(["a", "b"]), unique=True).map(
        lambda configs: on_configs(job(number, config=config) for number, config in enumerate(configs, 1))
    ),
    endings=st.dictionaries(NUMBERS, st.none() | ENDINGS),
    living=st.lists(st.builds(ProcessMark, NUMBERS, NUMBERS)),
)


def job(
    number: int, schedule: Schedule = PLAIN, place: float = 0.0, config: str = "a", attempt: int = 1
) -> Job:
    return Job(number, JobRequest(config), NOW, Queued(), schedule=schedule, place=place, attempt=attempt)


@given(st.lists(JOBS, unique_by=lambda known: known.id))
def test_the_order_is_total_and_follows_priority_place_and_age(jobs: list[Job]) -> None:
    ordered = in_order(jobs)
    assert sorted(known.id for known in ordered) == sorted(known.id for known in jobs)
    keys = [(-known.schedule.priority, known.place, known.id) for known in ordered]
    assert keys == sorted(keys)
    assert in_order(reversed(jobs)) == ordered


@given(JOBS, STANDINGS)
def test_a_job_may_start_exactly_when_nothing_that_was_said_of_it_stands_against_it(
    known: Job, standing: Standing
) -> None:
    schedule = known.schedule
    stands_against_it = (
        bool(schedule.held)
        or (schedule.not_before is not None and schedule.not_before > NOW)
        or any(
            standing.endings.get(other, Ending.LOST) is None
            for other in (*schedule.after, *schedule.after_success)
        )
        or any(process in standing.living for process in schedule.after_processes)
        or known.request.config in standing.busy
    )
    assert (own_wait(known, standing) is not None) == stands_against_it
    needed = [standing.endings.get(other, Ending.LOST) for other in schedule.after_success]
    assert bool(never_starts(known, standing)) == any(
        ending not in (None, Ending.SUCCEEDED) for ending in needed
    )


@given(STANDINGS, st.sampled_from(["default", "eval", "train"]))
def test_a_group_waits_when_the_queue_or_it_is_paused_or_its_places_are_taken(
    standing: Standing, name: str
) -> None:
    group = standing.queue.group(name)
    full = group.limit is not None and standing.started.get(name, 0) >= group.limit
    wait = group_wait(name, standing)
    assert (wait is not None) == (bool(standing.queue.paused) or bool(group.paused) or full)


def test_what_is_waited_for_is_said_by_its_kind_and_with_its_short_form_before_a_colon() -> None:
    held = own_wait(job(14, Schedule(held="paused by hand")), Standing(NOW))
    assert held == Wait(WaitKind.HELD, "someone to resume it: paused by hand")
    assert held is not None
    assert held.short == "someone to resume it"
    midnight = time.mktime((2026, 2, 3, 0, 0, 0, 0, 0, -1))
    noon, soon = (
        own_wait(job(14, Schedule(not_before=midnight + seconds)), Standing(midnight))
        for seconds in (43_200, 15)
    )
    assert noon == Wait(WaitKind.TIME, "12:00: it starts then")
    assert soon == Wait(WaitKind.TIME, "00:00:15: it starts then")
    assert noon.short == "12:00"
    after = own_wait(job(14, Schedule(after_success=(12,))), Standing(NOW, endings={12: None}))
    assert after == Wait(WaitKind.OTHERS, "job 12: to succeed")
    assert own_wait(job(14), Standing(NOW, busy=on_configs([job(3)]))) == on_the_same_config(3)
    limited = Standing(NOW, Queue(groups=(Group("eval", 2),)), started={"eval": 2})
    assert group_wait("eval", limited) == Wait(WaitKind.GROUP_FULL, "a place in group eval: 2 of 2 run")
    paused = Standing(NOW, Queue(groups=(Group("eval", paused="by hand"),)))
    assert group_wait("eval", paused) == Wait(WaitKind.GROUP_PAUSED, "group eval to be resumed: by hand")
    everything = Standing(NOW, Queue("by hand"))
    assert group_wait("eval", everything) == Wait(WaitKind.QUEUE_PAUSED, "the queue to be resumed: by hand")


def on_the_same_config(number: int) -> Wait:
    return Wait(WaitKind.OTHERS, f"job {number}: it is on the same config")


def test_shards_of_one_split_run_beside_each_other_and_nothing_else_of_their_config_does() -> None:
    def request(split: int, number: int) -> JobRequest:
        return JobRequest("a", shard=Shard(split, number, 3, (number,)))

    started = [replace(job(3), request=request(3, 0)), replace(job(4), request=request(3, 1))]
    standing = Standing(NOW, busy=on_configs(started))
    third = replace(job(5), request=request(3, 2))
    assert own_wait(third, standing) is None
    same_again = replace(job(6), request=request(3, 1))
    assert own_wait(same_again, standing) == on_the_same_config(4)
    of_another_split = replace(job(7), request=request(7, 2))
    assert own_wait(of_another_split, standing) == on_the_same_config(3)
    assert own_wait(job(8), standing) == on_the_same_config(3)
    assert own_wait(third, Standing(NOW, busy=on_configs([job(8)]))) == on_the_same_config(8)


def test_a_job_that_never_was_counts_as_one_that_is_over() -> None:
    assert own_wait(job(14, Schedule(after=(99,))), Standing(NOW)) is None
    assert (
        never_starts(job(14, Schedule(after_success=(99,))), Standing(NOW))
        == "it needed job 99, which ended as lost"
    )


@given(st.lists(JOBS))
def test_the_next_moment_lies_ahead_and_before_all_others(jobs: list[Job]) -> None:
    moment = next_moment(jobs, NOW)
    ahead = [
        known.schedule.not_before
        for known in jobs
        if known.schedule.not_before is not None and known.schedule.not_before > NOW
    ]
    assert moment == (min(ahead) if ahead else None)


@given(st.none() | st.floats(-1e6, 1e6), st.none() | st.floats(-1e6, 1e6))
def test_a_place_lies_between_its_neighbours(one: float | None, other: float | None) -> None:
    if one is not None and other is not None:
        one, other = sorted((one, other))
    place = place_between(one, other)
    assert one is None or place >= one
    assert other is None or place <= other


RULES = RetryRules(retries=3, pause=15.0)


def ended(ending: Ending, ran: float | None = 600.0, status: int | None = 1, words: str = "") -> HowItEnded:
    return HowItEnded(ending, NOW, ran, status, words)


def test_a_crash_is_tried_again_after_pauses_that_grow_and_then_left() -> None:
    pauses = []
    known = job(5, Schedule(priority=2, group="eval", after=(1,)))
    while (follows := successor(known, ended(Ending.FAILED), END, RULES)) is not None:
        assert (follows.schedule.priority, follows.schedule.group, follows.schedule.after) == (2, "eval", ())
        assert follows.schedule.not_before is not None
        pauses.append(follows.schedule.not_before - NOW)
        known = job(known.id + 1, follows.schedule, attempt=follows.attempt)
    assert pauses == [15.0, 60.0, 240.0]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (ended(Ending.SUCCEEDED, status=0), "it succeeded"),
        (ended(Ending.STOPPED), "someone stopped it"),
        (ended(Ending.NOT_STARTED, ran=None, status=None), "its program cannot be executed"),
        (ended(Ending.FAILED, status=2), "wrong usage stays wrong"),
        (
            ended(Ending.FAILED, words="torch.OutOfMemoryError: CUDA out of memory."),
            "the memory stays as small",
        ),
        (ended(Ending.LOST), "someone killed it"),
    ],
)
def test_what_would_end_the_same_way_or_was_wanted_is_not_tried_again(end: HowItEnded, why: str) -> None:
    assert successor(job(5), end, END, RULES) is None, why


def test_a_job_that_dies_at_once_is_started_once_more_and_no_further() -> None:
    quick = ended(Ending.FAILED, ran=2.0)
    first = successor(job(5), quick, END, RULES)
    assert first is not None
    assert successor(job(6, attempt=first.attempt), quick, END, RULES) is None


def test_a_runner_that_asks_for_the_queue_gets_it_unless_it_does_nothing_else() -> None:
    assert successor(job(5, attempt=2), ended(Ending.REQUEUED, status=75), END, RULES) == Successor(
        Schedule(), 1
    )
    attempt = 1
    while (
        follows := successor(job(5, attempt=attempt), ended(Ending.REQUEUED, 0.1, 75), END, RULES)
    ) is not None:
        assert follows.schedule.not_before is None
        attempt = follows.attempt
    assert attempt == 3


def test_a_paused_job_comes_back_held_whether_it_was_stopped_or_asked_for_it() -> None:
    for ending in (Ending.STOPPED, Ending.REQUEUED):
        follows = successor(
            job(5, Schedule(group="eval")), ended(ending), StopWish(StopAim.PAUSE, "paused by hand"), RULES
        )
        assert follows == Successor(Schedule(group="eval", held="paused by hand"), 1)
    assert (
        successor(job(5), ended(Ending.SUCCEEDED), StopWish(StopAim.PAUSE, "paused by hand"), RULES) is None
    )


def test_a_restart_of_the_machine_is_survived_only_where_that_is_asked_for() -> None:
    interrupted = HowItEnded(Ending.LOST, NOW, 600.0, interrupted=True)
    assert successor(job(5), interrupted, END, RULES) is None
    follows = successor(job(5), interrupted, END, RetryRules(resume=True))
    assert follows is not None
    assert follows.schedule == Schedule(group=DEFAULT_GROUP)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate", True),
        ("OSError: [Errno 12] Cannot allocate memory", True),
        ("KeyError: 'memory'", False),
        ("", False),
    ],
)
def test_an_out_of_memory_is_known_by_the_words_of_those_who_raise_it(words: str, expected: bool) -> None:
    assert out_of_memory(words) is expected


@pytest.mark.parametrize("text", ["", "two words", "a:b", "a,b", "-a", "a\nb", "a" * (LONGEST_GROUP + 1)])
def test_what_is_no_plain_word_names_no_group(text: str) -> None:
    with pytest.raises(ValueError, match="a group's name is one word"):
        group_name(text)


def test_a_plain_word_names_a_group() -> None:
    assert [group_name(text) for text in ("a-b", "ö" * LONGEST_GROUP)] == ["a-b", "ö" * LONGEST_GROUP]


def test_only_what_is_paused_calls_for_someone() -> None:
    assert Schedule(held="why", held_for=HeldFor.ERRORS).calls_for_someone
    assert not Schedule(held_for=HeldFor.ERRORS).calls_for_someone
