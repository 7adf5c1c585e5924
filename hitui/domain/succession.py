"""Whether a job that ended takes its place in the queue again, and when. Values in, values out.

A runner that asks for it, a job that was paused and one whose GPU was lost go back at once. A crash is tried
again after pauses that grow, a few times, and then left with its reason; not where a retry would end the same
way: an out-of-memory, wrong usage, a setup at fault, a program that cannot be executed; nor what someone outside of
hitui ended.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Sequence
from enum import Enum

import msgspec
from msgspec.structs import replace

from hitui.domain.jobs import RESUME_REFUSED, SETUP_STATUS, Ending, Job
from hitui.domain.schedule import HeldFor, Schedule

QUICK_SECONDS = 10.0
"""A job that ends within so long of its start has done nothing; `[queue] quick` says otherwise."""
QUICK_ATTEMPTS = 2
"""A job that dies as soon as it is started is not started more often."""
QUICK_DEATHS = 2
"""After so many jobs in a row that died within seconds, no more of their group is started."""
MOST_REQUEUES = 3
"""How often in a row a runner may ask for the queue as soon as it is started."""
GROWTH = 4.0
"""By how much each pause is longer than the one before."""
LONGEST_PAUSE = 3600.0
WRONG_USAGE = 2
_DIED = " failed at their start"
_OOM_LINES = 20
"""An out-of-memory stands within the last lines of a log, though seldom in the very last: libraries complain
while they are torn down."""
_OUTSIDE = frozenset({signals.SIGTERM, signals.SIGINT, signals.SIGHUP})
"""Signals by which a person or the machine asks a program to end."""

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY|can(no|')t allocate memory", re.IGNORECASE
)


class RetryRules(msgspec.Struct, frozen=True):
    """What the settings say of jobs that crash."""

    retries: int = 2
    """How often; 0: never."""
    pause: float = 15.0
    """Seconds before the first retry."""
    resume: bool = False
    """Whether a job that the machine's restart interrupted goes on by itself, as often as it is tried again
    after a crash, and once at least: it may be what brings the machine down."""
    quick: float = QUICK_SECONDS
    """Seconds within which a job that ends has done nothing."""


class StopAim(str, Enum):
    """To what end a job is stopped."""

    END = "end"
    PAUSE = "pause"
    """Queued again, and held."""
    PAUSE_FAILING = "pause_failing"
    """The same, because its tasks fail."""
    REQUEUE = "requeue"
    """Queued again, to start as soon as it can."""
    RETRY = "retry"
    """Taken for a crash."""

    @property
    def pauses(self) -> bool:
        return self in (StopAim.PAUSE, StopAim.PAUSE_FAILING)


class StopWish(msgspec.Struct, frozen=True):
    """A wish that a job stop."""

    aim: StopAim = StopAim.END
    reason: str = ""
    """One line."""


END = StopWish()


class HowItEnded(msgspec.Struct, frozen=True):
    """What decides, of a job's end."""

    ending: Ending
    at: float
    """Seconds since the epoch."""
    ran_seconds: float | None = None
    """None: it never ran."""
    exit_status: int | None = None
    last_words: str = ""
    """The end of its log, some lines of it."""
    interrupted: bool = False
    """The machine was restarted while it ran."""
    signal: int | None = None
    out_of_memory: bool = False
    """The kernel ended it for lack of main memory."""
    answered: int = 0
    """Tasks that it got an answer to, as far as its event lines say."""


class Successor(msgspec.Struct, frozen=True):
    """The job that takes the place of one that ended."""

    schedule: Schedule
    attempt: int
    why: str = ""
    """For the reason of the one that ended; empty: its ending says it."""


class Toll(msgspec.Struct, frozen=True):
    """What a group has paid in jobs that died at once, one after the other."""

    died: tuple[int, ...] = ()
    """The last of them, oldest first."""
    pause: str = ""
    """Why the group starts no more jobs; empty: it goes on."""


def is_quick(end: HowItEnded, quick: float = QUICK_SECONDS) -> bool:
    """Whether it ended as soon as it was started; not where it answered something in that time."""
    return end.ran_seconds is not None and end.ran_seconds <= quick and end.answered == 0


def setup_at_fault(end: HowItEnded) -> bool:
    """Whether its runner says that it would fail the same way until someone changes its setup."""
    return end.exit_status == SETUP_STATUS


def toll_of(
    job: Job, end: HowItEnded, paid: Sequence[int], queued: Sequence[Job], quick: float, last_words: str
) -> Toll | None:
    """What a group has paid once this job of it has ended; None: this end says nothing of the group.

    `paid` is what it had paid before, `queued` every job that waits. A group in which nothing waits but new
    tries of those that died is left alone: these are few.
    """
    if end.ending is Ending.STOPPED or refused_to_mix(end):
        return None
    # Others of the group, which often have the same setup, would fail too, however long it takes to load what is there.
    at_start = is_quick(end, quick) or (setup_at_fault(end) and end.answered == 0)
    died = end.ending is Ending.NOT_STARTED or (end.ending is Ending.FAILED and at_start)
    if not died:
        return Toll()
    dead = (*paid, job.id)[-QUICK_DEATHS:]
    group = job.schedule.group
    others = any(
        other.schedule.group == group and other.replaces not in dead and not _is_try_of_sibling(other, job)
        for other in queued
    )
    if len(dead) < QUICK_DEATHS or not others:
        return Toll(dead)
    return Toll(pause=quick_deaths_reason(dead, last_words))


