"""Whether something still comes of a running job, and whether its GPU is still there. Values in, values out.

A job shows life by output, by event lines and by the use that its processes make of its GPU; one that shows
none for a set time is taken for stalled. All times here are those of a clock that nobody sets, in seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from hitui.domain.gpus import Gpu, GpuSnapshot


class WatchRules(msgspec.Struct, frozen=True):
    """What the settings say of a job that runs."""

    stall: float | None = 1800.0
    """Seconds without a sign of life after which it is taken for stalled; None: never."""
    restart: bool = False
    """Whether it is then taken for crashed, and tried again."""
    errors: int = 20
    """After so many tasks that failed one after the other it is paused; 0: never."""
    lost: float | None = 30.0
    """Seconds for which its GPU must be lost before it is taken elsewhere; None: it never is."""


class Signs(msgspec.Struct, frozen=True):
    """What was seen of a job at one look."""

    log_size: int | None = None
    """Bytes; None: there is no log (yet)."""
    events_size: int | None = None
    gpu_used: bool | None = None
    """Since the last look, by the job's own processes; None: it has no GPU, or the driver does not say."""


class Attention(msgspec.Struct, frozen=True):
    """What is remembered of a job between two looks."""

    signs: Signs
    since: float
    """When the last sign of life was seen."""
    told_since: float | None
    """Since when every look could tell if the GPU was used (a job without one uses none); None: the last could not."""


def attend(known: Attention | None, signs: Signs, now: float, has_gpu: bool) -> Attention:
    """What is remembered after one more look; `known` None: it is the first."""
    told = signs.gpu_used is not None or not has_gpu
    told_since = now if known is None or known.told_since is None else known.told_since
    if known is not None and not signs.gpu_used and _sizes(signs) == _sizes(known.signs):
        return Attention(signs, known.since, told_since if told else None)
    return Attention(signs, now, told_since if told else None)


def is_stalled(attention: Attention, now: float, rules: WatchRules) -> bool:
    return rules.stall is not None and now - attention.since >= rules.stall


def is_surely_stalled(attention: Attention, now: float, rules: WatchRules) -> bool:
    """Stalled, and the driver has told for all of that time that its GPU was not used."""
    if rules.stall is None or attention.told_since is None:
        return False
    return is_stalled(attention, now, rules) and now - attention.told_since >= rules.stall


def tells_of_gpus(snapshot: GpuSnapshot) -> bool:
    """Whether the driver answers at all; only then a GPU may be called lost."""
    return snapshot.error is None and bool(snapshot.gpus)


def losses(
    known: Mapping[str, float], held: Collection[str], snapshot: GpuSnapshot, now: float
) -> dict[str, float]:
    """Since when each of the held GPUs (UUIDs) is lost.

    The driver gives nothing of it while it gives something of others, or it no longer lists it. A driver that
    does not answer at all says nothing of any GPU: what was known before stays as it was.
    """
    if not tells_of_gpus(snapshot):
        return {uuid: min(since, now) for uuid, since in known.items() if uuid in held}
    there = {gpu.uuid: gpu for gpu in snapshot.gpus}
    return {uuid: min(known.get(uuid, now), now) for uuid in held if uuid not in there or there[uuid].silent}


def loss_words(uuid: str, snapshot: GpuSnapshot) -> str:
    """`GPU 3 is lost: the driver no longer answers for it`, in one line."""
    gpu: Gpu | None = next((gpu for gpu in snapshot.gpus if gpu.uuid == uuid), None)
    if gpu is None:
        return f"the driver no longer lists its GPU {uuid}"
    return f"GPU {gpu.label} does not answer: {gpu.error}"


def _sizes(signs: Signs) -> tuple[int | None, int | None]:
    return signs.log_size, signs.events_size
