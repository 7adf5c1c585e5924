"""Places many jobs at one moment: what is the same for several of them is found out once.

Hundreds of configs may each ask for another amount of memory. Whether a GPU has enough of it is asked by
comparing that amount with what the GPUs have; where two amounts lie between the same of these marks, every
answer is the same, and only the amount in the line that says it differs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection

from msgspec.structs import replace

from hitui.domain.claims import Claims, without_ours
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.placement import (
    GpuHistory,
    GpuRules,
    Need,
    Placement,
    never_enough,
    place,
    room,
    size_of,
)

_Wanted = tuple[str, ...] | None


class Placer:
    """What `place` and `never_enough` say of any need, as long as nothing of what it was made with changes."""

    def __init__(
        self,
        snapshot: GpuSnapshot,
        rules: GpuRules,
        claims: Claims,
        history: GpuHistory | None = None,
        locked: Collection[str] = (),
    ) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._claims = claims
        self._history = history
        self._locked = locked
        self._marks = _marks(snapshot, claims, history)
        self._known: dict[tuple[Need, _Wanted], Placement] = {}
        self._alike: dict[tuple[int, int, bool, _Wanted], tuple[str, Placement]] = {}
        """By what decides: the size that the line begins with, and the placement."""
        self._enough: set[tuple[int, int, _Wanted]] = set()
        """For these some waiting can help."""

    def place(self, need: Need, wanted: _Wanted = None) -> Placement:
        """As `placement.place`."""
        known = self._known.get((need, wanted))
        if known is None:
            known = self._known[need, wanted] = self._find(need, wanted)
        return known

    def never_enough(self, need: Need, wanted: _Wanted = None) -> str:
        """As `placement.never_enough`."""
        alike = bisect_left(self._marks, need.memory), need.gpus, wanted
        if alike in self._enough:
            return ""
        reason = never_enough(self._snapshot, need, self._rules, wanted)
        if not reason:
            self._enough.add(alike)
        return reason

    def _find(self, need: Need, wanted: _Wanted) -> Placement:
        alike = bisect_left(self._marks, need.memory), need.gpus, need.share, wanted
        size = size_of(need)
        known = self._alike.get(alike)
        if known is not None:
            told, placement = known
            if not placement.waits_for.startswith(told):
                return placement
            return replace(placement, waits_for=size + placement.waits_for[len(told) :])
        placement = place(
            self._snapshot, need, self._rules, self._claims, wanted, self._history, self._locked
        )
        self._alike[alike] = size, placement
        return placement


def _marks(snapshot: GpuSnapshot, claims: Claims, history: GpuHistory | None) -> list[int]:
    """All that `place` and `never_enough` compare a need's memory with, in bytes, smallest first."""
    marks = {0}
    for sample in (snapshot, *(history.samples if history is not None else ())):
        marks.update(room(gpu, claims) for gpu in sample.gpus)
    for gpu in snapshot.gpus:
        marks.add(gpu.memory_total or 0)
        on_it = claims.get(gpu.uuid, ())
        if on_it:
            marks.add(without_ours(gpu, on_it).memory_free or 0)
    return sorted(marks)
