"""What the screen remembers from one snapshot to the next: utilisation by GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from hitui.domain.gpus import GpuSnapshot

SECONDS_PER_CELL = 5.0
"""One cell of history is the mean of so long: a line of calm steps, painted again only when one is full."""
CELLS = 60


class Utilisations:
    """Means of utilisation by UUID, oldest first."""

    def __init__(self) -> None:
        self._cells: dict[str, deque[float | None]] = {}
        self._collected: dict[str, list[int]] = {}
        self._since: float | None = None

    def observe(self, snapshot: GpuSnapshot) -> None:
        if self._since is None:
            self._since = snapshot.taken_at
        if not 0 <= snapshot.taken_at - self._since < SECONDS_PER_CELL or not self._cells:
            self._close_cells()
            self._since = snapshot.taken_at
        for gpu in snapshot.gpus:
            self._cells.setdefault(gpu.uuid, deque(maxlen=CELLS))
            if gpu.utilization is not None:
                self._collected.setdefault(gpu.uuid, []).append(gpu.utilization)

    def _close_cells(self) -> None:
        for uuid, cells in self._cells.items():
            values = self._collected.get(uuid)
            cells.append(sum(values) / len(values) if values else None)
        self._collected.clear()

    def by_gpu(self) -> Mapping[str, Sequence[float | None]]:
        """Whole cells; before the first is full, what was collected so far."""
        return {
            uuid: list(cells) or [sum(self._collected[uuid]) / len(self._collected[uuid])]
            for uuid, cells in self._cells.items()
            if cells or self._collected.get(uuid)
        }
