"""The queue: what runs, what waits for what and in which order, what ended and why; and the keys to change it."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from hitui.domain.jobs import Ended, Job, Queued
from hitui.ui.countdown import Countdown
from hitui.ui.job_records import JobRecords
from hitui.ui.job_words import pause_parts
from hitui.ui.line import Line, joined
from hitui.ui.messages import PauseWanted, QueueWanted, RecordsRead, RetryWanted, StopWanted
from hitui.ui.queue_lines import QueueView, facts
from hitui.ui.queue_wishes import TO_THE_END, Wish
from hitui.ui.screens.base import FilteredScreen, MoreRoom, other_log_words
from hitui.ui.widgets.key_line import KeyLine
from hitui.ui.widgets.line_view import LineView
from hitui.ui.widgets.queue_table import QueueTable
from hitui.ui.widgets.rule import Rule

LEAST_FACTS, MOST_FACTS = 3, 6
MOST_RECORDS = 200
"""Of so many jobs that ended last it is said how many of their tasks failed."""


class JobFacts(LineView, can_focus=False):
    """The selected job in full."""

    def __init__(self) -> None:
        super().__init__(id="job-facts")
        self._job: Job | None = None
        self._view: QueueView | None = None

    def show(self, job: Job | None, view: QueueView | None) -> None:
        self._job, self._view = job, view
        self.rebuild()

    def build(self, width: int) -> list[Line]:
        told = [] if self._job is None or self._view is None else facts(self._job, self._view, width)
        # A fixed number of lines, so that another job changes only those that differ.
        return (told + [()] * MOST_FACTS)[: max(1, self.size.height)]


class QueueScreen(FilteredScreen):
    AUTO_FOCUS = "#queue"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("K,shift+up", "move(-1)", "move", id="queue.up", tooltip="one place towards the front"),
        Binding("J,shift+down", "move(1)", "move", id="queue.down", tooltip="one place back"),
        Binding("p", "pause", "pause", id="queue.pause", tooltip="pause the job, or let it go on"),
        Binding(
            "P",
            "pause_all",
            "group",
            id="queue.pause-all",
            tooltip="pause a group or the whole queue, or resume",
        ),
        Binding(
            "r,t",
            "retry",
            "retry",
            id="queue.retry",
            tooltip="try a job again that ended; one that waits for its time: now",
        ),
        Binding("x", "stop", "stop", id="queue.stop", tooltip="stop the job, or take it from the queue"),
        Binding(
            "plus,equals_sign",
            "prioritize(1)",
            "prio",
            key_display="+",
            id="queue.more",
            tooltip="a higher priority: it starts before all of a lower one",
        ),
        Binding(
            "minus", "prioritize(-1)", "prio", key_display="-", id="queue.less", tooltip="a lower priority"
        ),
        Binding("T", "to_end(-1)", "top/bottom", id="queue.top", tooltip="to the front of the queue"),
        Binding("B", "to_end(1)", "top/bottom", id="queue.bottom", tooltip="to its end"),
        Binding("enter", "open", "open", id="queue.open", tooltip="the config of the job"),
        Binding("l", "logs", "log", id="queue.logs", tooltip="its log over the full screen"),
        Binding(
            "slash",
            "filter",
            "filter",
            key_display="/",
            priority=True,
            id="queue.filter",
            tooltip="show only jobs that match",
        ),
        Binding(
            "colon",
            "app.command_palette",
            "commands",
            key_display=":",
            show=False,
            id="queue.palette",
            tooltip="every command by name (also ctrl+p)",
        ),
        Binding("question_mark,f1", "help", "help", key_display="?", id="queue.help", tooltip="all keys"),
        Binding("escape,q,Q", "back", "back", key_display="Esc", id="queue.back", tooltip="back"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rule = Rule(id="queue-rule")
        self.table = QueueTable()
        self.facts_rule = Rule(id="job-rule")
        self.facts = JobFacts()
        self._stale = False
        """Something changed while another screen was above."""
        self.records = JobRecords(self)
        self._countdown = Countdown(self, self._show)

    def compose(self) -> ComposeResult:
        yield MoreRoom()
        yield self.rule
        yield self.table
        yield self.facts_rule
        yield self.facts
        yield KeyLine([binding for binding in self.BINDINGS if isinstance(binding, Binding)])

    def on_mount(self) -> None:
        self.rule.show_focus(True)
        self.mount_entry("words of a config, a group or a reason", id="filter")
        for name in ("jobs_snapshot", "progress"):
            self.watch(self.dashboard, name, self._show, init=False)
        self.watch(self.dashboard, "gpu_snapshot", self._show_labels, init=False)
        self._show()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        if self._stale:
            self._show()

    def resized(self, width: int, height: int) -> None:
        self.facts.styles.height = LEAST_FACTS if height < 30 else MOST_FACTS

    def _show(self) -> None:
        # Where another screen covers this one nobody sees it.
        self._stale = not self.is_current
        if self._stale:
            return
        self._paint()
        self.records.look_at(self.dashboard.jobs.ended[-MOST_RECORDS:])

    def _paint(self) -> None:
        app, now = self.dashboard, time.time()
        self.table.show(
            QueueView(app.jobs, app.progress, self._labels(), now, self._wanted, self.records.known)
        )
        self._title()
        self._countdown.follow(app.jobs.queued)

    def on_records_read(self, message: RecordsRead) -> None:
        if not self.records.take(message):
            return
        if self.is_current:
            self._paint()
        else:
            self._stale = True

    def _labels(self) -> dict[str, str]:
        gpus = self.dashboard.gpu_snapshot
        return gpus.labels if gpus is not None else {}

    def _show_labels(self) -> None:
        """Of the GPUs, which are read every second, nothing but their labels is shown."""
        if self.table.view is None or self.table.view.labels != self._labels():
            self._show()

    def _title(self) -> None:
        jobs = self.dashboard.jobs
        parts: list[Line] = [(("Queue", "title"),)]
        if self._wanted:
            parts.append((("/", "key"), (self._wanted, "strong")))
        told = f"{len(jobs.started)} running, {len(jobs.queued)} waiting"
        parts.append(((told, ""),))
        self.rule.show(
            joined(parts, (" · ", "rule")), joined(pause_parts(jobs.snapshot.queue), (" · ", "rule"))
        )

    def on_queue_table_selected(self) -> None:
        job = self.table.selected
        self.facts.show(job, self.table.view)
        name: Line = (("no job", "dim"),)
        if job is not None:
            name = ((f"#{job.id} {job.request.config}", "title"), (" · ", "rule"), (job.word, ""))
        self.facts_rule.show(name)

    def on_queue_table_opened(self, message: QueueTable.Opened) -> None:
        self._open(message.job)

    def _chosen(self, kind: type | None = None, otherwise: str = "") -> Job | None:
        """The selected job; where it is in none of these states, says so."""
        job = self.table.selected
        if job is None:
            self.dashboard.tell("no job is selected", "warning")
        elif kind is not None and not isinstance(job.state, kind):
            how = "it has ended" if isinstance(job.state, Ended) else f"it is {job.word}"
            self.dashboard.tell(f"#{job.id} {otherwise}: {how}", "warning")
            return None
        return job

    def action_move(self, places: int) -> None:
        job = self._chosen(Queued, "has no place in the queue")
        if job is not None:
            self._wish(Wish("move", job.id, places, wanted=self._wanted))

    def action_to_end(self, direction: int) -> None:
        job = self._chosen(Queued, "has no place in the queue")
        if job is not None:
            self._wish(Wish("move", job.id, direction * TO_THE_END))

    def action_prioritize(self, by: int) -> None:
        job = self._chosen(Queued, "has no place in the queue")
        if job is not None:
            self._wish(Wish("prioritize", job.id, by))

    def action_pause(self) -> None:
        job = self._chosen()
        if job is not None and isinstance(job.state, Ended):
            self.dashboard.tell(f"#{job.id} has ended; r tries it again", "warning")
        elif job is not None:
            self.dashboard.post_message(PauseWanted((job,)))

    def action_pause_all(self) -> None:
        from hitui.ui.screens.group_dialog import GroupDialog

        dialog = GroupDialog(self.dashboard.jobs, self.table.selected)

        def decided(yes: bool | None) -> None:
            if yes:
                self._wish(dialog.wish)

        self.app.push_screen(dialog, decided)

    def action_retry(self) -> None:
        job = self._chosen()
        if job is None:
            return
        state = job.state
        if isinstance(state, Ended) or (isinstance(state, Queued) and job.schedule.not_before is not None):
            self.dashboard.post_message(RetryWanted(job))
        else:
            self.dashboard.tell(f"#{job.id} is {job.word}: there is nothing to try again", "warning")

    def action_stop(self) -> None:
        job = self._chosen()
        if job is not None and job.active:
            self.dashboard.post_message(StopWanted((job,)))
        elif job is not None:
            self.dashboard.tell(f"#{job.id} has ended: there is nothing to stop", "warning")

    def _wish(self, wish: Wish) -> None:
        self.dashboard.post_message(QueueWanted(wish))

    def action_open(self) -> None:
        self.table.action_open()

    def _open(self, job: Job) -> None:
        from hitui.ui.screens.detail import DetailScreen

        self.app.push_screen(DetailScreen(job.request.config))

    def action_logs(self) -> None:
        from hitui.ui.screens.log import LogScreen

        job = self._chosen()
        if job is None:
            return
        told = self.dashboard.jobs.with_log(job)
        if told is None:
            self.dashboard.tell(f"#{job.id} has no log: it never ran")
            return
        if told.id != job.id:
            self.dashboard.tell(other_log_words(job, told))
        self.app.push_screen(LogScreen(told.request.config, told.log))

    def action_help(self) -> None:
        from hitui.ui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self))

    def filtered(self) -> QueueTable:
        return self.table

    def show_filtered(self) -> None:
        self._show()
