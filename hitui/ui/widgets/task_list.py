"""The tasks of a config by id; the cursor stays on its task while others come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from hitui.domain.tasks import Task, TaskStatus
from hitui.ui import text
from hitui.ui.line import Line
from hitui.ui.theme import role_styles
from hitui.ui.widgets.line_view import LineView

STATUS_STYLES = {
    TaskStatus.DONE: "good",
    TaskStatus.ERROR: "bad",
    TaskStatus.MISSING: "warn",
    TaskStatus.BLOCKED: "dim",
}


class TaskList(LineView, can_focus=True):
    """Tasks by id, with state, class and reason."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="tasks.up"),
        Binding("down,j", "move(1)", "down", show=False, id="tasks.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="tasks.page-up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="tasks.page-down"),
        Binding("home", "move(-1000000)", "first", show=False, id="tasks.first"),
        Binding("end", "move(1000000)", "last", show=False, id="tasks.last"),
    ]

    class Opened(Message):
        """The task under the cursor was clicked twice."""

    def __init__(self) -> None:
        super().__init__(id="tasks")
        self.tasks: Sequence[Task] = ()
        self.cursor = 0
        """Index of a task; 0 too where there is none."""
        self._note = "reading …"

    def show(self, tasks: Sequence[Task], note: str) -> None:
        """`note` stands where there is no task."""
        before, at = self.selected, self.cursor
        self.tasks, self._note = tasks, note
        self.cursor = max(0, min(at, len(tasks) - 1))
        if before is not None:
            self.cursor = self._place_of(str(before.id), self.cursor)
        self.rebuild()
        self._show_cursor(at)

    @property
    def selected(self) -> Task | None:
        return self.tasks[self.cursor] if self.tasks else None

    def select(self, task: str) -> None:
        """Puts the cursor on the task with this id, if it is there."""
        self._put_cursor(self._place_of(task, self.cursor))

    def _place_of(self, task: str, otherwise: int) -> int:
        return next((index for index, known in enumerate(self.tasks) if str(known.id) == task), otherwise)

    def build(self, width: int) -> Sequence[Line]:
        if not self.tasks:
            return [((f"  {self._note}", "dim"),)]
        return [_task_line(task, width) for task in self.tasks]

    def line_at(self, index: int) -> Line:
        line = self.lines[index]
        return (("▸", "key"), *line[1:]) if self.tasks and index == self.cursor else line

    def base_style(self, index: int) -> Style:
        if self.tasks and index == self.cursor:
            return self.rich_style + role_styles(self.app.theme)["cursor"]
        return self.rich_style

    def action_move(self, step: int) -> None:
        if self.tasks:
            self._put_cursor(max(0, min(len(self.tasks) - 1, self.cursor + step)))

    def action_page(self, direction: int) -> None:
        self.action_move(direction * max(1, self.size.height - 1))

    def _put_cursor(self, index: int) -> None:
        before, self.cursor = self.cursor, index
        self._show_cursor(before)

    def _show_cursor(self, before: int) -> None:
        """Where it stands now, and no longer where it stood."""
        if self.cursor != before:
            self.repaint(before)
            self.repaint(self.cursor)
            self._bring_into_sight()

    def _bring_into_sight(self) -> None:
        top, visible = round(self.scroll_y), self.size.height
        if self.cursor < top:
            self._scroll(self.cursor)
        elif visible > 0 and self.cursor >= top + visible:
            self._scroll(self.cursor - visible + 1)

    def _scroll(self, y: int) -> None:
        # By force: the scroll bar that would allow it may only be on its way.
        self.scroll_to(y=y, animate=False, immediate=True, force=True)

    def resized(self) -> None:
        self._bring_into_sight()

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y
        if index < len(self.tasks):
            again = index == self.cursor
            self._put_cursor(index)
            if again and event.chain == 2:
                self.post_message(self.Opened())


def _task_line(task: Task, width: int) -> Line:
    error = task.error.value.replace("_", " ") if task.error is not None else ""
    reason = " ".join(task.reason.split())
    return (
        (" ", ""),
        (text.fit_right(str(task.id), 8) + "  ", "strong"),
        (text.fit(task.status.value, 9), STATUS_STYLES[task.status]),
        (text.fit(error, 17) if width >= 100 else "", "dim"),
        (reason, ""),
    )
