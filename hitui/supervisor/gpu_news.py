"""Whether readings of the GPUs tell anything that could decide about a job and was not looked at yet.

A look at a queue of thousands costs milliseconds, and GPUs that others compute on for days are read every second.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

from hitui.domain.gpus import GpuSnapshot


class GpuNews:
    def __init__(self) -> None:
        self._seen: Hashable = None
        self._since = 0.0
        """When the GPUs were first read as they are, in seconds since the epoch."""
        self._read_at = 0.0
        self._looked_at = -math.inf
        """When they were last read so before a look at the queue."""

    def observe(self, snapshot: GpuSnapshot) -> None:
        """Takes note of a reading."""
        seen = _what_decides(snapshot)
        if seen != self._seen:
            self._seen, self._since, self._looked_at = seen, snapshot.taken_at, -math.inf
        self._read_at = snapshot.taken_at

    def look(self) -> None:
        """The queue is looked at with what was read until now."""
        self._looked_at = self._read_at

    def are_there(self, hold: float) -> bool:
        """False: the last look found the GPUs as they are, and so for longer than the `hold` seconds that count."""
        return not self._looked_at - self._since > hold


def _what_decides(snapshot: GpuSnapshot) -> Hashable:
    """All but temperatures and power."""
    gpus = [
        (
            gpu.uuid,
            gpu.label,
            gpu.mig_enabled,
            gpu.memory_total,
            gpu.memory_free,
            gpu.utilization,
            gpu.processes,
            gpu.error,
            gpu.lock,
        )
        for gpu in snapshot.gpus
    ]
    return snapshot.error, tuple(gpus)
