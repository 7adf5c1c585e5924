"""What the main screen says of the newest snapshots: rows of configs, the GPUs, and the titles between them.

Apart from the screen, which is painted before anything is known: what only data need is loaded behind that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hitui.domain.jobs import Ended, Job
from hitui.ui.config_rows import ConfigRow, config_rows
from hitui.ui.gpu_lines import GpuView, gpu_title
from hitui.ui.job_words import wait_words
from hitui.ui.line import Line, joined
from hitui.ui.log_title import log_title
from hitui.ui.summary import summary_line

if TYPE_CHECKING:
    from hitui.services.logs import LogWindow
    from hitui.ui.app import Dashboard
    from hitui.ui.widgets.config_table import ConfigTable


class Board:
    """Reads the app's newest values; keeps none of its own."""

    def __init__(self, app: Dashboard) -> None:
        self._app = app

    def gpu_view(self, unfolded: bool) -> GpuView:
        app = self._app
        return GpuView(
            app.gpu_snapshot,
            app.jobs.holders,
            app.gpu_rules,
            app.gpu_memory_needed,
            app.utilisations.by_gpu(),
            unfolded,
        )

    def gpu_title(self, unfolded: bool) -> Line:
        return gpu_title(self.gpu_view(unfolded))

    def rows(self) -> list[ConfigRow]:
        app = self._app
        states = app.workspace_snapshot.configs if app.workspace_snapshot is not None else ()
        return config_rows(states, app.jobs, app.progress, app.gpu_snapshot, time.time(), app.growth)

    def empty_text(self) -> tuple[str, ...]:
        """What stands in the place of the table where there is no config: one line or several."""
        workspace = self._app.workspace_snapshot
        settings = self._app.services.settings
        if workspace is None or (workspace.scanning and not workspace.configs):
            return ("looking for results …",)
        where = ", ".join(settings.workspace.results) or str(settings.root)
        return (
            f"no results found below {where}",
            "press i to name the folders that hold them, or `hitui demo` to see how it looks",
            *workspace.problems,
        )

    def config_title(self, table: ConfigTable) -> tuple[Line, Line]:
        """Left and right of the rule above the configs: how many, of which, in what order; what is wrong."""
        parts: list[Line] = [(("Configs", "title"),)]
        if table.wanted:
            parts.append((("/", "key"), (table.wanted, "strong")))
            parts.append(((f"{len(table.rows)} of {len(table.all_rows)}", "dim"),))
        elif table.all_rows:
            parts.append(((str(len(table.all_rows)), "dim"),))
        if table.sorted_by is not None:
            parts.append(((f"by {table.sorted_by}", "dim"),))
        workspace = self._app.workspace_snapshot
        right: Line = ()
        if workspace is not None and workspace.problems:
            first, *others = workspace.problems
            hidden = f"i shows {len(others)} more: " if others else ""
            right = (("! ", "bad"), (hidden, "dim"), (first, "warn"))
        elif workspace is not None and workspace.scanning:
            right = (("reading …", "dim"),)
        more = table.hidden_below
        if more:
            right = (*right, ("  " if right else "", ""), (f"{more} more ↓", "dim"))
        return joined(parts, (" ── ", "rule")), right

    def summary(self, rows: list[ConfigRow], *, wide: bool) -> Line:
        return summary_line(rows, self._app.jobs, time.time(), wide=wide)

    def wait_note(self, job: Job) -> str:
        """What stands in the place of the log of a queued job."""
        return f"#{job.id} {wait_words(job, time.time())[0]}"

    def log_shown(self, row: ConfigRow) -> Job | None:
        """The job whose log stands below: the row's own, or where that ended without one the last that has one."""
        job = row.job
        if job is None or job.log or not isinstance(job.state, Ended):
            return job
        return self._app.jobs.log_left(row.name, job) or job

    def log_title(self, row: ConfigRow | None, window: LogWindow, width: int) -> tuple[Line, Line]:
        job = None if row is None else self.log_shown(row)
        return log_title(row, job, window, self._app.gpu_snapshot, width)
