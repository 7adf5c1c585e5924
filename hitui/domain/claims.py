"""What jobs of ours hold, keep or are about to take on a GPU, and how much of it they have not taken yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import msgspec

from hitui.domain.gpus import Gpu, GpuProcess
from hitui.domain.waiting_words import jobs


class Grip(str, Enum):
    """How firmly a job has a GPU."""

    HELD = "is held by"
    """It was started there."""
    KEPT = "is kept for"
    """It waits for more than this GPU, or for the hold time, and is ahead in the queue."""
    PLANNED = "is taken by the request before"
    """It is not even queued; a plan gives the GPU to it."""


class Claim(msgspec.Struct, frozen=True):
    """One job on one GPU."""

    job: int
    """Its number; 0 for one that is only planned."""
    memory: int = 0
    """Bytes that it asks for on this GPU."""
    shared: bool = False
    """It allows other jobs that allow it too."""
    pid: int | None = None
    """Of its runner, which leads a session of its own; None: it is not known to run yet."""
    grip: Grip = Grip.HELD

    def owns(self, process: GpuProcess) -> bool:
        """Whether the process is its runner, or was started by that one and stayed in its session."""
        return self.pid is not None and self.pid in (process.pid, process.session)

    def untaken(self, gpu: Gpu) -> int:
        """Bytes that it asks for and does not use yet; what the driver does not say counts as not used."""
        used = sum(process.memory or 0 for process in gpu.processes if self.owns(process))
        return max(0, self.memory - used)


Claims = Mapping[str, Sequence[Claim]]
"""By the UUID of the GPU."""


def blocking(claims: Sequence[Claim], share: bool) -> str:
    """`is held by job 14` of a GPU on which a job (which shares, or not) may not go; empty: it may."""
    if not claims:
        return ""
    alone = [claim for claim in claims if not (share and claim.shared)]
    for grip in Grip:
        numbers = [claim.job for claim in alone if claim.grip is grip]
        if numbers:
            return grip.value if grip is Grip.PLANNED else f"{grip.value} {jobs(numbers)}"
    return ""


def only_ours(gpu: Gpu, claims: Sequence[Claim]) -> bool:
    """Whether nothing but jobs of ours that run keeps the GPU busy, as far as the driver names who is on it."""
    held = [claim for claim in claims if claim.grip is Grip.HELD]
    return bool(held) and all(any(claim.owns(process) for claim in held) for process in gpu.processes)


def without_ours(gpu: Gpu, claims: Sequence[Claim]) -> Gpu:
    """The GPU as it will be when these jobs have ended, as far as the driver tells what is theirs."""
    theirs = [process for process in gpu.processes if any(claim.owns(process) for claim in claims)]
    free = gpu.memory_free
    if free is not None:
        free += sum(process.memory or 0 for process in theirs)
    return msgspec.structs.replace(
        gpu,
        memory_free=free,
        utilization=0 if only_ours(gpu, claims) else gpu.utilization,
        processes=tuple(process for process in gpu.processes if process not in theirs),
        lock=None if any(claim.grip is Grip.HELD for claim in claims) else gpu.lock,
    )


def with_claim(claims: Claims, uuids: Iterable[str], claim: Claim) -> Claims:
    """The claims and one more on each of these GPUs."""
    return {**claims, **{uuid: (*claims.get(uuid, ()), claim) for uuid in uuids}}


def keep(claims: Claims, uuids: Iterable[str], claim: Claim) -> Claims:
    """The claims, and these GPUs kept for a job that waits; itself where nothing is to be added.

    A GPU that is kept already for one that shares is not kept a second time: it is kept from jobs that do not
    share, and those that do find their place beside each other or are next.
    """
    new = [uuid for uuid in uuids if all(other.grip is not Grip.KEPT for other in claims.get(uuid, ()))]
    return with_claim(claims, new, msgspec.structs.replace(claim, grip=Grip.KEPT)) if new else claims
