"""`hitui stop JOB…`: end jobs and all of their processes."""

from __future__ import annotations

import argparse

from hitui.commands.job_naming import configs_of, current_jobs
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless
from hitui.commands.scheduling import job_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs",
        nargs="+",
        type=job_number,
        metavar="JOB",
        help="number of a job; stopped a second time, it is ended without grace",
    )


def run(arguments: argparse.Namespace) -> int:
    services = open_for_jobs(arguments.workspace)
    numbers = [job.id for job in current_jobs(services, arguments.jobs)]
    for job in services.jobs.stop(numbers):
        print(harmless(f"job {job.id}: {configs_of(job)}, {job.word}"))
    return 0
