"""What goes on, in one line: is anything wrong, how much runs, what is missing, when it is done."""

from __future__ import annotations

from collections.abc import Sequence

from hitui.domain.units import counted
from hitui.ui import text
from hitui.ui.config_rows import ConfigRow, estimated_end
from hitui.ui.job_index import JobIndex
from hitui.ui.job_words import pause_parts
from hitui.ui.line import Line, joined


def summary_line(rows: Sequence[ConfigRow], jobs: JobIndex, now: float, *, wide: bool) -> Line:
    """`! 1 needs a look · queue paused · 3 jobs, done in about 1h 12m · 62 pending in 5 configs`."""
    active = len(jobs.started) + len(jobs.queued)
    # Steps of a trainer and tasks make no sum.
    pending = [row for row in rows if row.state.pending and row.state.unit == "tasks"]
    attention = sum(1 for row in rows if row.words.attention)
    parts: list[Line] = []
    if attention:
        parts.append(((f"! {attention} {'needs' if attention == 1 else 'need'} a look", "bad"),))
    paused = pause_parts(jobs.snapshot.queue)
    parts += paused
    # What is paused ends when someone says so.
    end = None if paused and jobs.queued else estimated_end(rows, now)
    # Of the jobs, and not of all that is pending: most of it may be in no job.
    left: Line = () if end is None else ((f", done in about {text.long_duration(end)}", ""),)
    parts.append(((counted(active, "job"), "strong"), *left) if active else (("no job runs", "dim"),))
    if pending:
        total = sum(row.state.pending for row in pending)
        among = f" in {counted(len(pending), 'config')}" if wide else ""
        parts.append(((f"{total} pending{among}", ""),))
    elif open_rows := [row for row in rows if row.state.pending]:
        parts.append(((f"{counted(len(open_rows), 'config')} not whole", ""),))
    elif rows and all(map(_is_counted, rows)):
        parts.append((("nothing is missing", "good"),))
    return joined(parts, (" · ", "rule"))


def _is_counted(row: ConfigRow) -> bool:
    """Whether none missing means that there is none: a question list says how many tasks there should be."""
    state = row.state
    return state.scanned and (state.total is not None or state.unit != "tasks")
