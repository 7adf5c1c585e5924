"""What the command line understands by jobs, groups, priorities, times and processes, and the options that use it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

from hitui.adapters.processes import find_process
from hitui.commands.tables import minute
from hitui.domain.jobs import Job
from hitui.domain.moments import parse_moment
from hitui.domain.schedule import DEFAULT_GROUP, ProcessMark, Schedule, group_name
from hitui.errors import LaunchError

_T = TypeVar("_T")

HELD = "as --hold asked"
_MOST = 2**63 - 1
"""More than the store can hold as a job's number, and than any pid."""
_MOST_PRIORITY = _MOST_LIMIT = 1_000_000


def add_schedule_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say when a job may start."""
    group = parser.add_argument_group("when they may start")
    group.add_argument(
        "--priority", type=priority, default=0, metavar="N", help="higher ones start first (default: 0)"
    )
    group.add_argument(
        "--group",
        type=group_word,
        default=DEFAULT_GROUP,
        metavar="NAME",
        help="jobs that share a limit and are paused together (default: %(default)s)",
    )
    group.add_argument(
        "--after",
        type=job_numbers,
        default=(),
        metavar="JOB,…",
        help="when these have ended, however they did",
    )
    group.add_argument(
        "--after-success", type=job_numbers, default=(), metavar="JOB,…", help="only if these succeed"
    )
    group.add_argument(
        "--at",
        type=moment,
        metavar="TIME",
        help="not before 22:00 (the next one), '2026-01-31 08:00' or +2h30m",
    )
    group.add_argument(
        "--when-gone",
        type=pids,
        default=(),
        metavar="PID,…",
        help="when these processes, of any user, have ended",
    )
    group.add_argument("--hold", action="store_true", help="queue them, and start none until it is resumed")


def schedule_of(arguments: argparse.Namespace) -> Schedule:
    """What those options say. Raises LaunchError for a process that does not run."""
    marks = []
    for pid in arguments.when_gone:
        process = find_process(pid)
        if process is None:
            raise LaunchError(f"--when-gone: no process {pid} runs (any more); leave it out to start at once")
        marks.append(ProcessMark(process.pid, process.start_time))
    return Schedule(
        priority=arguments.priority,
        group=arguments.group,
        after=arguments.after,
        after_success=arguments.after_success,
        after_processes=tuple(marks),
        not_before=arguments.at,
        held=HELD if arguments.hold else "",
    )


def words_of(job: Job) -> str:
    """What was said of when the job may start, each part behind a comma; empty: nothing."""
    schedule = job.schedule
    parts = []
    if schedule.priority:
        parts.append(f"priority {schedule.priority}")
    if schedule.group != DEFAULT_GROUP:
        parts.append(f"group {schedule.group}")
    if schedule.not_before is not None:
        parts.append(f"not before {minute(schedule.not_before)}")
    parts += [f"after job {other}" for other in schedule.after]
    parts += [f"if job {other} succeeds" for other in schedule.after_success]
    parts += [f"after process {process.pid}" for process in schedule.after_processes]
    if schedule.held:
        parts.append(f"held: `hitui resume {job.id}` lets it start")
    return "".join(f", {part}" for part in parts)


def job_number(text: str) -> int:
    return whole_number(text, 1, _MOST, "the number of a job is expected")


def job_numbers(text: str) -> tuple[int, ...]:
    return _listed(text, job_number)


def pids(text: str) -> tuple[int, ...]:
    return _listed(text, lambda one: whole_number(one, 1, _MOST, "the pid of a process is expected"))


def priority(text: str) -> int:
    return whole_number(
        text,
        -_MOST_PRIORITY,
        _MOST_PRIORITY,
        f"a whole number from -{_MOST_PRIORITY} to {_MOST_PRIORITY} is expected",
    )


def limit(text: str) -> int | None:
    """None for `none`."""
    return (
        None
        if text == "none"
        else whole_number(text, 1, _MOST_LIMIT, f"a number from 1 to {_MOST_LIMIT}, or none, is expected")
    )


def group_word(text: str) -> str:
    return _refused(group_name, text)


def moment(text: str) -> float:
    return _refused(lambda known: parse_moment(known, time.time()), text)


def whole_number(text: str, least: int, most: int, expected: str) -> int:
    """From `least` to `most`. Raises argparse's error, which says what is `expected`."""
    # Longer ones are not turned into numbers at all: Python refuses that.
    digits = text.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{expected}, not {text!r}")
    return int(text)


def _listed(text: str, read: Callable[[str], int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(read(part) for part in text.split(",")))


def _refused(read: Callable[[str], _T], text: str) -> _T:
    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
