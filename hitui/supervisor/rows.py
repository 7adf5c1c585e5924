"""Rows of the table of jobs as values, and back."""

from __future__ import annotations

import json
import sqlite3

import msgspec
from msgspec.structs import replace

from hitui.decoding import json_decoder
from hitui.domain.jobs import (
    Ended,
    Ending,
    Job,
    JobRequest,
    JobState,
    Queued,
    Running,
    Starting,
    Stopping,
)
from hitui.domain.schedule import Schedule
from hitui.domain.waits import Wait
from hitui.supervisor.wire import request_from_wire

COLUMNS = (
    "id, config, request, created, schedule, place, attempt, replaces, successor, state, gpus, since, pid, started, "
    "stop_asked, ending, ended, reason, exit_status, signal, peak_memory, task_count, log, events, "
    "stalled"
)
"""Those that a job is made of; the environment, which may be large, is none of them."""

_decode_schedule = json_decoder(Schedule)
_decode_request = json_decoder(JobRequest)
_decode_gpus = json_decoder(tuple[str, ...])
_PLAIN = Schedule()
_PLAIN_TEXT = "{}"


class End(msgspec.Struct, frozen=True):
    """All that is recorded of a job's end, the time it started apart."""

    ending: Ending
    reason: str = ""
    at: float | None = None
    """None: now."""
    exit_status: int | None = None
    signal: int | None = None
    peak_memory: int | None = None


def schedule_to_text(schedule: Schedule) -> str:
    return msgspec.json.encode(schedule).decode()


def with_wait(job: Job, wait: Wait) -> Job:
    """A queued job that says what it waits for; any other as it is."""
    return replace(job, state=Queued(wait.words, wait.kind)) if isinstance(job.state, Queued) else job


def job_of(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        request=_request(row["request"]),
        created_at=row["created"],
        state=_state(row),
        log=row["log"],
        events=row["events"],
        task_count=row["task_count"],
        schedule=_PLAIN if row["schedule"] == _PLAIN_TEXT else _decode_schedule(row["schedule"]),
        place=row["place"],
        attempt=row["attempt"],
        replaces=row["replaces"],
        successor=row["successor"],
    )


def _request(text: str) -> JobRequest:
    try:
        return _decode_request(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Python's module knows ids that are no JSON of msgspec: halves of surrogate pairs, the longest numbers.
        return request_from_wire(json.loads(text))


def _state(row: sqlite3.Row) -> JobState:
    state = row["state"]
    if state == "queued":
        return Queued()
    gpus = _decode_gpus(row["gpus"])
    if state == "starting":
        return Starting(gpus, row["since"])
    if state == "running":
        return Running(gpus, row["pid"], row["started"], row["stalled"])
    if state == "stopping":
        return Stopping(gpus, row["pid"], row["started"], row["stop_asked"])
    return Ended(
        ending=Ending(row["ending"]),
        ended_at=row["ended"],
        reason=row["reason"],
        started_at=row["started"],
        exit_status=row["exit_status"],
        signal=row["signal"],
        peak_memory=row["peak_memory"],
        gpus=gpus,
    )
