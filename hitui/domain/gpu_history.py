"""The last day of each GPU, at a resolution that falls with age. Values in, values out.

A bin sums up the readings of one GPU over some seconds. Each moment lies in one bin at the most: bins that
have grown old are folded into the wider one that they lie in, whose sums and maxima are theirs together. A
time without readings has no bin: a gap is a gap, not a zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from hitui.domain.gpus import Gpu, GpuSnapshot

LEVELS = ((10, 3600), (60, 6 * 3600), (600, 24 * 3600))
"""Width of the bins, and how old they become before they are folded into the next wider ones, in seconds."""
UNNAMED = "?"
"""User of a process of which the driver or the kernel names none."""


class Measure(msgspec.Struct, frozen=True, array_like=True):
    """Readings of one value."""

    count: int = 0
    total: int = 0
    highest: int = 0

    @property
    def mean(self) -> float | None:
        """None: there was no reading."""
        return self.total / self.count if self.count else None

    def __or__(self, other: Measure) -> Measure:
        if not self.count or not other.count:
            return self if self.count else other
        return Measure(self.count + other.count, self.total + other.total, max(self.highest, other.highest))


class GpuBin(msgspec.Struct, frozen=True):
    """One GPU over `seconds` from `start` on."""

    uuid: str
    start: int
    """Seconds since the epoch, a multiple of `seconds`."""
    seconds: int
    memory: Measure = Measure()
    """Bytes in use, by anyone."""
    utilization: Measure = Measure()
    """Percent."""
    users: tuple[tuple[str, int], ...] = ()
    """Who had processes on it, and the most bytes that each had at one moment; by name."""


def bins_of(snapshot: GpuSnapshot) -> tuple[GpuBin, ...]:
    """One reading as the narrowest bins; none for a GPU that does not answer."""
    width = LEVELS[0][0]
    start = int(snapshot.taken_at // width) * width
    return tuple(
        GpuBin(gpu.uuid, start, width, _measure(gpu.memory_used), _measure(gpu.utilization), _users(gpu))
        for gpu in snapshot.gpus
        if not gpu.silent and snapshot.error is None
    )


def merged(bins: Iterable[GpuBin]) -> tuple[GpuBin, ...]:
    """The bins with those of the same GPU, time and width made one; the oldest first."""
    found: dict[tuple[int, int, str], GpuBin] = {}
    for one in bins:
        key = (one.start, one.seconds, one.uuid)
        known = found.get(key)
        found[key] = one if known is None else _together(known, one, one.start, one.seconds)
    return tuple(found[key] for key in sorted(found))


def folded(bins: Iterable[GpuBin], now: float) -> tuple[GpuBin, ...]:
    """The bins at the resolution that fits their age, the oldest first; what is older than a day is left out.

    Only when the whole of a wider bin is old enough is anything folded into it. Bins of the future, as a
    clock that was set back leaves them, are left out too.
    """
    rest = list(bins)
    for width, horizon in LEVELS:
        wider = _wider(width)
        kept = []
        for one in rest:
            if one.seconds == width and wider is not None:
                start = one.start // wider * wider
                if start + wider <= now - horizon:
                    one = _together(one, GpuBin(one.uuid, start, wider), start, wider)
            kept.append(one)
        rest = kept
    oldest, latest = now - LEVELS[-1][1], now + LEVELS[-1][0]
    return merged(one for one in rest if one.start + one.seconds > oldest and one.start <= latest)


def due_before(now: float) -> Mapping[int, int]:
    """Width → before which start bins of that width are to be folded or left out."""
    limits = {}
    for width, horizon in LEVELS:
        old = math.floor(now - horizon)
        wider = _wider(width)
        # The last wider bin that is old enough as a whole ends there; of the widest, the last that is too old.
        limits[width] = old // wider * wider if wider is not None else old - width + 1
    return limits


def _wider(width: int) -> int | None:
    return next((level for level, _ in LEVELS if level > width), None)


def _together(one: GpuBin, other: GpuBin, start: int, seconds: int) -> GpuBin:
    users = dict(one.users)
    for user, memory in other.users:
        users[user] = max(memory, users.get(user, 0))
    return GpuBin(
        one.uuid,
        start,
        seconds,
        one.memory | other.memory,
        one.utilization | other.utilization,
        tuple(sorted(users.items())),
    )


def _measure(value: int | None) -> Measure:
    return Measure() if value is None else Measure(1, value, value)


def _users(gpu: Gpu) -> tuple[tuple[str, int], ...]:
    users: dict[str, int] = {}
    for process in gpu.processes:
        name = process.user or UNNAMED
        users[name] = users.get(name, 0) + (process.memory or 0)
    return tuple(sorted(users.items()))
