"""What the screen remembers from one snapshot to the next: utilisation by GPU, and since when a job is quiet."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import JobsSnapshot, Running
from hitui.domain.progress import JobProgress

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


class QuietJobs:
    """Since when each running job has reported nothing new, as long as this screen looks on."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[JobProgress | None, float]] = {}

    def observe(self, jobs: JobsSnapshot, progress: Mapping[int, JobProgress], now: float) -> None:
        running = {job.id for job in jobs.jobs if isinstance(job.state, Running)}
        self._last = {job_id: known for job_id, known in self._last.items() if job_id in running}
        for job_id in running:
            reported = progress.get(job_id)
            known = self._last.get(job_id)
            if known is None or _mark(known[0]) != _mark(reported):
                self._last[job_id] = (reported, now)

    def seconds(self, now: float) -> dict[int, float]:
        return {job_id: now - since for job_id, (_, since) in self._last.items()}


def _mark(progress: JobProgress | None) -> object:
    """What changes when a job gets on; rate and ETA also change by themselves."""
    return None if progress is None else (progress.phase, progress.done, progress.errors)
