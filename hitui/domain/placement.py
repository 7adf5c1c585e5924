"""Which GPUs a job may start on now, and, where none is free, what it waits for.

A GPU is free for a job when its free memory and its utilisation have kept the limits without a break for
the hold time, no job of ours holds it, it is not excluded and no one else's lock on it stands. A GPU in MIG
mode is never free itself; its MIG devices are, each on its own: a process can use only one of them, so a job
on several GPUs goes to whole ones.

A job that shares may go to a GPU that only jobs hold which share too. What those asked for and have not yet
taken counts as taken, and the utilisation that they cause themselves keeps no other of them away.

A job that waits keeps what is free for it from the jobs behind it: as many GPUs as it needs, or those that it
named; where too few are free, GPUs too that jobs share, so that no others join these. Otherwise a stream of
small jobs would leave it waiting for ever.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import msgspec

from hitui.domain.claims import Claims, Grip, blocking, only_ours, without_ours
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.waiting_words import gibibytes, jobs, listed

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


class Need(msgspec.Struct, frozen=True):
    """What a job asks of the GPUs."""

    memory: int
    """Free bytes that each of its GPUs must have; 0: it needs no GPU, unless some are named."""
    gpus: int = 1
    """How many, where none are named."""
    share: bool = False
    """It may go where others are that share."""


class Verdict(msgspec.Struct, frozen=True):
    """One GPU as one job finds it."""

    gpu: Gpu
    hindrance: str = ""
    """Why it is not free for the job; empty: it is, the hold time apart."""
    hold_left: float = 0.0
    """Seconds that it must still stay free."""
    room: int = 0
    """Free bytes, without what jobs on it are still to take."""
    clears: bool = False
    """It will be free for the job when jobs that share it have ended, and no others follow them there."""

    @property
    def reason(self) -> str:
        """Why the job does not start there now; empty: it may."""
        if self.hindrance or not self.hold_left:
            return self.hindrance
        return f"is free, and must stay so for {math.ceil(self.hold_left)} s more"


class Placement(msgspec.Struct, frozen=True):
    """Either the GPUs to start on, or what to wait for."""

    gpus: tuple[str, ...] = ()
    """UUIDs; empty with an empty `waits_for`: it needs none."""
    waits_for: str = ""
    """One line; what stands before the first colon is its short form. Empty: start now."""
    keeps: tuple[str, ...] = ()
    """UUIDs that jobs behind this one are not to take while it waits."""


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
    need: Need,
    rules: GpuRules,
    claims: Claims,
    locked: Collection[str] = (),
) -> str:
    """Why this GPU is not free at this moment, the hold time apart; empty when it is.

    `locked` names the UUIDs on which someone else's lock stands.
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
    on_it = claims.get(gpu.uuid, ())
    taken = blocking(on_it, need.share)
    if taken:
        return taken
    if gpu.lock is not None and not any(claim.grip is Grip.HELD for claim in on_it):
        return f"is {gpu.lock.words}"
    if gpu.uuid in locked:
        return "is locked by another hitui"
    if gpu.memory_free is None:
        return "does not say its free memory"
    free = room(gpu, claims)
    if free < need.memory:
        beside = f" beside what {jobs([claim.job for claim in on_it])} will take" if on_it else ""
        return f"has {gibibytes(free)}{beside}"
    if only_ours(gpu, on_it):
        return ""
    if gpu.utilization is None and gpu.error is not None:
        return "does not say how busy it is"
    if gpu.utilization is not None and gpu.utilization > rules.max_utilization:
        return f"is {gpu.utilization}% busy"
    return ""


def held_seconds(history: GpuHistory, uuid: str, need: Need, rules: GpuRules, claims: Claims) -> float | None:
    """For how long the GPU has kept memory and utilisation without a break; None: it does not now.

    What jobs hold on it now is looked for in every sample, so that one that was just launched takes its
    memory from the whole past.
    """
    latest = history.latest
    since = None
    for snapshot in reversed(history.samples):
        gpu = next((gpu for gpu in snapshot.gpus if gpu.uuid == uuid), None)
        if gpu is None or hindrance(gpu, need, rules, claims):
            break
        since = snapshot.taken_at
    return None if since is None or latest is None else latest.taken_at - since


def judge(
    snapshot: GpuSnapshot,
    need: Need,
    rules: GpuRules,
    claims: Claims,
    wanted: Sequence[str] | None = None,
    history: GpuHistory | None = None,
    locked: Collection[str] = (),
) -> tuple[Verdict, ...]:
    """Every GPU that the job could be given, in index order: those that are `wanted`, or else all.

    Without a history the hold time is not asked for.
    """
    verdicts = []
    for gpu in gpus_for_jobs(snapshot):
        if wanted and not any(name in (gpu.label, gpu.uuid) for name in wanted):
            continue
        reason = hindrance(gpu, need, rules, claims, locked)
        if not reason and not wanted and need.gpus > 1 and gpu.mig_index is not None:
            reason = f"is no whole one, as a job on {need.gpus} GPUs needs"
        left = 0.0 if reason or history is None else _hold_left(gpu, need, rules, claims, history)
        clears = bool(reason) and _clears(gpu, need, rules, claims, locked)
        verdicts.append(Verdict(gpu, reason, left, room(gpu, claims), clears))
    return tuple(verdicts)


