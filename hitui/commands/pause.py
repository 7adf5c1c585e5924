"""`hitui pause JOB…`: keep jobs from starting; those that run give their GPUs back and wait."""

from __future__ import annotations

import argparse

from hitui.commands.job_naming import configs_of, current_jobs
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless
from hitui.commands.scheduling import job_number
from hitui.domain.jobs import Queued


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs",
        nargs="+",
        type=job_number,
        metavar="JOB",
        help="number of a job; one that runs is stopped, and goes on with what is pending when it is resumed",
    )


def run(arguments: argparse.Namespace) -> int:
    services = open_for_jobs(arguments.workspace)
    numbers = [job.id for job in current_jobs(services, arguments.jobs)]
    for job in services.jobs.change_queue("pause", jobs=numbers):
        queued = isinstance(job.state, Queued)
        how = "queued, held" if queued else f"{job.word}; then it is queued again, held"
        print(harmless(f"job {job.id}: {configs_of(job)}, {how}; `hitui resume {job.id}` lets it go on"))
    return 0
