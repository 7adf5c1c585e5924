"""`hitui logs JOB`: what the runner printed.

To a terminal, control characters go as harmless text; a pipe or file gets the log byte for byte.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from hitui.commands.scheduling import job_number
from hitui.domain.jobs import Ended, Job, Starting
from hitui.errors import NoSuchName, WorkspaceError
from hitui.factory import Services, build_services
from hitui.services.logs import display_text

POLL_SECONDS = 0.2
JOB_SECONDS = 1.0
"""How often `-f` asks whether the job has ended."""
_CHUNK = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=job_number, metavar="JOB", help="number of a job")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")


def run(arguments: argparse.Namespace) -> int:
    services = build_services(arguments.workspace)
    job = _find(services, arguments.job)
    harmless = sys.stdout.isatty()
    offset = 0
    asked = 0.0
    while True:
        if arguments.follow and time.monotonic() - asked > JOB_SECONDS:
            job = _find(services, arguments.job)
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
