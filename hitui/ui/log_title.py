"""The rule above a log, in words: whose it is, how far it is, whether it follows."""

from __future__ import annotations

from pathlib import Path

from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Job
from hitui.domain.units import counted
from hitui.services.logs import LogWindow
from hitui.ui import text
from hitui.ui.config_rows import ConfigRow, gpu_words
from hitui.ui.line import Line, joined, width_of

RULE_CELLS = 9
"""What the rule itself has of its line, at the least."""


def log_title(
    row: ConfigRow | None, job: Job | None, window: LogWindow, gpus: GpuSnapshot | None, width: int
) -> tuple[Line, Line]:
    """Left and right of the rule: `#14 qwen3vl_text/text_html · GPU 2 · 3 of 17`, and `following`; the name is short
    where `width` cells have no room for both. `job` is whose log it is."""
    if row is None:
        return (("Log", "title"),), ()
    place = log_place(window)
    left = _whose(row, row.name, job, window, gpus)
    if width_of(left) + width_of(place) + RULE_CELLS > width:
        left = _whose(row, text.short_name(row.name), job, window, gpus)
    return left, place


def _whose(row: ConfigRow, name: str, job: Job | None, window: LogWindow, gpus: GpuSnapshot | None) -> Line:
    parts: list[Line] = []
    if job is not None and job.log:
        shard = f" {job.request.shard.label}" if job.request.shard is not None else ""
        parts.append(((f"#{job.id} {name}{shard}", "title"),))
        if job.gpus:
            parts.append(((gpu_words(job.gpus, gpus.labels if gpus is not None else {}), ""),))
        parts.append(((job.word, "" if job.active else "dim"),))
        progress = row.progress
        if progress is not None and progress.done is not None:
            of = f" of {progress.total}" if progress.total is not None else ""
            parts.append(((f"{progress.done}{of}{' in all shards' if len(row.shards) > 1 else ''}", ""),))
        if progress is not None and progress.errors:
            parts.append(((counted(progress.errors, "error"), "bad"),))
    else:
        parts.append(((name, "title"),))
        if window.path:
            parts.append(((f"from {Path(window.path).name}", "dim"),))
    return joined(parts, (" · ", "rule"))


def log_place(window: LogWindow) -> Line:
    """Where in the log the window stands."""
    if window.note and window.lines:
        return ((window.note, "warn"),)
    if not window.lines:
        return ()
    if window.following:
        return (("following", "dim"),)
    if window.first_number is not None and window.line_count is not None:
        last = window.first_number + len(window.lines) - 1
        return (
            (f"lines {window.first_number}-{last} of {window.line_count}", "warn"),
            (", End follows", "dim"),
        )
    share = 100 * window.end // window.size if window.size else 100
    return ((f"at {share}%", "warn"), (", End follows", "dim"))
