"""One config: its counts by class, the tasks with their reasons, what was read, what is wrong."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from hitui.domain.configs import ConfigState
from hitui.domain.jobs import JobRequest
from hitui.domain.tasks import Task, TaskStatus, select_pending, task_matches
from hitui.errors import HituiError
from hitui.services.scores import Scores
from hitui.ui.config_facts import fact_lines, score_words
from hitui.ui.config_rows import ConfigRow, config_rows
from hitui.ui.job_records import JobRecords
from hitui.ui.line import Line, joined
from hitui.ui.messages import LaunchWanted, RecordsRead, ScoresRead, StopWanted, TasksRead
from hitui.ui.queue_lines import QueueView
from hitui.ui.screens.base import FilteredScreen, MoreRoom
from hitui.ui.widgets.key_line import KeyLine
from hitui.ui.widgets.line_view import LineView
from hitui.ui.widgets.rule import Rule
from hitui.ui.widgets.task_list import TaskList

SECONDS_PER_LOOK = 2.0
"""Scores change no snapshot, so they are looked at as often as this, and no sooner than the last look has ended."""
SHOWN: tuple[tuple[str, tuple[TaskStatus, ...]], ...] = (
    ("not done", (TaskStatus.ERROR, TaskStatus.MISSING, TaskStatus.BLOCKED)),
    ("errors", (TaskStatus.ERROR,)),
    ("missing", (TaskStatus.MISSING,)),
    ("blocked", (TaskStatus.BLOCKED,)),
    ("done", (TaskStatus.DONE,)),
    ("all", tuple(TaskStatus)),
)


class Facts(LineView, can_focus=True):
    """What is known of the config, a label and a value a line."""

    def __init__(self) -> None:
        super().__init__(id="facts")
        self._row: ConfigRow | None = None
        self._root = ""
        self._scores = ""
        self._jobs: QueueView | None = None

    def show(self, row: ConfigRow | None, root: str, scores: str, jobs: QueueView) -> None:
        """`scores`: in words; empty where there is nothing to be scored, or nothing was read yet. `jobs`: what is known
        of its jobs."""
        self._row, self._root, self._scores, self._jobs = row, root, scores, jobs
        self.rebuild()

    def build(self, width: int) -> Sequence[Line]:
        row = self._row
        jobs = self._jobs
        return [] if row is None or jobs is None else fact_lines(row, self._root, self._scores, jobs, width)


class DetailScreen(FilteredScreen):
    AUTO_FOCUS = "#tasks"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "open",
            "open",
            key_display="Enter",
            id="detail.open",
            tooltip="the selected task: question, reference, answer, scores",
        ),
        Binding("r", "rerun", "rerun", id="detail.rerun", tooltip="run what is pending in this config"),
        Binding(
            "R",
            "rerun_listed",
            "rerun these",
            id="detail.rerun-listed",
            tooltip="run what is pending of those that are listed",
        ),
        Binding(
            "slash",
            "filter",
            "filter",
            key_display="/",
            priority=True,
            id="detail.filter",
            tooltip="list only tasks that match",
        ),
        Binding("x", "stop", "stop", id="detail.stop", tooltip="stop its job"),
        Binding("l", "logs", "logs", id="detail.logs", tooltip="the log of its newest job"),
        Binding(
            "t", "next_status", "which tasks", id="detail.status", tooltip="not done, errors, missing, …"
        ),
        Binding("question_mark,f1", "help", "help", key_display="?", id="detail.help", tooltip="all keys"),
        Binding("escape,q", "back", "back", key_display="Esc", id="detail.back", tooltip="back"),
    ]

    def __init__(self, config: str) -> None:
        super().__init__()
        self._config = config
        self._row: ConfigRow | None = None
        self._tasks: tuple[Task, ...] | None = None
        self._scores: Scores | None = None
        self._scores_read = False
        self._read_for: ConfigState | None = None
        self._problem = ""
        self._shown = 0
        self.records = JobRecords(self)
        self.rule = Rule(id="fact-rule")
        self.facts = Facts()
        self.task_rule = Rule(id="task-rule")
        self.task_list = TaskList()

    def compose(self) -> ComposeResult:
        yield MoreRoom()
        yield self.rule
        yield self.facts
        yield self.task_rule
        yield self.task_list
        yield KeyLine([binding for binding in self.BINDINGS if isinstance(binding, Binding)])

    def on_mount(self) -> None:
        self.mount_entry("an id, or words of an error or a reason", id="filter")
        for name in ("workspace_snapshot", "jobs_snapshot", "progress"):
            self.watch(self.dashboard, name, self._show)
        self._look_at_scores()

    def on_descendant_focus(self) -> None:
        self._mark_focus()

    def on_descendant_blur(self) -> None:
        self._mark_focus()

    def _mark_focus(self) -> None:
        self.rule.show_focus(self.facts.has_focus)
        self.task_rule.show_focus(self.task_list.has_focus)

    def resized(self, width: int, height: int) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        count, most = len(self.facts.build(self.size.width)), self.size.height // 2
        self.facts.styles.height = max(1, min(count, most))
        self.facts.scroll_where_needed(count > most)

    def _show(self) -> None:
        app = self.dashboard
        workspace = app.workspace_snapshot
        states = [state for state in workspace.configs if state.name == self._config] if workspace else []
        rows = config_rows(states, app.jobs, app.progress, app.gpu_snapshot, time.time(), app.growth)
        self._row = rows[0] if rows else None
        self.rule.show(((self._config, "title"),))
        self._show_facts()
        if self._row is not None and self._row.job is not None:
            self.records.look_at((self._row.job,))
        if states and states[0] is not self._read_for:
            self._read_for = states[0]
            # One after the other, so that a slow old answer never takes the place of a newer one.
            self.run_worker(self._read_tasks, thread=True, group="tasks", exclusive=True, exit_on_error=False)
        self._show_tasks()

    def _show_facts(self) -> None:
        row = self._row
        scores = "" if row is None or not self._scores_read else score_words(row, self._scores)
        app = self.dashboard
        labels = app.gpu_snapshot.labels if app.gpu_snapshot is not None else {}
        jobs = QueueView(app.jobs, app.progress, labels, time.time(), records=self.records.known)
        self.facts.show(row, str(app.services.settings.root), scores, jobs)
        self._lay_out()

    def _read_tasks(self) -> None:
        try:
            message = TasksRead(self._config, self.dashboard.services.workspace.tasks(self._config))
        except (HituiError, OSError) as error:
            message = TasksRead(self._config, (), f"! cannot be read: {error}")
        self.post_message(message)

    def _look_at_scores(self) -> None:
        self.run_worker(self._read_scores, thread=True, group="scores", exit_on_error=False)

    def _read_scores(self) -> None:
        scores = None
        # What is wrong is said where the tasks are.
        with contextlib.suppress(HituiError, OSError):
            scores = self.dashboard.services.workspace.scores(self._config)
        self.post_message(ScoresRead(scores))

    def on_scores_read(self, message: ScoresRead) -> None:
        if message.scores != self._scores or not self._scores_read:
            self._scores, self._scores_read = message.scores, True
            self._show_facts()
        self.set_timer(SECONDS_PER_LOOK, self._look_at_scores)

    def on_records_read(self, message: RecordsRead) -> None:
        if self.records.take(message):
            self._show_facts()

    def on_tasks_read(self, message: TasksRead) -> None:
        self._tasks = message.tasks
        self._problem = message.problem
        self._show_tasks()

    def _show_tasks(self) -> None:
        title, statuses = SHOWN[self._shown]
        if self._row is not None and self._row.state.scanned and self._row.state.unit != "tasks":
            # None of those is no sign that nothing is missing.
            self.task_rule.show((("Tasks", "title"),))
            note = f"{self._row.state.unit} are counted here, and no tasks listed"
            self.task_list.show((), self._problem or note)
            return
        of_status = [task for task in self._tasks or () if task.status in statuses]
        tasks = [task for task in of_status if task_matches(task, self._wanted)]
        parts: list[Line] = [(("Tasks", "title"),), ((f"{title}: {len(of_status)}", ""),)]
        if self._wanted:
            parts.append(((f"{len(tasks)} with {self._wanted!r}", "key"), ("  Escape shows all", "dim")))
        else:
            parts.append((("t shows others", "dim"),))
        self.task_rule.show(joined(parts, (" · ", "rule")))
        none = f"none matches {self._wanted!r}: Escape shows all" if of_status else f"{title}: none"
        self.task_list.show(tasks, self._problem or ("reading …" if self._tasks is None else none))

    def action_next_status(self) -> None:
        self._shown = (self._shown + 1) % len(SHOWN)
        self._show_tasks()

    def action_open(self) -> None:
        from hitui.ui.screens.result import ResultScreen

        at = self.task_list.cursor
        if at is None:
            self.dashboard.tell("there is no task to open; t shows others")
        else:
            ids = [str(task.id) for task in self.task_list.tasks]
            # The cursor follows to what is looked at.
            seen = self.task_list.select
            self.app.push_screen(ResultScreen(self._config, ids, at, seen))

    def on_task_list_opened(self) -> None:
        self.action_open()

    def action_rerun(self) -> None:
        self.dashboard.post_message(LaunchWanted("Rerun what is pending", [JobRequest(self._config)]))

    def action_rerun_listed(self) -> None:
        listed = select_pending(self.task_list.tasks)
        if not listed:
            self.dashboard.tell("nothing in this list is pending")
            return
        # Where all of it is listed, what has become pending until the start is meant too.
        everything = len(listed) == len(select_pending(self._tasks or ()))
        request = JobRequest(self._config, ids=None if everything else listed)
        self.dashboard.post_message(LaunchWanted("Rerun what is listed", [request]))

    def action_stop(self) -> None:
        jobs = self._row.active_jobs if self._row is not None else ()
        if jobs:
            self.dashboard.post_message(StopWanted(jobs))
        else:
            self.dashboard.tell("this config has no job to stop")

    def action_logs(self) -> None:
        if self._row is not None:
            self.show_left_log(self._row.state, self._row.job)

    def action_help(self) -> None:
        from hitui.ui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self))

    def filtered(self) -> TaskList:
        return self.task_list

    def show_filtered(self) -> None:
        self._show_tasks()