def _is_try_of_sibling(other: Job, job: Job) -> bool:
    """Whether it took the place of a shard of the same split: these die together, of the same cause."""
    own, others = job.request.shard, other.request.shard
    return own is not None and others is not None and own.split == others.split and other.replaces is not None


def quick_deaths_reason(died: Sequence[int], last_words: str) -> str:
    """Why a group starts no more jobs after these: `#12 and #13 failed at their start: no module named torch`."""
    named = " and ".join(f"#{number}" for number in died)
    return f"{named}{_DIED}" + (f": {last_words}" if last_words else "")


def died_at_once(reason: str) -> bool:
    """Whether a group is paused for that reason, and not because someone asked for it."""
    return reason.startswith("#") and _DIED in reason


def out_of_memory(last_words: str) -> bool:
    """Whether a log ends in an out-of-memory, in the words of torch, CUDA and libc."""
    last_lines = [line for line in last_words.splitlines() if line.strip()][-_OOM_LINES:]
    return _OUT_OF_MEMORY.search("\n".join(last_lines)) is not None


def refused_to_mix(end: HowItEnded) -> bool:
    """Whether our own runner would have mixed answers with those of other settings: a matter of this config alone."""
    return end.exit_status == WRONG_USAGE and RESUME_REFUSED in end.last_words


def ended_from_outside(end: HowItEnded) -> bool:
    """Whether someone who is not hitui asked the runner to end, by signal or by the status that stands for it."""
    asked = end.signal if end.signal is not None else (end.exit_status or 0) - 128
    return end.ending is Ending.FAILED and asked in _OUTSIDE


def successor(job: Job, end: HowItEnded, wish: StopWish, rules: RetryRules) -> Successor | None:
    """What takes the job's place; None: nothing does. `wish`: to what end it was asked to stop, if it was."""
    onward = Schedule(job.schedule.priority, job.schedule.group)
    if end.ending in (Ending.STOPPED, Ending.REQUEUED):
        if wish.aim.pauses:
            held_for = HeldFor.WISH if wish.aim is StopAim.PAUSE else HeldFor.ERRORS
            return Successor(replace(onward, held=wish.reason, held_for=held_for), job.attempt)
        if wish.aim is StopAim.REQUEUE:
            return Successor(onward, job.attempt)
    if end.ending is Ending.REQUEUED:
        if not is_quick(end, rules.quick):
            return Successor(onward, 1)
        return Successor(onward, job.attempt + 1) if job.attempt < MOST_REQUEUES else None
    if end.ending is Ending.LOST and end.interrupted:
        return _resumed(job, onward, rules) if rules.resume else None
    if end.ending is not Ending.FAILED or left_because(job, end, rules):
        return None
    pause = retry_pause(job.attempt + 1, rules)
    return Successor(
        replace(onward, not_before=end.at + pause, pause=pause),
        job.attempt + 1,
        f"tried again after {_duration(pause)}, attempt {job.attempt + 1} of {rules.retries + 1}",
    )


def _resumed(job: Job, onward: Schedule, rules: RetryRules) -> Successor:
    """After a restart of the machine. Who wants jobs to be resumed wants it once at least."""
    most = max(1, rules.retries) + 1
    if job.attempt < most:
        return Successor(
            onward, job.attempt + 1, f"it resumes by itself, attempt {job.attempt + 1} of {most}"
        )
    held = f"a restart of the machine ended attempt {job.attempt} of {most}, and it may be why"
    # Someone who lets it go on then has thought of it: it counts anew.
    return Successor(replace(onward, held=held, held_for=HeldFor.RESTARTS), 1, f"paused: {held}")


def left_because(job: Job, end: HowItEnded, rules: RetryRules) -> str:
    """Why a job that failed is not tried again; empty: it is."""
    if rules.retries == 0:
        return "no retries are allowed"
    if refused_to_mix(end):
        return "it would be refused again"
    if end.exit_status == WRONG_USAGE:
        return "it would be used wrongly again"
    if setup_at_fault(end):
        return "it would fail the same way until its setup changes"
    if end.out_of_memory or out_of_memory(end.last_words):
        return "it would run out of memory again"
    if ended_from_outside(end):
        return "someone outside of hitui ended it"
    if job.attempt > rules.retries:
        return f"it was attempt {job.attempt} of {rules.retries + 1}"
    if is_quick(end, rules.quick) and job.attempt >= QUICK_ATTEMPTS:
        return f"attempt {job.attempt} too ended within {rules.quick:g} s"
    return ""


def retry_pause(attempt: int, rules: RetryRules) -> float:
    """Seconds before an attempt, the second or a later one."""
    return min(rules.pause * GROWTH ** min(attempt - 2, 30), LONGEST_PAUSE)


def after_clock_change(schedule: Schedule, now: float) -> Schedule:
    """The schedule of a job that pauses, put right after the clock was set back; itself otherwise."""
    if schedule.pause is None or schedule.not_before is None or schedule.not_before - now <= schedule.pause:
        return schedule
    return replace(schedule, not_before=now + schedule.pause)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
