"""What runs on the GPUs, process by process: number, user, memory, whole command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual.binding import Binding

from hitui.domain.gpus import GpuProcess, GpuSnapshot
from hitui.domain.jobs import Job, JobsSnapshot, Running, Stopping
from hitui.domain.units import counted
from hitui.ui import text
from hitui.ui.job_words import job_name
from hitui.ui.line import Line
from hitui.ui.screens.dialog import Dialog, DialogLines

if TYPE_CHECKING:
    from hitui.ui.app import Dashboard


class GpuDialog(Dialog):
    title_text = "Processes on the GPUs"
    most_width = 150

    def keys(self) -> list[Binding]:
        return [Binding("escape", "answer(False)", "close", key_display="Escape", id="gpu-dialog.back")]

    def on_mount(self) -> None:
        super().on_mount()
        for name in ("gpu_snapshot", "jobs_snapshot"):
            self.watch(self.app, name, self._show, init=False)

    def _show(self) -> None:
        self._fit()
        self.query_one(DialogLines).rebuild()

    def lines(self, width: int) -> Sequence[Line]:
        app = cast("Dashboard", self.app)
        return process_lines(app.gpu_snapshot, app.jobs_snapshot, width)


def process_lines(snapshot: GpuSnapshot | None, jobs: JobsSnapshot, width: int) -> list[Line]:
    """By GPU, most memory first, ours by the job; a command longer than its line goes on below its start."""
    if snapshot is None:
        return [(("asking the driver …", "dim"),)]
    lines: list[Line] = []
    if snapshot.error:
        lines += [((part, "warn"),) for part in text.wrapped(f"! {snapshot.error}", width)]
    rows = [
        (gpu.label, process, _job_of(process, jobs.holders_of(gpu.uuid)))
        for gpu in snapshot.gpus
        for process in sorted(gpu.processes, key=lambda process: (-(process.memory or 0), process.pid))
    ]
    if not rows:
        return lines or [((f"none on {counted(len(snapshot.gpus), 'GPU')}", "dim"),)]
    label = max(3, *(len(gpu) for gpu, _, _ in rows))
    pid = max(5, *(len(str(process.pid)) for _, process, _ in rows))
    user = min(16, max(4, *(len(process.user or "?") for _, process, _ in rows)))

    def start(gpu: str, number: str, whose: str, memory: str) -> str:
        cells = text.fit_right(gpu, label), text.fit_right(number, pid), text.fit(whose, user)
        return "  ".join((*cells, text.fit_right(memory, 8), ""))

    lines.append(((start("GPU", "pid", "user", "memory") + "command", "dim"),))
    for gpu, process, job in rows:
        memory = "?" if process.memory is None else f"{text.gigabytes(process.memory)} G"
        head = start(gpu, str(process.pid), process.user or "?", memory)
        if job is not None:
            # Its command is on record, and longer than all of the others.
            lines.append(((head, ""), (f"▶ {job_name(job, short=True)}", "running")))
            continue
        parts = text.wrapped(process.command or "?", width - len(head))
        lines += [
            ((f"{head if number == 0 else '':{len(head)}}{part}", ""),) for number, part in enumerate(parts)
        ]
    return lines


def _job_of(process: GpuProcess, jobs: Sequence[Job]) -> Job | None:
    """The job of ours that a process is part of; None: it is someone else's, or was started by hand."""
    for job in jobs:
        if isinstance(job.state, (Running, Stopping)) and job.state.pid in (process.pid, process.session):
            return job
    return None
