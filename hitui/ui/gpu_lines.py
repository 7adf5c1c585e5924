"""GPUs as lines: what each does, who holds it, and whether a job may go there. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rich.cells import cell_len

from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import Job, JobsSnapshot, Running, Stopping
from hitui.domain.placement import GpuRules, Need, hindrance
from hitui.domain.units import counted
from hitui.ui import text
from hitui.ui.line import Line, Span, fit_line, joined, width_of

_NAME_CELLS = 8
"""What the name of a job's config keeps at the least."""
FOLD_FROM = 2
"""So many excluded GPUs and more share one line."""


class GpuView(msgspec.Struct, frozen=True):
    """What is known for the strip at one moment."""

    snapshot: GpuSnapshot | None
    jobs: JobsSnapshot
    rules: GpuRules
    needed: int
    """Free bytes that a job asks for where nothing else is said."""
    history: Mapping[str, Sequence[float | None]]
    """Utilisation by UUID, oldest first."""
    unfolded: bool = False

    def hindrance(self, gpu: Gpu) -> str:
        return hindrance(gpu, Need(self.needed), self.rules, {})


class _Layout(msgspec.Struct, frozen=True):
    label: int
    name: int
    bar: int
    memory: int
    history: int
    power: bool = True

    @property
    def indent(self) -> int:
        return self.label + self.name + 3


def gpu_lines(view: GpuView, width: int) -> list[Line]:
    """One line a GPU, or what to do where there is none."""
    snapshot = view.snapshot
    if snapshot is None:
        return [fit_line((("  asking the driver …", "dim"),), width)]
    if not snapshot.gpus:
        reason = snapshot.error or "the driver knows of no GPU"
        return [
            fit_line((("  ", ""), ("no GPUs: ", "warn"), (reason, "")), width),
            fit_line((("  `hitui doctor` says how to mend it; jobs that need no GPU run", "dim"),), width),
        ]
    lines: list[Line] = []
    if snapshot.error:
        lines.append(fit_line((("  ! ", "bad"), (snapshot.error, "warn"), ("; last values:", "dim")), width))
    layout = _layout(snapshot.gpus, width)
    excluded = [gpu for gpu in snapshot.gpus if gpu.index in view.rules.exclude]
    fold = not view.unfolded and len({gpu.index for gpu in excluded}) >= FOLD_FROM
    folded = False
    for gpu in snapshot.gpus:
        if fold and gpu.index in view.rules.exclude:
            if not folded:
                lines.append(_excluded_line(excluded, layout, width))
                folded = True
            continue
        spans = tuple(_spans(gpu, view, layout))
        held = tuple(_held_by(gpu, view, width - width_of(spans)))
        lines.append(fit_line((*spans, *held), width))
    return lines


