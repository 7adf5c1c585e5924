"""GPUs, queue, configs and jobs in the text format of Prometheus.

The format is that of https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4). All are
gauges, in base units: bytes, seconds, watts, degrees Celsius, shares of 1. A value that nobody knows has no line.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from hitui import __version__
from hitui.domain.configs import ConfigState
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobsSnapshot
from hitui.domain.progress import JobProgress, together

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("queued", "starting", "running", "stopping")


class Standing(msgspec.Struct, frozen=True):
    """One workspace at one moment."""

    gpus: GpuSnapshot
    configs: tuple[ConfigState, ...]
    jobs: JobsSnapshot
    """With every job that is kept."""
    progress: Mapping[int, JobProgress] = {}
    """Of the jobs that run, by job."""
    workspace: str = ""


class _Family:
    """The values of one name, told apart by their labels."""

    def __init__(self, name: str, text: str) -> None:
        self._name = f"hitui_{name}"
        self._text = text
        self._lines: list[str] = []

    def add(self, value: float | None, **labels: object) -> None:
        """None: it is not known, and has no line."""
        if value is None:
            return
        told = ",".join(f'{name}="{_escaped(str(label))}"' for name, label in labels.items())
        number = repr(float(value)) if isinstance(value, float) else str(int(value))
        self._lines.append(f"{self._name}{{{told}}} {number}" if told else f"{self._name} {number}")

    def lines(self) -> Iterator[str]:
        """None at all where there is no value."""
        if self._lines:
            yield f"# HELP {self._name} {self._text}"
            yield f"# TYPE {self._name} gauge"
            yield from self._lines


def metrics_text(standing: Standing) -> str:
    """One page, as a scrape gets it."""
    families = (*_general(standing), *_gpus(standing), *_configs(standing), *_jobs(standing))
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _general(standing: Standing) -> Iterator[_Family]:
    info = _Family("info", "Which hitui tells this, and of which workspace.")
    info.add(1, version=__version__, workspace=standing.workspace)
    yield info
    up = _Family("supervisor_up", "1 while a supervisor answers.")
    up.add(int(standing.jobs.supervisor_pid is not None))
    yield up


def _gpus(standing: Standing) -> Iterator[_Family]:
    snapshot = standing.gpus
    driver = _Family("gpu_driver_up", "1 while the driver answers.")
    driver.add(int(snapshot.error is None), source=snapshot.source)
    yield driver
    up = _Family("gpu_up", "1 while the driver answers for this GPU.")
    size = _Family("gpu_memory_size_bytes", "Memory of the GPU.")
    used = _Family("gpu_memory_used_bytes", "Memory in use, by anyone.")
    free = _Family("gpu_memory_free_bytes", "Memory that is free.")
    load = _Family("gpu_utilization_ratio", "Share of the last sample period in which a kernel ran.")
    heat = _Family("gpu_temperature_celsius", "Temperature.")
    power = _Family("gpu_power_watts", "Power drawn.")
    limit = _Family("gpu_power_limit_watts", "Power that may be drawn.")
    users = _Family("gpu_user_memory_bytes", "Memory of one user's processes; user ? where none is named.")
    held = _Family("gpu_held", "1 while a job of this workspace holds the GPU.")
    for gpu in snapshot.gpus if snapshot.error is None else ():
        labels = {"gpu": gpu.label, "uuid": gpu.uuid, "name": gpu.name}
        up.add(int(not gpu.silent), **labels)
        size.add(gpu.memory_total, **labels)
        used.add(gpu.memory_used, **labels)
        free.add(gpu.memory_free, **labels)
        load.add(None if gpu.utilization is None else gpu.utilization / 100, **labels)
        heat.add(gpu.temperature, **labels)
        power.add(gpu.power, **labels)
        limit.add(gpu.power_limit, **labels)
        for user, memory in _memory_by_user(gpu).items():
            users.add(memory, **labels, user=user)
        held.add(int(bool(standing.jobs.holders_of(gpu.uuid))), **labels)
    yield from (up, size, used, free, load, heat, power, limit, users, held)


def _configs(standing: Standing) -> Iterator[_Family]:
    tasks = _Family(
        "config_tasks", "What a config's files hold, by outcome; a trainer's steps count as tasks."
    )
    total = _Family("config_tasks_wanted", "How many there should be, where that is known.")
    pending = _Family("config_tasks_pending", "How many a rerun would run.")
    readable = _Family("config_readable", "0 where its files have a problem.")
    rate = _Family("config_tasks_per_second", "Rate of the job that runs on it, over the last minutes.")
    eta = _Family("config_eta_seconds", "When the job that runs on it will have run its tasks.")
    updated = _Family("config_updated_seconds", "When its files changed last, since the epoch.")
    running = _running(standing)
    for state in standing.configs:
        if not state.scanned:
            continue
        for outcome in ("done", "errors", "missing", "blocked"):
            tasks.add(getattr(state, outcome), config=state.name, outcome=outcome)
        total.add(state.total, config=state.name)
        pending.add(state.pending, config=state.name)
        readable.add(int(not state.problems), config=state.name)
        updated.add(state.updated, config=state.name)
        progress = running.get(state.name)
        if progress is not None:
            rate.add(progress.rate, config=state.name)
            eta.add(progress.eta_seconds, config=state.name)
    yield from (tasks, total, pending, readable, rate, eta, updated)


def _running(standing: Standing) -> dict[str, JobProgress]:
    """By config. Of a job of several, each that it is on; what they share is no config's own rate."""
    found: dict[str, JobProgress] = {}
    shards: dict[str, list[JobProgress | None]] = {}
    for job in standing.jobs.jobs:
        progress = standing.progress.get(job.id)
        if job.request.shard is not None and job.active:
            shards.setdefault(job.request.config, []).append(progress)
        elif progress is None:
            continue
        elif not job.request.also:
            found[job.request.config] = progress
        else:
            found.update((name, part) for name, part in progress.configs.items() if part.phase == "running")
    of_shards = ((config, together(parts)) for config, parts in shards.items())
    return found | {config: progress for config, progress in of_shards if progress is not None}


