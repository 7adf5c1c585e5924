"""Which GPUs a job may start on now, and, where none is free, what it waits for.

A GPU is free for a job when its free memory and its utilisation have kept the limits without a break for
the hold time, no job of ours holds it, it is not excluded and no one else's lock on it stands. A GPU that
one of our jobs holds is never free, so what was launched and has not yet taken its memory counts as taken.
A GPU in MIG mode is never free itself; its MIG devices are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from hitui.domain.gpus import Gpu, GpuSnapshot

BREAK_SECONDS = 5.0
"""Two samples further apart than this say nothing of the time between them: the hold starts again."""


class GpuRules(msgspec.Struct, frozen=True):
    """What the settings ask of every GPU."""

    exclude: frozenset[int] = frozenset()
    """Indices that are never touched, their MIG devices included."""
    max_utilization: int = 10
    """Percent."""
    hold: float = 10.0
    """Seconds."""


class GpuHistory(msgspec.Struct, frozen=True):
    """The samples that a hold time looks back on, oldest first, without a break between them."""

    samples: tuple[GpuSnapshot, ...] = ()

    @property
    def latest(self) -> GpuSnapshot | None:
        return self.samples[-1] if self.samples else None

    def observe(self, snapshot: GpuSnapshot, hold: float) -> GpuHistory:
        """The history with one more sample; what is older than the hold needs is dropped.

        A sample without GPUs (the driver did not answer), a long gap or a clock that went back breaks it.
        """
        last = self.latest
        if snapshot.error is not None:
            return GpuHistory()
        if last is None or not 0 <= snapshot.taken_at - last.taken_at <= BREAK_SECONDS:
            return GpuHistory((snapshot,))
        samples = (*self.samples, snapshot)
        start = snapshot.taken_at - hold
        first = 0
        # One sample from before the window stays: it says what held when the window began.
        while first + 1 < len(samples) and samples[first + 1].taken_at <= start:
            first += 1
        return GpuHistory(samples[first:])


class Placement(msgspec.Struct, frozen=True):
    """Either the GPUs to start on, or what to wait for."""

    gpus: tuple[str, ...] = ()
    """UUIDs; empty with an empty `waits_for`: it needs none."""
    waits_for: str = ""
    """One line; what stands before the first colon is its short form. Empty: start now."""


def gpus_for_jobs(snapshot: GpuSnapshot) -> tuple[Gpu, ...]:
    """What a job can be placed on: whole GPUs, and MIG devices in the place of their GPU."""
    return tuple(gpu for gpu in snapshot.gpus if not gpu.mig_enabled)


def named(gpus: Sequence[Gpu], name: str) -> Gpu | None:
    """The GPU of an index, label or UUID; None: there is none of that name."""
    return next((gpu for gpu in gpus if name in (gpu.label, gpu.uuid)), None)


def unknown_gpus(snapshot: GpuSnapshot, wanted: Sequence[str]) -> str:
    """One line on the wanted GPUs that do not exist; empty when all do, or when no driver can say."""
    if snapshot.error is not None:
        return ""
    gpus = gpus_for_jobs(snapshot)
    unknown = [name for name in wanted if named(gpus, name) is None]
    if not unknown:
        return ""
    parents = {gpu.label for gpu in snapshot.gpus if gpu.mig_enabled}
    if unknown[0] in parents:
        devices = ", ".join(gpu.label for gpu in gpus if gpu.label.startswith(f"{unknown[0]}:"))
        return f"GPU {unknown[0]} is in MIG mode; name its devices: {devices or 'it has none'}"
    there = ", ".join(gpu.label for gpu in gpus) or "none at all"
    return f"no GPU {', '.join(unknown)}; there are {there}"


def hindrance(
    gpu: Gpu,
    needed: int,
    rules: GpuRules,
    claims: Mapping[str, int],
    locked: Collection[str] = (),
) -> str:
    """Why this GPU is not free at this moment, the hold time apart; empty when it is.

    `claims` names the job that holds a UUID, `locked` the UUIDs on which someone else's lock stands.
    """
    if gpu.index in rules.exclude:
        return "is excluded"
    if gpu.silent:
        return "does not answer"
    if gpu.mig_enabled:
        return "is in MIG mode"
    if not gpu.uuid:
        # A job is given its GPUs by UUID; with an empty one it would see none.
        return "does not say its UUID"
    if gpu.uuid in claims:
        return f"is held by job {claims[gpu.uuid]}"
    if gpu.uuid in locked:
        return "is locked by another hitui"
    if gpu.memory_free is None:
        return "does not say its free memory"
    if gpu.memory_free < needed:
        return f"has {gibibytes(gpu.memory_free)}"
    if gpu.utilization is None and gpu.error is not None:
        return "does not say how busy it is"
    if gpu.utilization is not None and gpu.utilization > rules.max_utilization:
        return f"is {gpu.utilization}% busy"
    return ""


def held_seconds(history: GpuHistory, uuid: str, needed: int, rules: GpuRules) -> float | None:
    """For how long the GPU has kept memory and utilisation without a break; None: it does not now."""
    latest = history.latest
    since = None
    for snapshot in reversed(history.samples):
        gpu = next((gpu for gpu in snapshot.gpus if gpu.uuid == uuid), None)
        if gpu is None or hindrance(gpu, needed, rules, {}):
            break
        since = snapshot.taken_at
    return None if since is None or latest is None else latest.taken_at - since


def place(
    snapshot: GpuSnapshot,
    needed: int,
    rules: GpuRules,
    claims: Mapping[str, int],
    wanted: Sequence[str] | None = None,
    history: GpuHistory | None = None,
    locked: Collection[str] = (),
) -> Placement:
    """Where a job that needs `needed` free bytes starts now, or what it waits for.

    With `wanted`, on exactly these GPUs, once all of them are free; without, on the one free GPU with the
    most free memory. `needed` of 0 without `wanted` needs no GPU. Without a history the hold time is not
    asked for.
    """
    if needed == 0 and not wanted:
        return Placement()
    size = f"{gibibytes(needed)} free on "
    if snapshot.error is not None:
        return Placement(
            waits_for=f'{size}a GPU: {snapshot.error} (min_free = "0B" for a runner that needs no GPU)'
        )
    everything = gpus_for_jobs(snapshot)
    if wanted:
        absent = unknown_gpus(snapshot, wanted)
        if absent:
            return Placement(waits_for=f"GPU {', '.join(wanted)}: {absent}")
        candidates = [gpu for gpu in everything if any(name in (gpu.label, gpu.uuid) for name in wanted)]
        size += f"GPU {', '.join(gpu.label for gpu in candidates)}"
    else:
        candidates = list(everything)
        size += "one GPU"
    reasons = []
    free = []
    for gpu in candidates:
        reason = hindrance(gpu, needed, rules, claims, locked)
        if not reason:
            left = _hold_left(gpu, needed, rules, history)
            reason = f"is free, and must stay so for {left:.0f} s more" if left else ""
        if reason:
            reasons.append((gpu.label, reason))
        else:
            free.append(gpu)
    if wanted and not reasons:
        return Placement(tuple(gpu.uuid for gpu in free))
    if not wanted and free:
        best = max(free, key=lambda gpu: (gpu.memory_free or 0, -gpu.index, -(gpu.mig_index or 0)))
        return Placement((best.uuid,))
    return Placement(waits_for=f"{size}: {_listed(reasons) or 'there is no GPU'}")


def never_enough(
    snapshot: GpuSnapshot, needed: int, rules: GpuRules, wanted: Sequence[str] | None = None
) -> str:
    """One line when no waiting can help: a wanted GPU is absent, excluded or too small; else empty."""
    if snapshot.error is not None or (needed == 0 and not wanted):
        return ""
    absent = unknown_gpus(snapshot, wanted or ())
    if absent:
        return absent
    everything = gpus_for_jobs(snapshot)
    chosen = [gpu for gpu in (named(everything, name) for name in wanted or ()) if gpu is not None]
    for gpu in chosen:
        if gpu.index in rules.exclude:
            return f"GPU {gpu.label} is excluded by [gpus] exclude"
        if gpu.memory_total is not None and gpu.memory_total < needed:
            return f"GPU {gpu.label} has {gibibytes(gpu.memory_total)} in all, less than the {gibibytes(needed)} of min_free"
    if chosen:
        return ""
    if not everything:
        return "there is no GPU"
    allowed = [gpu for gpu in everything if gpu.index not in rules.exclude]
    if not allowed:
        return "every GPU is excluded by [gpus] exclude"
    totals = [gpu.memory_total for gpu in allowed if gpu.error is None]
    sizes = [total for total in totals if total is not None]
    if len(sizes) == len(allowed) and max(sizes) < needed:
        return f"no GPU has {gibibytes(needed)} in all (min_free); the largest has {gibibytes(max(sizes))}"
    return ""


def gibibytes(size: int) -> str:
    """`20 GiB`, `12.4 GiB`."""
    value = f"{size / 1024**3:.1f}"
    return f"{value.removesuffix('.0')} GiB"


def _hold_left(gpu: Gpu, needed: int, rules: GpuRules, history: GpuHistory | None) -> float:
    if history is None:
        return 0.0
    held = held_seconds(history, gpu.uuid, needed, rules)
    if held is None:
        return max(rules.hold, 1.0)
    return max(0.0, rules.hold - held)


def _listed(reasons: Sequence[tuple[str, str]]) -> str:
    """`GPU 1 has 12.4 GiB; GPU 5, 6 is excluded`: GPUs with the same reason together, in index order."""
    grouped: dict[str, list[str]] = {}
    for label, reason in reasons:
        grouped.setdefault(reason, []).append(label)
    return "; ".join(f"GPU {', '.join(labels)} {reason}" for reason, labels in grouped.items())
