"""`hitui retry JOB…`: run what is pending of ended jobs again, in the environment that they had."""

from __future__ import annotations

import argparse

from hitui.commands.job_naming import configs_of, current_jobs, pauses
from hitui.commands.launching import add_force_argument
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless, warn
from hitui.commands.scheduling import job_number
from hitui.errors import LaunchError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", nargs="+", type=job_number, metavar="JOB", help="number of a job that ended")
    add_force_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    services = open_for_jobs(arguments.workspace)
    refused = False
    groups = set()
    for ended in current_jobs(services, arguments.jobs, joined=True):
        try:
            jobs = services.jobs.change_queue("retry", jobs=[ended.id], force=arguments.force)
        except LaunchError as error:
            warn(error)
            refused = True
            continue
        for job in jobs:
            print(harmless(f"job {job.id}: {configs_of(job)}, another try of job {ended.id}"))
            groups.add(job.schedule.group)
    for line in pauses(services.jobs.read_once().queue, groups):
        warn(line)
    return 1 if refused else 0
