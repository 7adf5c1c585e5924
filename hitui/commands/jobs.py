"""`hitui jobs`: what runs, what waits and for what, what ended and how."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any

from hitui.commands.launching import progress_line
from hitui.commands.saying import warn
from hitui.commands.tables import iso_time, lines_of
from hitui.domain.jobs import Ended, Job, Queued, Running, Starting, Stopping
from hitui.domain.placement import gpus_for_jobs
from hitui.domain.progress import JobProgress
from hitui.errors import SupervisorError
from hitui.factory import Services, build_services
from hitui.services.progress import read_progress

ENDED_JOBS = 10
"""How many ended jobs are listed without `--all`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument("--all", action="store_true", help="every job that there ever was")


def run(arguments: argparse.Namespace) -> int:
    services = build_services(arguments.workspace)
    status = 0
    snapshot = services.jobs.read_once(every=arguments.all)
    if snapshot.supervisor_pid is None and any(job.active for job in snapshot.jobs):
        # Only a supervisor can find out what became of them.
        try:
            services.jobs.ensure_supervisor()
        except SupervisorError as error:
            warn(error)
            status = 1
        snapshot = services.jobs.read_once(every=arguments.all)
    jobs = list(snapshot.jobs)
    if not arguments.all:
        ended = [job.id for job in jobs if not job.active][-ENDED_JOBS:]
        jobs = [job for job in jobs if job.active or job.id in ended]
    if arguments.json:
        print(json.dumps([as_object(job) for job in jobs], indent=2))
    elif jobs:
        _print_table(services, jobs)
    else:
        print("no jobs; `hitui run CONFIG` starts one")
    return status


def as_object(job: Job) -> dict[str, Any]:
    """What `--json` prints of a job; times in ISO 8601 with the offset from UTC, GPUs by UUID."""
    state = job.state
    progress = _progress(job)
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
        "phase": progress.phase,
        "done": progress.done,
        "total": progress.total,
        "errors": progress.errors,
        "rate": progress.rate,
        "eta_seconds": progress.eta_seconds,
    }


def _progress(job: Job) -> JobProgress:
    return read_progress(job) if isinstance(job.state, (Running, Stopping)) else JobProgress()


def _print_table(services: Services, jobs: list[Job]) -> None:
    labels = {}
    if any(job.active and job.gpus for job in jobs):
        labels = {gpu.uuid: gpu.label for gpu in gpus_for_jobs(services.gpus.read_once(2.0))}
    rows = []
    for job in jobs:
        gpus = ", ".join(labels.get(uuid, uuid[:12]) for uuid in job.gpus) if job.active else ""
        started = _started(job)
        rows.append(
            (
                str(job.id),
                job.request.config,
                job.word,
                gpus,
                "" if job.task_count is None else str(job.task_count),
                "" if started is None else f"{datetime.fromtimestamp(started):%m-%d %H:%M}",
                _remark(job),
            )
        )
    header = ("job", "config", "state", "GPU", "tasks", "started", "")
    print("\n".join(lines_of(header, rows, "><<<><<")))


def _remark(job: Job) -> str:
    match job.state:
        case Queued(waits_for=waits_for):
            return f"waits for {waits_for}" if waits_for else ""
        case Running() | Stopping():
            return progress_line(_progress(job))
        case Ended(reason=reason):
            return reason
        case _:
            return ""


def _started(job: Job) -> float | None:
    match job.state:
        case Starting(since=since):
            return since
        case Running(started_at=started) | Stopping(started_at=started) | Ended(started_at=started):
            return started
        case _:
            return None
