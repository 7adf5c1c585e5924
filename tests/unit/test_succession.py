"""What follows a job that ended and what its group pays for it, for any rules; and pauses when the clock is set."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import Ending, Job, JobRequest, Queued, Shard, decide_ending
from hitui.domain.placement import GpuHistory, GpuRules, Need, held_seconds
from hitui.domain.queue import Standing, own_wait
from hitui.domain.schedule import HeldFor, Schedule
from hitui.domain.succession import (
    END,
    LONGEST_PAUSE,
    HowItEnded,
    RetryRules,
    StopAim,
    StopWish,
    Successor,
    Toll,
    after_clock_change,
    died_at_once,
    is_quick,
    left_because,
    out_of_memory,
    successor,
    toll_of,
)

NOW = 1_700_000_000.0
RULES = st.builds(
    RetryRules,
    retries=st.integers(0, 300),
    pause=st.floats(0, 1e6),
    resume=st.booleans(),
    quick=st.floats(0, 100),
)
ENDS = st.builds(
    HowItEnded,
    st.sampled_from(list(Ending)),
    st.just(NOW),
    st.none() | st.floats(0, 1e6),
    st.none() | st.sampled_from([0, 1, 2, 75, 78, 143]),
    st.sampled_from(["", "CUDA out of memory", "KeyError: 'x'"]),
    st.booleans(),
    st.none() | st.sampled_from([1, 2, 6, 9, 11, 15]),
    st.booleans(),
)
WISHES = st.builds(StopWish, st.sampled_from(list(StopAim)), st.sampled_from(["", "lunch"]))


def job(number: int = 5, group: str = "default", attempt: int = 1, replaces: int | None = None) -> Job:
    schedule = Schedule(group=group)
    return Job(number, JobRequest("a"), NOW, Queued(), schedule=schedule, attempt=attempt, replaces=replaces)


@given(RULES)
def test_no_crash_is_tried_for_ever_and_no_pause_is_longer_than_the_longest(rules: RetryRules) -> None:
    known = job()
    crash = HowItEnded(Ending.FAILED, NOW, 1e9, 1)
    tries = 0
    while (follows := successor(known, crash, END, rules)) is not None:
        tries += 1
        assert follows.schedule.pause is not None
        assert follows.schedule.pause <= LONGEST_PAUSE
        assert follows.schedule.not_before == NOW + follows.schedule.pause
        known = job(attempt=follows.attempt)
    assert tries == rules.retries
    assert left_because(known, crash, rules)


@given(ENDS, WISHES, RULES, st.integers(1, 5))
def test_what_succeeded_or_was_stopped_for_good_never_runs_again(
    end: HowItEnded, wish: StopWish, rules: RetryRules, attempt: int
) -> None:
    follows = successor(job(attempt=attempt), end, wish, rules)
    if end.ending in (Ending.SUCCEEDED, Ending.NOT_STARTED):
        assert follows is None
    if end.ending is Ending.STOPPED:
        assert (follows is not None) == (wish.aim.pauses or wish.aim is StopAim.REQUEUE)
    if end.ending is Ending.FAILED:
        assert (follows is None) == bool(left_because(job(attempt=attempt), end, rules))


def test_a_job_whose_gpu_was_lost_goes_back_without_having_used_up_a_try() -> None:
    wish = StopWish(StopAim.REQUEUE, "GPU 3 is lost")
    for ending in (Ending.STOPPED, Ending.REQUEUED):
        end = HowItEnded(ending, NOW, 1.0, 75)
        assert successor(job(attempt=2), end, wish, RetryRules()) == Successor(Schedule(), 2)


@given(RULES)
@example(RetryRules(retries=1, resume=True))
def test_a_job_that_the_machine_goes_down_with_is_not_resumed_for_ever(rules: RetryRules) -> None:
    known = job()
    down = HowItEnded(Ending.LOST, NOW, 3600.0, interrupted=True)
    resumed = 0
    while (follows := successor(known, down, END, rules)) is not None and not follows.schedule.held:
        resumed += 1
        assert follows.schedule == Schedule()
        known = job(attempt=follows.attempt)
    if not rules.resume:
        assert (follows, resumed) == (None, 0)
        return
    # Whoever asks for it gets it once at least.
    assert resumed == max(1, rules.retries)
    assert follows is not None
    assert follows.schedule.held_for is HeldFor.RESTARTS
    assert follows.schedule.calls_for_someone
    # Who lets it go on then has it counted anew.
    assert follows.attempt == 1


def test_shards_that_die_together_stop_no_group_in_which_nothing_but_their_new_tries_waits() -> None:
    died = HowItEnded(Ending.FAILED, NOW, 2.0, 1)

    def shard(number: int, replaces: int | None = None) -> Job:
        request = JobRequest("a", shard=Shard(1, (replaces or number) - 1, 4, (number,)))
        return msgspec.structs.replace(job(number, replaces=replaces), request=request)

    paid: tuple[int, ...] = ()
    tries: list[Job] = []
    for number in (1, 2, 3, 4):
        toll = toll_of(shard(number), died, paid, tries, 10.0, "")
        assert toll == Toll((*paid, number)[-2:])
        paid = toll.died
        tries.append(shard(number + 4, replaces=number))
    for other in (job(9), shard(10)):
        toll = toll_of(tries[-1], died, paid, [*tries, other], 10.0, "")
        assert toll is not None
        assert toll.pause == "#4 and #8 failed at their start"


def test_a_pause_says_if_someone_asked_for_it() -> None:
    stopped = HowItEnded(Ending.STOPPED, NOW, 60.0)
    asked, failing = (
        successor(job(), stopped, StopWish(aim, "why"), RetryRules())
        for aim in (StopAim.PAUSE, StopAim.PAUSE_FAILING)
    )
    assert asked == Successor(Schedule(held="why"), 1)
    assert failing == Successor(Schedule(held="why", held_for=HeldFor.ERRORS), 1)
    assert [one.schedule.calls_for_someone for one in (asked, failing) if one] == [False, True]


def test_what_the_kernel_ended_for_lack_of_memory_is_left_and_says_so() -> None:
    end = HowItEnded(Ending.FAILED, NOW, 600.0, signal=9, out_of_memory=True)
    assert left_because(job(), end, RetryRules()) == "it would run out of memory again"
    assert left_because(job(), HowItEnded(Ending.FAILED, NOW, 600.0, signal=9), RetryRules()) == ""
    ended = decide_ending(status=None, signal=9, error=None, stop_asked=False, out_of_memory=True)
    assert ended == (Ending.FAILED, "ended by SIGKILL; the kernel ended it for lack of memory")


def test_an_out_of_memory_is_found_above_the_complaints_that_follow_it_and_no_further() -> None:
    complaint = "Exception ignored in: <function destroy>\n"
    assert out_of_memory("CUDA out of memory\n" + complaint * 19)
    assert not out_of_memory("CUDA out of memory\n" + complaint * 20)
    assert out_of_memory("CUDA out of memory\n" + "\n \n" * 20)


QUEUES = st.lists(
    st.builds(
        lambda number, group, replaces: job(number, group, replaces=replaces),
        st.integers(10, 30),
        st.sampled_from(["default", "eval"]),
        st.none() | st.integers(1, 9),
    )
)


@given(st.lists(st.tuples(st.integers(1, 9), ENDS), unique_by=lambda entry: entry[0]), QUEUES)
def test_a_group_stops_after_two_deaths_in_a_row_where_something_else_waits(
    course: list[tuple[int, HowItEnded]], queued: list[Job]
) -> None:
    paid: tuple[int, ...] = ()
    row: list[int] = []
    for number, end in course:
        toll = toll_of(job(number), end, paid, queued, 10.0, "no module")
        quick = end.ran_seconds is not None and end.ran_seconds <= 10.0
        if end.ending is Ending.STOPPED:
            assert toll is None
            continue
        assert toll is not None
        of_setup = end.exit_status == 78
        died = end.ending is Ending.NOT_STARTED or (end.ending is Ending.FAILED and (quick or of_setup))
        row = [*row, number] if died else []
        others = [
            other for other in queued if other.schedule.group == "default" and other.replaces not in row[-2:]
        ]
        assert bool(toll.pause) == (len(row) >= 2 and bool(others))
        if toll.pause:
            assert died_at_once(toll.pause)
            assert toll.pause == f"#{row[-2]} and #{row[-1]} failed at their start: no module"
            row = []
        else:
            assert toll == Toll(tuple(row[-2:]))
        paid = toll.died


@given(st.none() | st.floats(0, 1e4), st.none() | st.floats(NOW - 1e6, NOW + 1e6), st.floats(-1e6, 1e6))
def test_a_pause_never_lies_further_ahead_than_it_is_long_whatever_the_clock_did(
    pause: float | None, not_before: float | None, change: float
) -> None:
    schedule = Schedule(pause=pause, not_before=not_before)
    now = NOW + change
    mended = after_clock_change(schedule, now)
    if pause is None or not_before is None:
        assert mended is schedule
        return
    assert mended.not_before is not None
    assert mended.not_before <= max(not_before, now)
    assert mended.not_before in (not_before, now + pause)
    assert mended.not_before - now <= pause * (1 + 1e-9) + 1e-6
    assert after_clock_change(mended, now + 1e-3).not_before == mended.not_before
    waiting = Job(5, JobRequest("a"), NOW, Queued(), schedule=mended)
    assert own_wait(waiting, Standing(max(mended.not_before, now))) is None


@pytest.mark.parametrize("change", [-86400.0, -3.0, 3.0, 86400.0])
def test_a_hold_time_passes_though_the_clock_is_set(change: float) -> None:
    rules = GpuRules(hold=10.0)
    history = GpuHistory()
    gpu = Gpu(0, "GPU-0", "x", memory_total=8, memory_used=0, memory_free=8, utilization=0)
    for second in range(25):
        taken_at = NOW + second + (change if second >= 12 else 0.0)
        history = history.observe(GpuSnapshot(taken_at, "simulated", (gpu,)), rules.hold)
    held = held_seconds(history, "GPU-0", Need(1), rules, {})
    assert held is not None
    assert held >= rules.hold


def test_a_job_that_answered_something_did_not_die_at_once() -> None:
    quick = HowItEnded(Ending.FAILED, NOW, 2.0, 1)
    busy = msgspec.structs.replace(quick, answered=13)
    assert (is_quick(quick), is_quick(busy)) == (True, False)
    assert toll_of(job(), quick, (), (), 10.0, "") == Toll((job().id,))
    assert toll_of(job(), busy, (), (), 10.0, "") == Toll()


def test_a_run_whose_setup_is_at_fault_is_left_and_counts_as_dead_however_long_it_took_to_load() -> None:
    end = HowItEnded(Ending.FAILED, NOW, 90.0, 78, last_words="error: no module named torch")
    assert left_because(job(), end, RetryRules()) == "it would fail the same way until its setup changes"
    assert successor(job(), end, END, RetryRules()) is None
    assert toll_of(job(), end, (4,), (), 10.0, "no torch") == Toll((4, 5))
    # Others of the runner would die too.
    toll = toll_of(job(), end, (4,), (job(6),), 10.0, "no torch")
    assert toll == Toll(pause="#4 and #5 failed at their start: no torch")
    assert died_at_once(toll.pause)
    assert not died_at_once("#4 and #5 look strange")
    # One of several configs was at fault, and the others were answered.
    assert toll_of(job(), msgspec.structs.replace(end, answered=13), (4,), (job(6),), 10.0, "") == Toll()


def test_a_run_that_would_mix_answers_is_left_and_says_nothing_of_its_group() -> None:
    line = "error: resume refused: a was 1, now 2; set that back, or mix the answers by --force"
    refused = HowItEnded(Ending.FAILED, NOW, 2.0, 2, last_words=f"2 tasks to run\n{line}\n")
    assert left_because(job(), refused, RetryRules()) == "it would be refused again"
    assert toll_of(job(), refused, (4,), (job(6),), 10.0, "") is None
    wrong = HowItEnded(Ending.FAILED, NOW, 2.0, 2, last_words="error: unrecognized arguments: --x")
    assert left_because(job(), wrong, RetryRules()) == "it would be used wrongly again"
    assert toll_of(job(), wrong, (), (job(6),), 10.0, "") == Toll((job().id,))