def _layout(gpus: Sequence[Gpu], width: int) -> _Layout:
    names = [text.gpu_name(gpu.name) for gpu in gpus]
    labels = max(len(gpu.label) for gpu in gpus)
    widest = max(len(f"{_memory(gpu)}") for gpu in gpus)
    if width < 100:
        return _Layout(max(2, labels), min(9, max(map(len, names))), 10, widest, 0)
    spare = width - 100
    return _Layout(
        label=max(2, labels),
        name=min(16, max(map(len, names))),
        bar=min(40, 16 + spare // 4),
        memory=widest,
        history=min(30, 8 + spare // 8),
    )


def _memory(gpu: Gpu) -> str:
    if gpu.memory_used is None or gpu.memory_total is None:
        return "? G"
    return f"{text.gigabytes(gpu.memory_used)}/{text.gigabytes(gpu.memory_total)} G"


def _spans(gpu: Gpu, view: GpuView, layout: _Layout) -> Iterator[Span]:
    jobs = view.jobs.holders_of(gpu.uuid)
    name = text.gpu_name(gpu.name) if gpu.mig_index is None else "└ " + text.gpu_name(gpu.name)
    yield (" " + text.fit_right(gpu.label, layout.label) + " ", "strong" if gpu.mig_index is None else "")
    yield (text.fit(name, layout.name) + "  ", "dim")
    if gpu.error and gpu.silent:
        yield ("! " + (gpu.error if ":" in gpu.error else f"lost: {gpu.error}"), "bad")
        if jobs:
            told = f"#{jobs[0].id} {_configs(jobs[0])} was" if len(jobs) == 1 else f"{_numbers(jobs)} were"
            yield (f"   {told} here", "warn")
        return
    used, total = gpu.memory_used, gpu.memory_total
    if used is not None and total:
        filled, empty = text.bar(used / total, layout.bar)
        yield (filled, "running" if jobs else "bar")
        yield (empty, "bar-empty")
    else:
        yield ("?" + "·" * (layout.bar - 1), "bar-empty")
    yield ("  " + text.fit_right(_memory(gpu), layout.memory), "")
    yield (_number(gpu.utilization, "%", 5), "")
    yield (_number(gpu.temperature, "°", 5), "bad" if (gpu.temperature or 0) >= 90 else "dim")
    yield (_number(None if gpu.power is None else round(gpu.power), "W", 6), "dim")
    if layout.history:
        yield ("  " + text.sparkline(view.history.get(gpu.uuid, ()), layout.history), "accent")
    yield ("   ", "")


def _number(value: int | None, unit: str, width: int) -> str:
    return text.fit_right("?" if value is None else f"{value}{unit}", width)


def _configs(job: Job, room: int | None = None) -> str:
    """The config that a job is on, and how many others it took in or which shard of it; the name is cut to `room`
    cells for all."""
    shard = job.request.shard
    others = f" +{len(job.request.also)}" if job.request.also else f" {shard.label}" if shard else ""
    name = text.short_name(job.request.config)
    left = None if room is None else max(_NAME_CELLS, room - len(others))
    return (name if left is None or cell_len(name) <= left else text.fit_tail(name, left)) + others


def _held_by(gpu: Gpu, view: GpuView, room: int) -> Iterator[Span]:
    """Who is on it and what is wrong with it, for `room` cells: the number of a job is kept before its name."""
    if gpu.error and gpu.silent:
        return
    yield from _holders(gpu, view.jobs.holders_of(gpu.uuid), view, room)
    if gpu.error:
        yield (f" · ! {gpu.error}", "warn")


def _holders(gpu: Gpu, jobs: Sequence[Job], view: GpuView, room: int) -> Iterator[Span]:
    others = _others(gpu, jobs)
    if jobs:
        yield ("▶ ", "running")
        beside = f" · {others}" if others else ""
        yield (_named(jobs, room - 2, cell_len(beside)), "strong")
        if others:
            yield (beside, "warn")
        return
    if gpu.index in view.rules.exclude:
        yield ("excluded" + (" · " + others if others else ""), "dim")
        return
    if gpu.mig_enabled:
        yield ("in MIG mode, its parts below", "dim")
        return
    why_not = view.hindrance(gpu)
    if not why_not:
        yield ("free for jobs", "good")
        if others:
            yield (" · " + others, "dim")
    elif others:
        yield (f"{others} · {gpu.lock.words}" if gpu.lock is not None else others, "")
    elif gpu.lock is not None:
        yield (gpu.lock.words, "")
    else:
        yield (f"not free: {why_not}", "dim")


def _named(jobs: Sequence[Job], room: int, beside: int) -> str:
    """The jobs by name and number, as far as `room` cells go; of several at least how many there are.

    Names of several are left out before what stands `beside` them, in so many cells, is cut.
    """
    if len(jobs) == 1:
        number = f" #{jobs[0].id}"
        return _configs(jobs[0], room - len(number)) + number
    names = ", ".join(f"{_configs(job)} #{job.id}" for job in jobs)
    if cell_len(names) <= room - beside:
        return names
    numbers = _numbers(jobs)
    return numbers if cell_len(numbers) <= room else counted(len(jobs), "job")


def _numbers(jobs: Sequence[Job]) -> str:
    return " ".join(f"#{job.id}" for job in jobs)


def _others(gpu: Gpu, jobs: Sequence[Job]) -> str:
    """Processes that are not of the jobs' sessions, by user, most memory first: `user1 60 G, user2 7.4 G`."""
    own = {job.state.pid for job in jobs if isinstance(job.state, (Running, Stopping))} - {None}
    by_user: dict[str, int] = {}
    for process in gpu.processes:
        if own.isdisjoint((process.pid, process.session)):
            user = process.user or f"pid {process.pid}"
            by_user[user] = by_user.get(user, 0) + (process.memory or 0)
    ordered = sorted(by_user.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{user} {text.gigabytes(size)} G" if size else user for user, size in ordered)


def _excluded_line(excluded: Sequence[Gpu], layout: _Layout, width: int) -> Line:
    whole = [gpu for gpu in excluded if gpu.mig_index is None]
    label = text.ranges(gpu.index for gpu in whole)
    spans: list[Span] = [
        (" " + text.fit(label, layout.indent - 2) + " ", "dim"),
        ("excluded", "dim"),
    ]
    known = [gpu for gpu in whole if gpu.memory_used is not None and gpu.memory_total is not None]
    if known:
        used = sum(gpu.memory_used or 0 for gpu in known)
        total = sum(gpu.memory_total or 0 for gpu in known)
        spans.append(
            (f"   {text.gigabytes(used)}/{text.gigabytes(total)} G in use by others   g shows them", "dim")
        )
    lost = [gpu.label for gpu in whole if gpu.silent]
    if lost:
        spans.append((f"   ! {', '.join(lost)} lost", "bad"))
    return fit_line(tuple(spans), width)


def gpu_title(view: GpuView) -> Line:
    """What the strip's rule says: that GPUs are simulated, how many are free."""
    parts: list[Line] = [(("GPUs", "title"),)]
    snapshot = view.snapshot
    if snapshot is not None:
        if snapshot.source != "nvml":
            parts.append(((snapshot.source, "warn"),))
        free = sum(
            1 for gpu in snapshot.gpus if not view.jobs.holders_of(gpu.uuid) and not view.hindrance(gpu)
        )
        if snapshot.gpus and snapshot.error is None:
            parts.append(((f"{free} of {len(snapshot.gpus)} free for jobs", "dim"),))
    return joined(parts, (" · ", "rule"))
