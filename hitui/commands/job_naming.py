"""Jobs by the numbers that people know them by, and what pauses keep them from starting."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hitui.commands.saying import warn
from hitui.domain.jobs import Ended, Ending, Job, JobsSnapshot, Queued, Stopping
from hitui.domain.schedule import Queue
from hitui.domain.waiting_words import jobs
from hitui.domain.waits import WaitKind
from hitui.errors import LaunchError, NoSuchName, SupervisorError
from hitui.factory import Services


def read_jobs(services: Services, *, every: bool = False) -> tuple[JobsSnapshot, int]:
    """The jobs, from a supervisor if one has to look after them, and the exit status: 1 if it cannot be started."""
    snapshot = services.jobs.read_once(every=every)
    if snapshot.supervisor_pid is not None or not any(job.active for job in snapshot.jobs):
        return snapshot, 0
    # Only a supervisor can find out what became of them.
    status = 0
    try:
        services.jobs.ensure_supervisor()
    except SupervisorError as error:
        warn(error)
        status = 1
    return services.jobs.read_once(every=every), status


def number_in(what: str) -> int | None:
    """The job that `14` or `#14` names; None: it is the name of a config."""
    number = what.removeprefix("#")
    return int(number) if number.isascii() and number.isdigit() else None


def configs_of(job: Job) -> str:
    """The config that a job is on, and which shard of it, or how many others it took in."""
    others = len(job.request.also)
    if job.request.shard is not None:
        return f"{job.request.config} {job.request.shard.label}"
    return f"{job.request.config} +{others}" if others else job.request.config


def current_jobs(services: Services, numbers: Iterable[int], *, joined: bool = False) -> tuple[Job, ...]:
    """The jobs of these numbers as they stand; where one went on as another one that, and this is said.

    Raises NoSuchName, and LaunchError for a job that joined one of other configs: what is done to that is
    done to them too. With `joined` it is taken for itself.
    """
    wanted = tuple(dict.fromkeys(numbers))
    snapshot = services.jobs.read_once()
    if not set(wanted) <= {job.id for job in snapshot.jobs if job.active}:
        snapshot = services.jobs.read_once(every=True)
    known = {job.id: job for job in snapshot.jobs}
    found = {}
    for number in wanted:
        if number not in known:
            raise NoSuchName(f"no job {number}; `hitui jobs --all` lists them")
        job = known[number]
        while job.successor in known:
            other = known[job.successor]
            if isinstance(job.state, Ended) and job.state.ending is Ending.JOINED:
                if joined:
                    break
                raise LaunchError(
                    f"job {number} joined job {other.id}, which is on {other.request.config} too;"
                    f" name job {other.id} for all of it"
                )
            job = other
        if job.id != number:
            print(f"job {number} went on as job {job.id}")
        found[job.id] = job
    for job in found.values():
        shard = job.request.shard
        if shard is None or shard.number > 0:
            continue
        others = [other.id for other in snapshot.jobs if other.active and _are_of_one_split(other, job)]
        others = [number for number in others if number not in found]
        if others:
            # Its number is that of the whole launch, to whoever does not know that it was split.
            print(f"job {job.id} is shard {shard.label} alone; the others stay as they are: {jobs(others)}")
    return tuple(found.values())


def _are_of_one_split(one: Job, other: Job) -> bool:
    own, others = one.request.shard, other.request.shard
    return own is not None and others is not None and own.split == others.split


def wait_for_stops(services: Services, jobs: Collection[Job]) -> bool:
    """Returns when none of the jobs is being stopped any more; False: none was."""
    stopping = {job.id for job in jobs if isinstance(job.state, Stopping)}
    if not stopping:
        return False
    services.jobs.ensure_supervisor()
    watch = services.jobs.client.open_watch()
    for snapshot in watch:
        if not any(job.id in stopping and isinstance(job.state, Stopping) for job in snapshot.jobs):
            break
    watch.close()
    return True


def pauses(queue: Queue, groups: Collection[str] | None = None) -> list[str]:
    """A line for each pause that keeps jobs of these groups (None: any) from starting, with what ends it."""
    lines = []
    if queue.paused:
        lines.append(_pause("the queue", queue.paused, "hitui queue resume"))
    lines += [
        _pause(f"group {group.name}", group.paused, f"hitui queue resume {group.name}")
        for group in queue.groups
        if group.paused and (groups is None or group.name in groups)
    ]
    return lines


def mend_of_wait(job: Job) -> str:
    """The command that ends what a queued job says it waits for, where that is a pause; else empty."""
    if not isinstance(job.state, Queued):
        return ""
    if job.schedule.held:
        return f"hitui resume {job.id}"
    if job.state.kind is WaitKind.QUEUE_PAUSED:
        return "hitui queue resume"
    return f"hitui queue resume {job.schedule.group}" if job.state.kind is WaitKind.GROUP_PAUSED else ""


def waits_for_group(job: Job) -> bool:
    """Whether a queued job waits for its group, or the whole queue, to be resumed."""
    paused = (WaitKind.QUEUE_PAUSED, WaitKind.GROUP_PAUSED)
    return isinstance(job.state, Queued) and job.state.kind in paused


def _pause(what: str, reason: str, command: str) -> str:
    return f"{what} is paused: {reason.removeprefix('paused ')}; `{command}` lets its jobs start"
