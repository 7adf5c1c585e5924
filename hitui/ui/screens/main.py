"""The main screen: GPUs, configs, the log of the selected one, and what goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from hitui.domain.jobs import JobRequest
from hitui.ui import text
from hitui.ui.messages import LaunchWanted, LogChanged, LogFound, PauseWanted, StopWanted
from hitui.ui.screens.base import FullScreen, MoreRoom
from hitui.ui.widgets.config_table import ConfigTable
from hitui.ui.widgets.gpu_strip import GpuStrip
from hitui.ui.widgets.header import Header
from hitui.ui.widgets.key_line import KeyLine
from hitui.ui.widgets.log_view import LogView
from hitui.ui.widgets.rule import Rule

if TYPE_CHECKING:
    from textual.widgets import Input

    from hitui.ui.board import Board
    from hitui.ui.config_rows import ConfigRow
    from hitui.ui.countdown import Countdown
    from hitui.ui.log_pane import LogPane

LEAST_LOG_LINES = 3
FIXED_LINES = 5
"""Header, three rules, keys."""


class MainScreen(FullScreen):
    AUTO_FOCUS = "#configs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "rerun", "rerun", id="main.rerun", tooltip="run what is pending in the selected config"),
        Binding(
            "R", "rerun_all", "rerun all", id="main.rerun-all", tooltip="run what is pending in all shown"
        ),
        Binding("s", "start", "start", id="main.start", tooltip="start or resume the selected config"),
        Binding("x", "stop", "stop", id="main.stop", tooltip="stop the selected config's job"),
        Binding("Q", "queue", "queue", id="main.queue", tooltip="what runs, waits and ended, and its order"),
        Binding("l", "logs", "logs", id="main.logs", tooltip="the log over the full screen"),
        Binding(
            "enter", "open", "open", id="main.open", tooltip="counts, tasks, files and problems of the config"
        ),
        Binding(
            "slash",
            "filter",
            "filter",
            key_display="/",
            priority=True,
            id="main.filter",
            tooltip="show only configs that match",
        ),
        Binding(
            "p", "pause", "pause", id="main.pause", tooltip="pause the selected config's job, or let it go on"
        ),
        Binding("o", "sort", "order", id="main.sort", tooltip="sort by the next column"),
        Binding("O", "reverse", "reverse", show=False, id="main.reverse", tooltip="turn the order round"),
        Binding(
            "g", "all_gpus", "all GPUs", show=False, id="main.gpus", tooltip="show or fold excluded GPUs"
        ),
        Binding(
            "G",
            "gpu_processes",
            "GPU processes",
            show=False,
            id="main.gpu-processes",
            tooltip="what runs on the GPUs: users, memory, whole commands",
        ),
        Binding(
            "i",
            "init_hint",
            "init",
            show=False,
            id="main.init",
            tooltip="the hitui.toml, and what is wrong here in full",
        ),
        Binding("f5", "rescan", "rescan", show=False, id="main.rescan", tooltip="read all results again"),
        Binding(
            "colon",
            "app.command_palette",
            "commands",
            key_display=":",
            id="main.palette",
            tooltip="every command and config by name (also ctrl+p)",
        ),
        Binding("question_mark,f1", "help", "help", key_display="?", id="main.help", tooltip="all keys"),
        Binding("q", "app.quit", "quit", id="main.quit", tooltip="leave the screen; jobs go on"),
        Binding("escape", "show_all", "show all", show=False, id="main.show-all", tooltip="clear the filter"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.header = Header()
        self.gpu_rule = Rule(id="gpu-rule")
        self.gpu_strip = GpuStrip()
        self.config_rule = Rule(id="config-rule")
        self.table = ConfigTable()
        self.log_rule = Rule(id="log-rule")
        self.log_view = LogView(id="log")
        self._rows: list[ConfigRow] = []
        self._unfolded = False
        self._heights = (0, 0)

    def compose(self) -> ComposeResult:
        yield MoreRoom()
        yield self.header
        yield self.gpu_rule
        yield self.gpu_strip
        yield self.config_rule
        yield self.table
        yield self.log_rule
        yield self.log_view
        yield KeyLine([binding for binding in self.BINDINGS if isinstance(binding, Binding)])

    def on_mount(self) -> None:
        # Only the frame is there for the first paint; what data need is loaded behind it.
        self.gpu_rule.show((("GPUs", "title"),))
        self.config_rule.show((("Configs", "title"),))
        self.log_rule.show((("Log", "title"),))
        self.header.show(self._workspace_name, (), text.clock(time.time()))
        self.call_after_refresh(self._show_data)

    @cached_property
    def _board(self) -> Board:
        from hitui.ui.board import Board

        return Board(self.dashboard)

    @cached_property
    def _countdown(self) -> Countdown:
        from hitui.ui.countdown import Countdown

        return Countdown(self, self._show_configs)

    @cached_property
    def _log_pane(self) -> LogPane:
        from hitui.ui.log_pane import LogPane

        return LogPane(self, self._board, self.log_rule, self.log_view)

    @property
    def _workspace_name(self) -> str:
        root = self.dashboard.services.settings.root
        return root.name or str(root)

    def _show_data(self) -> None:
        app = self.dashboard
        self.mount_entry("words of a name or a state", id="filter")
        self.watch(app, "gpu_snapshot", self._show_gpus)
        self.watch(app, "workspace_snapshot", self._show_configs)
        self.watch(app, "jobs_snapshot", self._show_jobs)
        self.watch(app, "progress", self._show_configs)

    def resized(self, width: int, height: int) -> None:
        self._lay_out()
        self.call_after_refresh(self._show_header)

    def on_line_view_resized(self) -> None:
        """Titles say how many lines are not to be seen, and names as far as there is room."""
        # Before there are data, nothing of them is loaded.
        if "_board" in vars(self):
            self._title_gpus()
            self._title_configs()
            self._log_pane.title(self.table.selected)

    def _lay_out(self) -> None:
        """GPUs take what they need up to a third, configs what they need, the log the rest."""
        height = self.size.height
        gpus = max(1, min(len(self.gpu_strip.lines) or 1, height // 3))
        room = height - FIXED_LINES - gpus
        table = max(2, min(len(self.table.rows) + 1, room - max(LEAST_LOG_LINES, room // 4)))
        table = max(table, min(room - LEAST_LOG_LINES, len(self.table.empty_text) + 1))
        if (gpus, table) != self._heights:
            self._heights = (gpus, table)
            self.gpu_strip.styles.height = gpus
            self.table.styles.height = table

    def _show_gpus(self) -> None:
        view = self._board.gpu_view(self._unfolded)
        lines_before = len(self.gpu_strip.lines)
        self.gpu_strip.show(view)
        if len(self.gpu_strip.lines) != lines_before:
            self._lay_out()
        self._title_gpus()

    def _title_gpus(self) -> None:
        more = self.gpu_strip.hidden_below
        self.gpu_rule.show(
            self._board.gpu_title(self._unfolded), ((f"{more} more ↓", "dim"),) if more else ()
        )

    def _show_jobs(self) -> None:
        self._show_gpus()
        self._show_configs()

    def _show_configs(self) -> None:
        self._rows = self._board.rows()
        count_before = len(self.table.rows)
        self.table.show(self._rows, self._board.empty_text())
        if len(self.table.rows) != count_before:
            self._lay_out()
        self._title_configs()
        self._show_header()
        self._log_pane.show(self.table.selected)
        self._countdown.follow(self.dashboard.jobs.queued)

    def _title_configs(self) -> None:
        self.config_rule.show(*self._board.config_title(self.table))

    def _show_header(self) -> None:
        summary = self._board.summary(self._rows, wide=self.size.width >= 100)
        self.header.show(self._workspace_name, summary, text.clock(time.time()))

    def on_config_table_selected(self, message: ConfigTable.Selected) -> None:
        self._log_pane.show(message.row)

    def on_config_table_sorted(self) -> None:
        self._lay_out()
        self._title_configs()

    def on_config_table_opened(self, message: ConfigTable.Opened) -> None:
        self.open_config(message.row.name)

    def on_log_found(self, message: LogFound) -> None:
        self._log_pane.take(message, self.table.selected)

    def on_log_changed(self, message: LogChanged) -> None:
        self._log_pane.title(self.table.selected)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._mark_focus()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        self._mark_focus()

    def _mark_focus(self) -> None:
        self.gpu_rule.show_focus(self.gpu_strip.has_focus)
        self.config_rule.show_focus(self.table.has_focus)
        self.log_rule.show_focus(self.log_view.has_focus)

    def action_rerun(self) -> None:
        self._launch("Rerun what is pending", self._chosen())

    def action_start(self) -> None:
        self._launch("Start or resume", self._chosen())

    def action_rerun_all(self) -> None:
        rows = [row for row in self.table.rows if row.state.pending and row.state.unit == "tasks"]
        if not rows:
            unlisted = sum(row.state.unit == "tasks" and row.state.total is None for row in self.table.rows)
            if unlisted:
                self.dashboard.tell(
                    f"no question list says what is pending in {unlisted} of the configs that are shown",
                    "warning",
                )
            elif any(row.state.pending for row in self.table.rows):
                self.dashboard.tell(
                    "no task is pending in the configs that are shown; what counts lines, files or steps, r starts"
                    " one by one"
                )
            else:
                self.dashboard.tell("nothing is pending in the configs that are shown")
            return
        among = f" that match {self.table.wanted!r}" if self.table.wanted else ""
        self._launch(f"Rerun what is pending in all configs{among}", rows)

    def _chosen(self) -> list[ConfigRow]:
        row = self.table.selected
        if row is None:
            self.dashboard.tell("no config is selected", "warning")
        return [row] if row is not None else []

    def _launch(self, title: str, rows: Iterable[ConfigRow]) -> None:
        requests = [JobRequest(row.name) for row in rows]
        if requests:
            self.dashboard.post_message(LaunchWanted(title, requests))

    def action_stop(self) -> None:
        row = self.table.selected
        if row is not None and row.active_jobs:
            self.dashboard.post_message(StopWanted(row.active_jobs))
        else:
            self.dashboard.tell("the selected config has no job to stop")

    def action_pause(self) -> None:
        row = self.table.selected
        if row is not None and row.active_jobs:
            self.dashboard.post_message(PauseWanted(row.active_jobs))
        else:
            self.dashboard.tell("the selected config has no job to pause")

    def action_queue(self) -> None:
        from hitui.ui.screens.queue import QueueScreen

        self.app.push_screen(QueueScreen())

    def action_logs(self) -> None:
        row = self.table.selected
        if row is not None:
            self.show_left_log(row.state, row.job)

    def action_open(self) -> None:
        self.table.action_open()

    def open_config(self, name: str) -> None:
        from hitui.ui.screens.detail import DetailScreen

        self.app.push_screen(DetailScreen(name))

    def select_config(self, name: str) -> None:
        if all(row.name != name for row in self.table.rows):
            self.table.show_matching("")
        self.table.select(name)
        self.table.focus()

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()

    def action_all_gpus(self) -> None:
        self._unfolded = not self._unfolded
        self._show_gpus()

    def action_gpu_processes(self) -> None:
        from hitui.ui.screens.gpu_dialog import GpuDialog

        self.app.push_screen(GpuDialog())

    def action_rescan(self) -> None:
        self.dashboard.services.workspace.rescan()
        self.dashboard.tell("reading all results again")

    def action_help(self) -> None:
        from hitui.ui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self))

    def action_init_hint(self) -> None:
        from hitui.ui.screens.note import init_note

        app = self.dashboard
        problems = app.workspace_snapshot.problems if app.workspace_snapshot is not None else ()
        self.app.push_screen(init_note(app.services.settings, problems))

    def action_filter(self) -> None:
        self.open_entry(self.table.wanted)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.table.show_matching(event.value.strip())

    def on_input_submitted(self) -> None:
        self.close_entry(self.table)

    def action_show_all(self) -> None:
        self.close_entry(self.table)
        self.table.show_matching("")
