"""`hitui wait JOB…`: returns when jobs have ended that were started on the screen, or without `--wait`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hitui.commands.job_naming import configs_of, read_jobs
from hitui.commands.launching import wait_for_ends
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import warn
from hitui.commands.scheduling import job_number
from hitui.domain.jobs import Ended, Ending, Job
from hitui.errors import NoSuchName
from hitui.factory import Services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs",
        nargs="*",
        type=job_number,
        metavar="JOB",
        help="number of a job, which is followed in new tries and shards too (default: all that have not ended)",
    )
    # Of a wait that nobody reads any more no success may be claimed.
    parser.set_defaults(wait=True)


def run(arguments: argparse.Namespace) -> int:
    """0 only if all of them succeeded."""
    services = open_for_jobs(arguments.workspace)
    if arguments.jobs:
        jobs = _named(services, arguments.jobs)
    else:
        snapshot, status = read_jobs(services)
        if status:
            return status
        jobs = tuple(job for job in snapshot.jobs if job.active)
        if not jobs:
            print("no job runs or waits")
            return 0
    failed = False
    for job in wait_for_ends(services, jobs):
        assert isinstance(job.state, Ended)
        if job.state.ending is not Ending.SUCCEEDED:
            failed = True
            reason = f": {job.state.reason}" if job.state.reason else ""
            warn(f"{configs_of(job)}: job {job.id} {job.state.ending.value}{reason}")
    return int(failed)


def _named(services: Services, numbers: Sequence[int]) -> tuple[Job, ...]:
    """As they stand; what they went on as, and the shards of one that was split, are followed from there."""
    known = {job.id: job for job in services.jobs.read_once(every=True).jobs}
    for number in numbers:
        if number not in known:
            raise NoSuchName(f"no job {number}; `hitui jobs --all` lists them")
    return tuple(known[number] for number in dict.fromkeys(numbers))