def place(
    snapshot: GpuSnapshot,
    need: Need,
    rules: GpuRules,
    claims: Claims,
    wanted: Sequence[str] | None = None,
    history: GpuHistory | None = None,
    locked: Collection[str] = (),
) -> Placement:
    """Where a job starts now, or what it waits for.

    With `wanted`, on exactly these GPUs, once all of them are free; without, on as many as it needs, of the
    free ones those with the most free memory. Without a history the hold time is not asked for.
    """
    if need.memory == 0 and not wanted:
        return Placement()
    size = size_of(need)
    if snapshot.error is not None:
        return Placement(
            waits_for=f'{size}a GPU: {snapshot.error} (min_free = "0B" for a runner that needs no GPU)'
        )
    absent = unknown_gpus(snapshot, wanted or ())
    if absent:
        return Placement(waits_for=f"GPU {', '.join(wanted or ())}: {absent}")
    verdicts = judge(snapshot, need, rules, claims, wanted, history, locked)
    if wanted:
        size += f"GPU {', '.join(verdict.gpu.label for verdict in verdicts)}"
    else:
        size += "one GPU" if need.gpus == 1 else f"{need.gpus} GPUs"
    count = len(verdicts) if wanted else need.gpus
    free = [verdict for verdict in verdicts if not verdict.reason]
    if len(free) >= count > 0:
        return Placement(_uuids(sorted(free, key=_emptiest)[:count]))
    nearly = sorted(
        (verdict for verdict in verdicts if not verdict.hindrance or verdict.clears),
        key=lambda verdict: (verdict.clears, verdict.hold_left, _emptiest(verdict)),
    )
    # Of GPUs that were named, those that are free go without saying.
    told = [verdict for verdict in verdicts if verdict.reason or not wanted]
    reasons = listed([(verdict.gpu.label, verdict.reason or "is free") for verdict in told])
    return Placement(waits_for=f"{size}: {reasons or 'there is no GPU'}", keeps=_uuids(nearly[:count]))


def never_enough(
    snapshot: GpuSnapshot, need: Need, rules: GpuRules, wanted: Sequence[str] | None = None
) -> str:
    """One line when no waiting can help: GPUs are absent, excluded or too small; else empty."""
    needed = need.memory
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
    if need.gpus > 1:
        whole = [gpu for gpu in allowed if gpu.mig_index is None]
        enough = [gpu for gpu in whole if gpu.memory_total is None or gpu.memory_total >= needed]
        if len(enough) < need.gpus:
            return f"{need.gpus} GPUs with {gibibytes(needed)} in all are needed (gpus or recovery_gpus, min_free); there {_are(len(enough))}"
    return ""


def size_of(need: Need) -> str:
    """How the line begins that says what a job waits for on GPUs that exist."""
    return f"{gibibytes(need.memory)} free on "


def _are(count: int) -> str:
    return "is none" if count == 0 else "is 1" if count == 1 else f"are {count}"


def _clears(gpu: Gpu, need: Need, rules: GpuRules, claims: Claims, locked: Collection[str]) -> bool:
    on_it = claims.get(gpu.uuid, ())
    if not on_it or not all(claim.shared and claim.grip is Grip.HELD for claim in on_it):
        return False
    return not hindrance(without_ours(gpu, on_it), need, rules, {}, locked)


def room(gpu: Gpu, claims: Claims) -> int:
    """Free bytes, without what jobs on the GPU are still to take."""
    on_it = claims.get(gpu.uuid)
    if not on_it:
        return gpu.memory_free or 0
    return max(0, (gpu.memory_free or 0) - sum(claim.untaken(gpu) for claim in on_it))


def _emptiest(verdict: Verdict) -> tuple[int, int, int]:
    gpu = verdict.gpu
    return (-verdict.room, gpu.index, gpu.mig_index or 0)


def _uuids(chosen: Sequence[Verdict]) -> tuple[str, ...]:
    """In index order, as the job is to see them."""
    return tuple(
        verdict.gpu.uuid
        for verdict in sorted(chosen, key=lambda each: (each.gpu.index, each.gpu.mig_index or 0))
    )


def _hold_left(gpu: Gpu, need: Need, rules: GpuRules, claims: Claims, history: GpuHistory) -> float:
    held = held_seconds(history, gpu.uuid, need, rules, claims)
    if held is None:
        return max(rules.hold, 1.0)
    return max(0.0, rules.hold - held)
