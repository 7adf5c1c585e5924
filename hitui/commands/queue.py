"""`hitui queue`: what waits, in which order and for what, and the order, limits and pauses themselves."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hitui.commands.job_naming import configs_of, current_jobs, pauses, read_jobs
from hitui.commands.jobs import as_object, gpu_labels, gpus_of, remark
from hitui.commands.opening import open_for_jobs
from hitui.commands.saying import harmless
from hitui.commands.scheduling import group_word, job_number, limit, priority
from hitui.commands.tables import fitted, width_of_output
from hitui.domain.jobs import Job, JobsSnapshot, Queued
from hitui.domain.queue import in_order
from hitui.errors import LaunchError
from hitui.factory import Services

WHERES = ("first", "last", "up", "down", "before")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print an object: paused, groups, running, queued"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="to change it", prog=parser.prog)
    # Without an action it lists; argparse's own line would ask for one.
    parser.usage = f"{parser.prog} [-h] [--json] [ACTION …]"

    def action(
        name: str, line: str, act: Callable[[Services, argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=line, description=line)
        made.add_argument(
            "-w", "--workspace", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        made.set_defaults(act=act)
        return made

    line = "start no more jobs of a group, or none at all; those that run go on"
    _group(action("pause", line, _pause), nargs="?")
    _group(
        action("resume", "let the jobs of a group, or of the whole queue, start again", _resume), nargs="?"
    )
    limited = action("limit", "how many jobs of a group run at a time", _limit)
    _group(limited)
    limited.add_argument("limit", type=limit, metavar="N|none")
    moved = action("move", "change the order by hand", _move)
    moved.add_argument("job", type=job_number, metavar="JOB")
    moved.add_argument("where", choices=WHERES, metavar="|".join(WHERES))
    moved.add_argument("other", type=job_number, nargs="?", metavar="JOB", help="behind `before`: which one")
    moved.set_defaults(parser=moved)
    weighed = action("priority", "jobs of a higher priority start first", _prioritize)
    _jobs(weighed)
    weighed.add_argument("priority", type=priority, metavar="N")
    assigned = action("group", "put jobs into a group", _assign)
    _jobs(assigned)
    _group(assigned)


def run(arguments: argparse.Namespace) -> int:
    services = open_for_jobs(arguments.workspace)
    if arguments.action is not None:
        arguments.act(services, arguments)
        return 0
    snapshot, status = read_jobs(services)
    if arguments.json:
        print(json.dumps(_as_object(snapshot), indent=2))
    else:
        print("\n".join(_listing(services, snapshot)))
    return status


def before_which(order: Sequence[int], job: int, where: str) -> int | None:
    """The job before which that puts one of a queue; None: behind all."""
    at = order.index(job)
    others = [other for other in order if other != job]
    to = {"first": 0, "last": len(others), "up": max(0, at - 1), "down": at + 1}[where]
    return others[to] if to < len(others) else None


def _group(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    parser.add_argument("group", type=group_word, nargs=nargs, metavar="GROUP", help="name of a group")


def _jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", type=job_number, nargs="+", metavar="JOB", help="number of a queued job")


def _pause(services: Services, arguments: argparse.Namespace) -> None:
    services.jobs.change_queue("pause", **_of_group(arguments.group))
    snapshot = services.jobs.read_once()
    running, queued = (_in_group(jobs, arguments.group) for jobs in _running_and_queued(snapshot))
    whose = "the queue" if arguments.group is None else f"group {arguments.group}"
    print(f"{whose} is paused; jobs that wait: {len(queued)}, that run on: {len(running)}")


def _resume(services: Services, arguments: argparse.Namespace) -> None:
    queue = services.jobs.read_once().queue
    services.jobs.change_queue("resume", **_of_group(arguments.group))
    if arguments.group is None:
        print("the queue goes on" if queue.paused else "the queue was not paused")
    else:
        paused = queue.group(arguments.group).paused
        print(f"group {arguments.group} {'goes on' if paused else 'was not paused'}")
    for line in pauses(services.jobs.read_once().queue):
        print(harmless(line))


def _limit(services: Services, arguments: argparse.Namespace) -> None:
    services.jobs.change_queue("limit", group=arguments.group, limit=arguments.limit)
    many = "as many as find GPUs" if arguments.limit is None else f"at most {arguments.limit}"
    print(f"group {arguments.group}: {many} run at a time")


def _move(services: Services, arguments: argparse.Namespace) -> None:
    if (arguments.where == "before") == (arguments.other is None):
        arguments.parser.error("a second JOB is expected behind `before`, and only there")
    (job,) = current_jobs(services, [arguments.job])
    if arguments.where == "before":
        (target,) = current_jobs(services, [arguments.other])
        if target.id == job.id:
            arguments.parser.error(f"job {job.id} cannot go before itself")
        before: int | None = target.id
    else:
        order = [queued.id for queued in _running_and_queued(services.jobs.read_once())[1]]
        if job.id not in order:
            raise LaunchError(f"job {job.id} is no longer queued: it is {job.word}")
        before = before_which(order, job.id, arguments.where)
    services.jobs.change_queue("move", jobs=[job.id], before=before)
    queued = _running_and_queued(services.jobs.read_once())[1]
    place = next((at for at, other in enumerate(queued, start=1) if other.id == job.id), None)
    if place is None:
        print(f"job {job.id} starts")
        return
    now = queued[place - 1].schedule.priority
    changed = "" if now == job.schedule.priority else f", now of priority {now}"
    print(f"job {job.id} is number {place} of {len(queued)} in the queue{changed}")


def _prioritize(services: Services, arguments: argparse.Namespace) -> None:
    numbers = [job.id for job in current_jobs(services, arguments.jobs)]
    for job in services.jobs.change_queue("prioritize", jobs=numbers, priority=arguments.priority):
        print(harmless(f"job {job.id}: {configs_of(job)}, priority {job.schedule.priority}"))


def _assign(services: Services, arguments: argparse.Namespace) -> None:
    numbers = [job.id for job in current_jobs(services, arguments.jobs)]
    for job in services.jobs.change_queue("assign", jobs=numbers, group=arguments.group):
        print(harmless(f"job {job.id}: {configs_of(job)}, group {job.schedule.group}"))


def _of_group(name: str | None) -> dict[str, object]:
    return {} if name is None else {"group": name}


def _running_and_queued(snapshot: JobsSnapshot) -> tuple[list[Job], list[Job]]:
    """What holds something, the oldest first; what waits, in the order of the queue."""
    active = [job for job in snapshot.jobs if job.active]
    queued = in_order(job for job in active if isinstance(job.state, Queued))
    return [job for job in active if not isinstance(job.state, Queued)], list(queued)


def _in_group(jobs: Sequence[Job], name: str | None) -> list[Job]:
    return [job for job in jobs if name in (None, job.schedule.group)]


def _as_object(snapshot: JobsSnapshot) -> dict[str, Any]:
    """What `--json` prints; jobs as `hitui jobs --json` does."""
    running, queued = _running_and_queued(snapshot)
    run, wait = (Counter(job.schedule.group for job in jobs) for jobs in (running, queued))
    names = sorted({group.name for group in snapshot.queue.groups} | run.keys() | wait.keys())
    groups = [snapshot.queue.group(name) for name in names]
    return {
        "paused": snapshot.queue.paused,
        "groups": [
            {
                "name": group.name,
                "limit": group.limit,
                "paused": group.paused,
                "running": run[group.name],
                "queued": wait[group.name],
            }
            for group in groups
        ],
        "running": [as_object(job) for job in running],
        "queued": [as_object(job) for job in queued],
    }


def _listing(services: Services, snapshot: JobsSnapshot) -> list[str]:
    running, queued = _running_and_queued(snapshot)
    lines = [harmless(line) for line in pauses(snapshot.queue)]
    lines += [
        harmless(
            f"group {group.name}: at most {group.limit} run at a time,"
            f" running: {len(_in_group(running, group.name))}, waiting: {len(_in_group(queued, group.name))}"
        )
        for group in snapshot.queue.groups
        if group.limit is not None
    ]
    if not running and not queued:
        return [*lines, "nothing runs and nothing is queued; `hitui run CONFIG` starts a job"]
    labels = gpu_labels(services, running)
    rows = [
        (
            str(job.id),
            configs_of(job),
            job.word,
            gpus_of(job, labels),
            str(job.schedule.priority),
            job.schedule.group,
            remark(job),
        )
        for job in (*running, *queued)
    ]
    header = ("job", "config", "state", "GPU", "priority", "group", "")
    return [*lines, *fitted(header, rows, "><<<><<", width_of_output(), shrink=1)]
