"""Which GPUs have become free for a new job, so that someone can be told. Values in, values out.

A GPU is free, or busy, once every reading of `hold` seconds says so: what flickers is neither. It has become
free when it was known as busy and stays free a little longer than that, in which the queue may take it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from hitui.domain.claims import Claims
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.placement import BREAK_SECONDS, GpuRules, Need, gpus_for_jobs, hindrance

SETTLE_SECONDS = 3.0
"""How long the queue has for a GPU that has just become free: reading results comes before a start."""


class Spell(msgspec.Struct, frozen=True):
    """One GPU, as the readings have it of late."""

    free: bool
    """What the last reading says."""
    since: float
    """Since when each reading says so, in seconds since the epoch."""
    seen: float
    """When the last reading was."""
    known_free: bool | None = None
    """What it is known as; None: neither has lasted long enough yet."""


def observe(
    known: Mapping[str, Spell],
    snapshot: GpuSnapshot,
    need: Need,
    rules: GpuRules,
    claims: Claims,
    locked: Collection[str] = (),
) -> tuple[dict[str, Spell], tuple[Gpu, ...]]:
    """What is known of each GPU (by UUID) after one more reading, and those that have become free with it.

    `claims` are those of our jobs, `locked` the UUIDs on which a lock stands. GPUs that are excluded are left
    out. A reading without GPUs, a long gap and a clock that was set back say nothing: what a GPU is known as
    stays so, and its time begins anew.
    """
    if snapshot.error is not None:
        return dict(known), ()
    now = snapshot.taken_at
    spells: dict[str, Spell] = {}
    freed = []
    for gpu in gpus_for_jobs(snapshot):
        if not gpu.uuid or gpu.index in rules.exclude:
            continue
        free = not hindrance(gpu, need, rules, claims, locked)
        before = known.get(gpu.uuid)
        unbroken = before is not None and before.free == free and 0 <= now - before.seen <= BREAK_SECONDS
        since = before.since if before is not None and unbroken else now
        known_free = None if before is None else before.known_free
        # The first time nobody is told of it, so that the queue needs no time.
        settle = SETTLE_SECONDS if free and known_free is False else 0.0
        if now - since >= rules.hold + settle:
            if free and known_free is False:
                freed.append(gpu)
            known_free = free
        spells[gpu.uuid] = Spell(free, since, now, known_free)
    # One that the driver does not list at the moment is not forgotten: it may be back with the next reading.
    return {**known, **spells}, tuple(freed)
