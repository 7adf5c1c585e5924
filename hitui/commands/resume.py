"""`hitui resume JOB…`: let jobs start that are held, or that wait for their time."""

from __future__ import annotations

import argparse

from hitui.commands.job_naming import configs_of, current_jobs, pauses, wait_for_stops
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless, warn
from hitui.commands.scheduling import job_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", nargs="+", type=job_number, metavar="JOB", help="number of a job")


def run(arguments: argparse.Namespace) -> int:
    services = open_for_jobs(arguments.workspace)
    known = current_jobs(services, arguments.jobs)
    # One that was paused a moment ago still stops; only then is there a job to be resumed.
    if wait_for_stops(services, known):
        known = current_jobs(services, [job.id for job in known])
    jobs = services.jobs.change_queue("resume", jobs=[job.id for job in known])
    for job in jobs:
        print(harmless(f"job {job.id}: {configs_of(job)}, {job.word}"))
    for line in pauses(services.jobs.read_once().queue, {job.schedule.group for job in jobs}):
        warn(line)
    return 0
