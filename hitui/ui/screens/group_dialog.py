"""Which part of the queue is to be paused, or to go on: one group or all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from hitui.domain.jobs import Job
from hitui.domain.schedule import DEFAULT_GROUP
from hitui.ui import text
from hitui.ui.job_index import JobIndex
from hitui.ui.job_words import paused_words
from hitui.ui.line import Line
from hitui.ui.queue_wishes import Wish
from hitui.ui.screens.dialog import Dialog, DialogLines


class GroupDialog(Dialog):
    """Up and down choose; Enter pauses what goes on, and lets go on what is paused."""

    title_text = "Pause or resume"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "up", show=False, priority=True, id="group.up"),
        Binding("down,j", "choose(1)", "down", show=False, priority=True, id="group.down"),
        Binding("enter", "answer(True)", "pause or resume", key_display="Enter", id="group.accept"),
        Binding("escape,q", "answer(False)", "leave it", key_display="Escape", id="group.back"),
    ]

    def __init__(self, jobs: JobIndex, selected: Job | None) -> None:
        """The cursor starts on the group of the selected job, if one is paused on that."""
        super().__init__()
        self._queue = jobs.snapshot.queue
        self._started = Counter(job.schedule.group for job in jobs.started)
        self._queued = Counter(job.schedule.group for job in jobs.queued)
        names = {DEFAULT_GROUP, *self._started, *self._queued, *(group.name for group in self._queue.groups)}
        self._choices: list[str | None] = [None, *sorted(names)]
        paused = [name for name in self._choices if self._reason(name)]
        group = None if selected is None else selected.schedule.group
        chosen = group if group in paused or not paused else paused[0]
        self._at = self._choices.index(chosen)

    def _reason(self, group: str | None) -> str:
        return self._queue.paused if group is None else self._queue.group(group).paused

    @property
    def wish(self) -> Wish:
        """What Enter asks for."""
        group = self._choices[self._at]
        return Wish("resume" if self._reason(group) else "pause", group=group)

    def wanted_width(self) -> int:
        return max(64, *(26 + len(self._reason(group)) for group in self._choices))

    def lines(self, width: int) -> Sequence[Line]:
        lines: list[Line] = []
        for index, group in enumerate(self._choices):
            here = index == self._at
            name = "the whole queue" if group is None else f"group {group}"
            running = sum(self._started.values()) if group is None else self._started[group]
            waiting = sum(self._queued.values()) if group is None else self._queued[group]
            lines.append(
                (
                    ("▸ " if here else "  ", "key"),
                    (text.fit(name, 24), "strong" if here else ""),
                    (f"{running} running, {waiting} waiting", "dim"),
                )
            )
            reason = self._reason(group)
            if reason:
                lines += [
                    ((f"      {part}", "warn"),) for part in text.wrapped(paused_words(reason), width - 6)
                ]
        what = (
            "lets it go on"
            if self.wish.verb == "resume"
            else "pauses it: no more of its jobs start; what runs goes on"
        )
        return [*lines, (), ((f"Enter {what}", ""),)]

    def action_choose(self, step: int) -> None:
        self._at = max(0, min(len(self._choices) - 1, self._at + step))
        self.query_one(DialogLines).rebuild()
        self._fit()
