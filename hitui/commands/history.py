"""`hitui history`: every job that there was; with a job's number, all that is on record of it."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from typing import Any

from hitui.commands.job_naming import configs_of
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless
from hitui.commands.scheduling import whole_number
from hitui.commands.tables import iso_time, lines_of
from hitui.domain.jobs import Ended, Job, Running, Stopping
from hitui.domain.records import GpuUse, JobRecord
from hitui.domain.units import duration_words, moment, parse_duration
from hitui.services.history import HistoryEntry, HistoryService

_GIB = 2**30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        metavar="CONFIG|JOB",
        help="only jobs on a config; or all of one job, by its number",
    )
    parser.add_argument(
        "--since",
        type=_duration,
        metavar="TIME",
        help="only what ended within the last 7d, 12h, … or goes on",
    )
    parser.add_argument(
        "--last", type=_count, metavar="N", help="only the last N jobs of these; the newest is the last line"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects; of one job, one object")


def run(arguments: argparse.Namespace) -> int:
    history = HistoryService(open_for_jobs(arguments.workspace).paths)
    if arguments.what is not None and arguments.what.isdecimal():
        entry = history.job(int(arguments.what))
        if arguments.json:
            print(json.dumps(as_object(entry), indent=2))
        else:
            print("\n".join(_in_full(entry)))
        return 0
    since = None if arguments.since is None else time.time() - arguments.since
    entries = history.jobs(arguments.what, since, arguments.last)
    if arguments.json:
        print(json.dumps([as_object(entry) for entry in entries], indent=2))
    elif entries:
        print("\n".join(_table(entries)))
    else:
        print("no jobs" if since is None else "no jobs in that time")
    return 0


def as_object(entry: HistoryEntry) -> dict[str, Any]:
    """One launch as `--json` prints it: memory in bytes, times in ISO 8601 with the offset from UTC."""
    job, record = entry.job, entry.record or JobRecord()
    ended = job.state if isinstance(job.state, Ended) else None
    gpus = record.gpus or tuple(map(GpuUse, job.gpus))
    return {
        "id": job.id,
        "config": job.request.config,
        "configs": list(job.request.configs),
        "state": job.word,
        "attempt": job.attempt,
        "replaces": job.replaces,
        "successor": job.successor,
        "created": iso_time(job.created_at),
        "started": iso_time(_started(job)),
        "ended": iso_time(ended.ended_at if ended else None),
        "seconds": _seconds(job),
        "exit_status": ended.exit_status if ended else None,
        "signal": ended.signal if ended else None,
        "reason": ended.reason if ended else "",
        "tasks": job.task_count,
        "done": record.done,
        "failed": record.failed,
        "peak_memory": ended.peak_memory if ended else None,
        "gpus": [
            {"uuid": use.uuid, "index": use.label, "name": use.name, "peak_memory": use.peak_memory}
            for use in gpus
        ],
        "command": list(record.command),
        "cwd": record.cwd or None,
        "environment": record.environment,
        "versions": record.versions,
        "commit": record.commit or None,
        "branch": record.branch or None,
        "log": job.log or None,
    }


def _table(entries: tuple[HistoryEntry, ...]) -> list[str]:
    rows = []
    for job, record in ((entry.job, entry.record or JobRecord()) for entry in entries):
        ended = job.state if isinstance(job.state, Ended) else None
        seconds = _seconds(job)
        rows.append(
            (
                str(job.id),
                configs_of(job),
                job.word,
                _number(record.done),
                _number(record.failed),
                "" if seconds is None else duration_words(seconds),
                _memory(_peak(record)),
                moment(ended.ended_at, time.time()) if ended else "",
                ended.reason if ended else "",
            )
        )
    header = ("job", "config", "state", "done", "failed", "took", "GPU memory", "ended", "")
    return lines_of(header, rows, "><<>>>><<")


def _in_full(entry: HistoryEntry) -> list[str]:
    job, record = entry.job, entry.record
    state = job.state
    facts = [
        ("job", f"{job.id}, attempt {job.attempt}" + (f", after {job.replaces}" if job.replaces else ""))
    ]
    facts += [*(("config", name) for name in job.request.configs), ("state", job.word)]
    if isinstance(state, Ended):
        if state.reason:
            facts.append(("reason", state.reason))
        status = state.exit_status if state.signal is None else f"ended by signal {state.signal}"
        facts.append(("exit status", "not recorded" if status is None else str(status)))
    facts.append(("created", iso_time(job.created_at) or ""))
    facts.append(("started", iso_time(_started(job)) or "never"))
    if isinstance(state, Ended):
        facts.append(("ended", iso_time(state.ended_at) or ""))
        seconds = _seconds(job)
        if seconds is not None:
            facts.append(("took", duration_words(seconds)))
        facts.append(("main memory", _at_most(state.peak_memory)))
    if job.task_count is not None:
        facts.append(("tasks", str(job.task_count)))
    if record is None:
        facts.append(("record", "none: it was not launched, or by a hitui that kept none"))
        return _lines(facts)
    if record.done is not None:
        facts.append(("done", f"{record.done}, failed {record.failed}"))
    for use in record.gpus or tuple(map(GpuUse, job.gpus)):
        named = " ".join(filter(None, (use.label, use.name, use.uuid)))
        facts.append(("GPU", f"{named}, memory {_at_most(use.peak_memory)}"))
    facts.append(("command", shlex.join(record.command) or "not recorded"))
    facts.append(("in", record.cwd or "not recorded"))
    facts += [("environment", f"{name}={value}") for name, value in record.environment.items()]
    facts += [("version", f"{name} {version}") for name, version in record.versions.items()]
    facts.append(("commit", _commit(record)))
    facts.append(("log", job.log))
    return _lines(facts)


def _lines(facts: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in facts)
    shown = ""
    lines = []
    for name, value in facts:
        lines.append(f"{'' if name == shown else name:<{width}}  {harmless(value)}")
        shown = name
    return lines


def _commit(record: JobRecord) -> str:
    if record.commit is None:
        return "not recorded"
    if not record.commit:
        return "the workspace is in no git repository, or nothing was committed"
    branch = f" on {record.branch}" if record.branch else ""
    return f"{record.commit}{branch}; whether files differed from it is not known"


def _peak(record: JobRecord) -> int | None:
    """Of all its GPUs together."""
    peaks = [use.peak_memory for use in record.gpus if use.peak_memory is not None]
    return sum(peaks) if peaks else None


def _started(job: Job) -> float | None:
    state = job.state
    return state.started_at if isinstance(state, (Running, Stopping, Ended)) else None


def _seconds(job: Job) -> float | None:
    started = _started(job)
    if started is None or not isinstance(job.state, Ended):
        return None
    return max(0.0, round(job.state.ended_at - started, 1))


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _memory(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / 2**20:.0f} MiB"


def _at_most(size: int | None) -> str:
    return "not recorded" if size is None else f"at most {_memory(size)}"


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    return whole_number(text, 1, 10**9, "a number of jobs from 1 on is expected")