def _jobs(standing: Standing) -> Iterator[_Family]:
    jobs, queue = standing.jobs.jobs, standing.jobs.queue
    counts = Counter(job.word for job in jobs)
    states = _Family("jobs", "Jobs that have not ended, by state.")
    for state in STATES:
        states.add(counts[state], state=state)
    yield states
    endings = _Family(
        "jobs_ended", "Jobs that have ended and are kept, by how; fewer once old ones are taken away."
    )
    ended = Counter(job.state.ending for job in jobs if isinstance(job.state, Ended))
    for ending in Ending:
        endings.add(ended[ending], ending=ending.value.replace(" ", "_"))
    yield endings
    last = _Family("job_last_ended_seconds", "When the last job ended, since the epoch.")
    last.add(max((job.state.ended_at for job in jobs if isinstance(job.state, Ended)), default=None))
    yield last
    stalled = _Family("jobs_stalled", "Running jobs without a sign of life.")
    stalled.add(sum(getattr(job.state, "stalled_since", None) is not None for job in jobs))
    yield stalled
    paused = _Family("queue_paused", "1 while no job is started.")
    paused.add(int(bool(queue.paused)))
    yield paused
    oldest = _Family(
        "queue_oldest_seconds", "How long the job has waited that waits longest; 0 where none does."
    )
    waiting = [job.created_at for job in jobs if job.word == "queued"]
    oldest.add(max(0.0, time.time() - min(waiting)) if waiting else 0)
    yield oldest
    yield from _groups(jobs, standing.jobs)


def _groups(jobs: Iterable[Job], snapshot: JobsSnapshot) -> Iterator[_Family]:
    active = Counter(job.schedule.group for job in jobs if job.active)
    names = sorted({*active, *(group.name for group in snapshot.queue.groups)})
    members = _Family("group_jobs", "Jobs of a group that have not ended.")
    limits = _Family("group_limit", "How many of a group may run at a time.")
    paused = _Family("group_paused", "1 while none of a group is started.")
    for name in names:
        group = snapshot.queue.group(name)
        members.add(active[name], group=name)
        limits.add(group.limit, group=name)
        paused.add(int(bool(group.paused)), group=name)
    yield from (members, limits, paused)


def _memory_by_user(gpu: Gpu) -> dict[str, int]:
    found: dict[str, int] = {}
    for process in gpu.processes:
        if process.memory is not None:
            user = process.user or "?"
            found[user] = found.get(user, 0) + process.memory
    return found


def _escaped(text: str) -> str:
    """As the format asks of labels; what is no UTF-8 text as `?`."""
    harmless = text.encode("utf-8", "replace").decode()
    return harmless.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
