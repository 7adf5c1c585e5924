"""`hitui logs JOB|CONFIG`: what the runner printed.

To a terminal, control characters go as harmless text; a pipe or file gets the log byte for byte.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from hitui.adapters.files.tail import LogFile
from hitui.commands.job_naming import number_in
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless as said
from hitui.commands.scheduling import whole_number
from hitui.domain.jobs import Ended, Job, Queued, Starting
from hitui.domain.queue import in_order
from hitui.errors import NoSuchName, WorkspaceError
from hitui.factory import Services
from hitui.services.logs import display_text

POLL_SECONDS = 0.2
MOST_LINES = 100_000
JOB_SECONDS = 1.0
"""How often `-f` asks whether the job has ended."""
_CHUNK = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="JOB|CONFIG",
        help="number of a job; or name of a config, or its unique end: the job that runs it, else its last one",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument(
        "-n",
        "--last",
        type=_line_count,
        metavar="N",
        help="begin with the last N lines that are there (default: with the first line)",
    )


def run(arguments: argparse.Namespace) -> int:
    services = open_for_jobs(arguments.workspace)
    number = number_in(arguments.what)
    job = _of_config(services, arguments) if number is None else _find(services, number)
    harmless = sys.stdout.isatty()
    offset = 0 if arguments.last is None else _start_of_last(job, arguments.last)
    asked = 0.0
    while True:
        if arguments.follow and time.monotonic() - asked > JOB_SECONDS:
            job = _find(services, job.id)
            if services.jobs.latest.supervisor_pid is None and job.active:
                # Only a supervisor can find out that it ends.
                services.jobs.ensure_supervisor()
            asked = time.monotonic()
        # What an ended job has written is all there, so one more look after its end reads the rest.
        ended = not job.active
        if not job.log and (ended or not arguments.follow):
            reason = f" ({job.state.reason})" if isinstance(job.state, Ended) and job.state.reason else ""
            raise WorkspaceError(f"job {job.id} has no log: {job.word}{reason}")
        offset = _copy(job, offset, harmless)
        if not arguments.follow or ended:
            return 0
        time.sleep(POLL_SECONDS)


def _find(services: Services, job_id: int) -> Job:
    jobs = services.jobs.read_once(every=True).jobs
    job = next((job for job in jobs if job.id == job_id), None)
    if job is None:
        raise NoSuchName(f"no job {job_id}; `hitui jobs --all` lists them")
    return job


def _of_config(services: Services, arguments: argparse.Namespace) -> Job:
    """The job whose log is that of a config, said on stderr: what runs, else what ended last and left one.

    Before that one `-f` chooses what waits, since only there more will come.
    """
    name = services.workspace.catalogue.find(arguments.what).name
    jobs = [job for job in services.jobs.read_once(every=True).jobs if name in job.request.configs]
    running = [job for job in jobs if job.active and not isinstance(job.state, Queued)]
    waiting = in_order(job for job in jobs if isinstance(job.state, Queued))
    ended = sorted((job for job in jobs if isinstance(job.state, Ended)), key=_ended_at, reverse=True)
    with_log = [job for job in ended if job.log]
    found = [*running, *waiting, *with_log] if arguments.follow else [*running, *with_log, *waiting]
    found += ended
    if not found:
        raise NoSuchName(f"{name}: there was no job on it yet; `hitui run {name}` starts one")
    others = [f"job {job.id}, {job.word}" for job in (*running, *waiting) if job is not found[0]]
    beside = f" (there is also {'; '.join(others)})" if others else ""
    print(said(f"job {found[0].id} on {name}, {found[0].word}{beside}"), file=sys.stderr, flush=True)
    return found[0]


def _line_count(text: str) -> int:
    return whole_number(text, 1, MOST_LINES, f"a number of lines from 1 to {MOST_LINES} is expected")


def _start_of_last(job: Job, count: int) -> int:
    """Where the last lines of a job's log begin; 0 where it cannot be read, which is said when it is printed."""
    try:
        file = LogFile(Path(job.log))
    except OSError:
        return 0
    try:
        lines = file.lines_before(file.size, count)
    finally:
        file.close()
    return lines[0].start if lines else 0


def _ended_at(job: Job) -> float:
    return job.state.ended_at if isinstance(job.state, Ended) else 0.0


def _copy(job: Job, offset: int, harmless: bool) -> int:
    """Prints what stands behind `offset` in the job's log, and returns where that ended."""
    if not job.log:
        return offset
    try:
        descriptor = os.open(job.log, os.O_RDONLY)
    except FileNotFoundError as error:
        if isinstance(job.state, Starting):
            return offset
        raise WorkspaceError(f"{job.log}: the log of job {job.id} is not there any more") from error
    except OSError as error:
        raise WorkspaceError(f"{job.log}: cannot be read: {error.strerror}") from error
    try:
        while chunk := os.pread(descriptor, _CHUNK, offset):
            if harmless and len(chunk) == _CHUNK:
                # More follows: what is printed ends with a line, not in the midst of a character.
                chunk = chunk[: chunk.rfind(b"\n") + 1] or chunk
            offset += len(chunk)
            if harmless:
                sys.stdout.write(printable(chunk))
            else:
                sys.stdout.buffer.write(chunk)
    finally:
        os.close(descriptor)
    sys.stdout.flush()
    return offset


def printable(chunk: bytes) -> str:
    """A piece of log for a terminal: line ends and carriage returns act, nothing else does."""
    return "\n".join(
        "\r".join(display_text(part) for part in line.split(b"\r")) for line in chunk.split(b"\n")
    )
