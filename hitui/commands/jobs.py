"""`hitui jobs`: what runs, what waits and for what, what ended and how."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hitui.commands.job_naming import configs_of, pauses, read_jobs, waits_for_group
from hitui.commands.launching import progress_line
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import warn
from hitui.commands.tables import fitted, iso_time, width_of_output
from hitui.domain.jobs import Ended, Job, Queued, Running, Starting, Stopping
from hitui.domain.progress import JobProgress
from hitui.domain.records import JobRecord, words_of_end
from hitui.domain.units import duration_words
from hitui.domain.waits import WaitKind
from hitui.errors import SupervisorError
from hitui.factory import Services
from hitui.services.history import HistoryService
from hitui.services.progress import read_progress

ENDED_JOBS = 10
"""How many ended jobs are listed without `--all`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"every job that is on record (default: those that have not ended, and the last {ENDED_JOBS} that have)",
    )


def run(arguments: argparse.Namespace) -> int:
    services = open_for_jobs(arguments.workspace)
    snapshot, status = read_jobs(services, every=arguments.all)
    jobs = list(snapshot.jobs)
    if not arguments.all:
        latest = [job.id for job in jobs if not job.active][-ENDED_JOBS:]
        jobs = [job for job in jobs if job.active or job.id in latest]
    records: Mapping[int, JobRecord] = {}
    # They only add to what is known of the jobs.
    with contextlib.suppress(SupervisorError):
        records = HistoryService(services.paths).records([job.id for job in jobs if not job.active])
    if arguments.json:
        print(json.dumps([as_object(job, records.get(job.id)) for job in jobs], indent=2))
    elif jobs:
        _print_table(services, jobs, records)
    else:
        print("no jobs; `hitui run CONFIG` starts one")
    for line in pauses(snapshot.queue):
        warn(line)
    return status


def as_object(job: Job, record: JobRecord | None = None) -> dict[str, Any]:
    """What `--json` prints of a job; times in ISO 8601 with the offset from UTC, GPUs by UUID, `after*` by number.

    `waits_for` is a line for people, and `waits_kind` what kind of wait it is, as `gpus` or `away`; None: it waits for
    nothing that is known. `record`: of one that has ended.
    """
    state = job.state
    progress = _progress(job, record)
    pid = state.pid if isinstance(state, (Running, Stopping)) else None
    ended = state if isinstance(state, Ended) else None
    return {
        "id": job.id,
        "config": job.request.config,
        "state": job.word,
        "gpus": list(job.gpus),
        "pid": pid,
        "created": iso_time(job.created_at),
        "started": iso_time(_started(job)),
        "ended": iso_time(ended.ended_at if ended else None),
        "exit_status": ended.exit_status if ended else None,
        "signal": ended.signal if ended else None,
        "peak_memory": ended.peak_memory if ended else None,
        "reason": ended.reason if ended else "",
        "log": job.log or None,
        "events": job.events or None,
        "tasks": job.task_count,
        "waits_for": state.waits_for if isinstance(state, Queued) else "",
        "waits_kind": _kind_of_wait(state) if isinstance(state, Queued) else None,
        "phase": progress.phase,
        "done": progress.done,
        "total": progress.total,
        "errors": progress.errors,
        "rate": progress.rate,
        "eta_seconds": progress.eta_seconds,
        "group": job.schedule.group,
        "priority": job.schedule.priority,
        "attempt": job.attempt,
        "replaces": job.replaces,
        "after": list(job.schedule.after),
        "after_success": list(job.schedule.after_success),
        "after_processes": [process.pid for process in job.schedule.after_processes],
        "not_before": iso_time(job.schedule.not_before),
        "held": job.schedule.held,
        "configs": list(job.request.configs),
        "shard": _shard(job),
        "stalled_since": iso_time(_stalled_since(job)),
    }


def _kind_of_wait(state: Queued) -> str | None:
    """None too of what a supervisor waits for that is of another version and says no kind."""
    return None if state.kind is WaitKind.TURN else state.kind.value


def remark(job: Job, record: JobRecord | None = None) -> str:
    """What a listing says of a job in its last column: how far it is, what it waits for, why it ended; of one that
    succeeded by its record, how many tasks failed all the same."""
    said = _of_state(job, record)
    if waits_for_group(job):
        # The listing says once why.
        said = said.partition(":")[0]
    return ", ".join(filter(None, (f"attempt {job.attempt}" if job.attempt > 1 else "", said)))


def gpu_labels(services: Services, jobs: Sequence[Job]) -> dict[str, str]:
    """UUID → label, as long as one of these jobs holds a GPU; the driver is not asked otherwise."""
    if not any(job.active and job.gpus for job in jobs):
        return {}
    return services.gpus.read_once(2.0).labels


def gpus_of(job: Job, labels: Mapping[str, str]) -> str:
    """The GPUs that a job holds now, as a listing names them."""
    return ", ".join(labels.get(uuid, uuid[:12]) for uuid in job.gpus) if job.active else ""


def _shard(job: Job) -> dict[str, int] | None:
    shard = job.request.shard
    return None if shard is None else {"of_job": shard.split, "number": shard.number, "count": shard.count}


def _progress(job: Job, record: JobRecord | None = None) -> JobProgress:
    if isinstance(job.state, (Running, Stopping)):
        return read_progress(job)
    if record is None or record.done is None:
        return JobProgress()
    failed = record.failed or 0
    return JobProgress(done=record.done + failed, errors=failed)


def _print_table(services: Services, jobs: Sequence[Job], records: Mapping[int, JobRecord]) -> None:
    labels = gpu_labels(services, jobs)
    rows = []
    for job in jobs:
        started = _started(job)
        rows.append(
            (
                str(job.id),
                configs_of(job),
                job.word,
                gpus_of(job, labels),
                "" if job.task_count is None else str(job.task_count),
                "" if started is None else f"{datetime.fromtimestamp(started):%m-%d %H:%M}",
                "" if started is None else duration_words(max(0.0, _until(job) - started)),
                remark(job, records.get(job.id)),
            )
        )
    header = ("job", "config", "state", "GPU", "tasks", "started", "time", "")
    print("\n".join(fitted(header, rows, "><<<><><", width_of_output(), shrink=1)))


def _of_state(job: Job, record: JobRecord | None) -> str:
    match job.state:
        case Queued(waits_for=waits_for):
            return f"waits for {waits_for}" if waits_for else ""
        case Running(stalled_since=float(since)):
            stalled = f"stalled: nothing new for {duration_words(max(0.0, time.time() - since))}"
            return ", ".join(filter(None, (stalled, progress_line(_progress(job)))))
        case Running() | Stopping():
            return progress_line(_progress(job))
        case _:
            return words_of_end(job, record)


def _stalled_since(job: Job) -> float | None:
    return job.state.stalled_since if isinstance(job.state, Running) else None


def _until(job: Job) -> float:
    """Its end; of one that has not ended the present."""
    return job.state.ended_at if isinstance(job.state, Ended) else time.time()


def _started(job: Job) -> float | None:
    match job.state:
        case Starting(since=since):
            return since
        case Running(started_at=started) | Stopping(started_at=started) | Ended(started_at=started):
            return started
        case _:
            return None
