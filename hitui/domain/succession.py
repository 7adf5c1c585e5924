"""Whether a job that ended takes its place in the queue again, and when. Values in, values out.

A runner that asks for it, and a job that was paused, go back at once. A crash is tried again after pauses that
grow, a few times, and then left with its reason; not where a retry would end the same way: an out-of-memory,
wrong usage, a program that cannot be executed.
"""

from __future__ import annotations

import re

import msgspec

from hitui.domain.jobs import Ending, Job
from hitui.domain.schedule import Schedule

QUICK_SECONDS = 10.0
"""A job that ends within so long of its start has done nothing."""
QUICK_ATTEMPTS = 2
"""A job that dies as soon as it is started is not started more often."""
MOST_REQUEUES = 3
"""How often in a row a runner may ask for the queue as soon as it is started."""
GROWTH = 4.0
"""By how much each pause is longer than the one before."""
LONGEST_PAUSE = 3600.0
WRONG_USAGE = 2

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
    """Whether a job that the machine's restart interrupted goes on by itself."""


class HowItEnded(msgspec.Struct, frozen=True):
    """What decides, of a job's end."""

    ending: Ending
    at: float
    """Seconds since the epoch."""
    ran_seconds: float | None = None
    """None: it never ran."""
    exit_status: int | None = None
    last_words: str = ""
    """The end of its log."""
    interrupted: bool = False
    """The machine was restarted while it ran."""


class Successor(msgspec.Struct, frozen=True):
    """The job that takes the place of one that ended."""

    schedule: Schedule
    attempt: int
    why: str = ""
    """For the reason of the one that ended; empty: its ending says it."""


def is_quick(end: HowItEnded) -> bool:
    return end.ran_seconds is not None and end.ran_seconds <= QUICK_SECONDS


def out_of_memory(last_words: str) -> bool:
    """Whether a log ends in an out-of-memory, in the words of torch, CUDA and libc."""
    return _OUT_OF_MEMORY.search(last_words) is not None


def successor(job: Job, end: HowItEnded, pause: str, rules: RetryRules) -> Successor | None:
    """What takes the job's place; None: nothing does. `pause`: why it was to be paused, empty: it was not."""
    onward = Schedule(job.schedule.priority, job.schedule.group)
    if pause and end.ending in (Ending.STOPPED, Ending.REQUEUED):
        return Successor(msgspec.structs.replace(onward, held=pause), job.attempt)
    if end.ending is Ending.REQUEUED:
        if not is_quick(end):
            return Successor(onward, 1)
        return Successor(onward, job.attempt + 1) if job.attempt < MOST_REQUEUES else None
    if end.ending is Ending.LOST and end.interrupted:
        return Successor(onward, job.attempt, "it resumes by itself") if rules.resume else None
    if end.ending is not Ending.FAILED or end.exit_status == WRONG_USAGE or out_of_memory(end.last_words):
        return None
    if job.attempt > rules.retries or (is_quick(end) and job.attempt >= QUICK_ATTEMPTS):
        return None
    pause_seconds = min(rules.pause * GROWTH ** (job.attempt - 1), LONGEST_PAUSE)
    return Successor(
        msgspec.structs.replace(onward, not_before=end.at + pause_seconds),
        job.attempt + 1,
        f"tried again in {_duration(pause_seconds)}, attempt {job.attempt + 1} of {rules.retries + 1}",
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
