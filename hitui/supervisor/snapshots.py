"""Snapshots of the jobs on their way to a client: whole ones, and what changed since the one before.

A whole one is `{"jobs": [JOB, …], "supervisor_pid": PID, "code": DIGEST, "queue": QUEUE}`. Whoever watches for `changes` gets one
of them, then lines that hold, besides pid and queue, only `"changed": [JOB, …]`, `"gone": [ID, …]` and
`"waits": [[LINE, [ID, …]], …]`, of which `"kinds": [KIND, …]` says one by one what kind of wait that is: what thousands
of queued jobs wait for changes at once, and is the same for most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from hitui.decoding import convert, json_decoder
from hitui.domain.jobs import Ending, Job, JobRequest, JobsSnapshot, JobState, Queued
from hitui.domain.schedule import Queue, Schedule
from hitui.domain.waits import Wait, WaitKind
from hitui.supervisor import wire


class _JobLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A job as `wire.job_to_wire` writes it."""

    id: int
    request: JobRequest
    created_at: float
    state: str
    detail: object
    log: str
    events: str
    task_count: int | None
    schedule: Schedule = Schedule()
    place: float = 0.0
    attempt: int = 1
    replaces: int | None = None
    successor: int | None = None


class _Detail(msgspec.Struct, frozen=True, gc=False):
    """What any of the states holds."""

    waits_for: str = ""
    kind: WaitKind = WaitKind.TURN
    gpus: tuple[str, ...] = ()
    since: float = 0.0
    pid: int | None = None
    started_at: float | None = None
    asked_at: float = 0.0
    stalled_since: float | None = None
    ending: Ending = Ending.LOST
    ended_at: float = 0.0
    reason: str = ""
    exit_status: int | None = None
    signal: int | None = None
    peak_memory: int | None = None


class _ReadJob(_JobLine, frozen=True, gc=False):
    detail: _Detail


class _Line(msgspec.Struct, gc=False):
    """One line of the supervisor: a whole snapshot, changes, or a refusal."""

    jobs: list[_ReadJob] | None = None
    changed: list[_ReadJob] = []
    gone: list[int] = []
    waits: list[tuple[str, list[int]]] = []
    kinds: list[WaitKind] = []
    """Of each of `waits`; beside them, and empty where a supervisor from before an upgrade says nothing of it."""
    supervisor_pid: int | None = None
    code: str | None = None
    queue: Queue = Queue()
    error: str | None = None
    message: str = ""


_decode = json_decoder(_Line)


def whole(snapshot: JobsSnapshot) -> dict[str, object]:
    """A whole snapshot, for `wire.encode_told`."""
    return {
        "jobs": list(map(_told, snapshot.jobs)),
        "supervisor_pid": snapshot.supervisor_pid,
        "code": snapshot.supervisor_code,
        "queue": snapshot.queue,
    }


def changes(
    changed: Iterable[Job],
    gone: Sequence[int],
    waits: Mapping[Wait, Sequence[int]],
    supervisor_pid: int,
    queue: Queue,
) -> dict[str, object]:
    """What changed, for `wire.encode_told`; `waits` says for each wait the queued jobs that have it now."""
    return {
        "changed": list(map(_told, changed)),
        "gone": gone,
        "waits": [(wait.words, job_ids) for wait, job_ids in waits.items()],
        "kinds": [wait.kind for wait in waits],
        "supervisor_pid": supervisor_pid,
        "queue": queue,
    }


def read_whole(line: bytes) -> JobsSnapshot:
    """A whole snapshot. Raises the error of a refusal, ValueError for what is neither."""
    return SnapshotReader().read(line)


class SnapshotReader:
    """Puts together what one supervisor sends, line by line."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._code = ""

    def read(self, line: bytes) -> JobsSnapshot:
        """The jobs as they stand with this line. Raises the error of a refusal, ValueError for no line of ours."""
        read = _read(line)
        if read.error is not None:
            wire.raise_error({"error": read.error, "message": read.message})
        if read.jobs is not None:
            self._jobs = {job.id: job for job in map(_job, read.jobs)}
            self._code = read.code or ""
        for job_id in read.gone:
            self._jobs.pop(job_id, None)
        for job in map(_job, read.changed):
            self._jobs[job.id] = job
        unsaid = [WaitKind.TURN] * (len(read.waits) - len(read.kinds))
        for (text, job_ids), kind in zip(read.waits, [*read.kinds, *unsaid], strict=True):
            state = Queued(text, kind)
            for job_id in job_ids:
                known = self._jobs.get(job_id)
                if known is not None and isinstance(known.state, Queued):
                    self._jobs[job_id] = replace(known, state=state)
        jobs = self._jobs
        in_order = tuple([jobs[job_id] for job_id in sorted(jobs)])
        return JobsSnapshot(in_order, read.supervisor_pid, read.queue, self._code)


def _read(line: bytes) -> _Line:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A ValidationError is a ValueError.
        return convert(wire.decode_odd(line), _Line)


def _told(job: Job) -> _JobLine:
    return _JobLine(
        job.id,
        job.request,
        job.created_at,
        wire.STATE_NAMES[type(job.state)],
        job.state,
        job.log,
        job.events,
        job.task_count,
        job.schedule,
        job.place,
        job.attempt,
        job.replaces,
        job.successor,
    )


def _job(line: _ReadJob) -> Job:
    return Job(
        line.id,
        line.request,
        line.created_at,
        Queued(line.detail.waits_for, line.detail.kind)
        if line.state == "queued"
        else _state(line.state, line.detail),
        line.log,
        line.events,
        line.task_count,
        line.schedule,
        line.place,
        line.attempt,
        line.replaces,
        line.successor,
    )


def _state(name: str, detail: _Detail) -> JobState:
    try:
        kind = wire.STATES[name]
    except KeyError as error:
        raise ValueError(f"a supervisor of another version: it speaks of the state {name!r}") from error
    return kind(**{field: getattr(detail, field) for field in kind.__struct_fields__})
