"""The last utilisation of each GPU, for the small curve beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hitui.domain.gpus import GpuSnapshot


@dataclass(frozen=True, slots=True)
class UtilizationHistory:
    """Percent by GPU, oldest first, at most `length` readings each; None where there was no value."""

    length: int = 60
    by_gpu: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    """By UUID; a GPU that the newest reading does not name is forgotten."""

    def after(self, snapshot: GpuSnapshot) -> UtilizationHistory:
        """The history with one more reading. A snapshot with an error adds a gap and forgets nothing."""
        if snapshot.error is not None:
            read: dict[str, int | None] = dict.fromkeys(self.by_gpu)
        else:
            read = {gpu.uuid: gpu.utilization for gpu in snapshot.gpus if gpu.uuid}
        return UtilizationHistory(
            self.length,
            {uuid: (*self.of(uuid), percent)[-self.length :] for uuid, percent in read.items()},
        )

    def of(self, uuid: str) -> tuple[int | None, ...]:
        """Readings of one GPU; empty for one that was not seen."""
        return self.by_gpu.get(uuid, ())
