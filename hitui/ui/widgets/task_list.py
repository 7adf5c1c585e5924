"""The tasks of a config by id; the cursor stays on its task while others come and go."""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message

from hitui.domain.tasks import Task, TaskStatus
from hitui.ui import text
from hitui.ui.line import Line
from hitui.ui.widgets.cursor_view import CursorView

STATUS_STYLES = {
    TaskStatus.DONE: "good",
    TaskStatus.ERROR: "bad",
    TaskStatus.MISSING: "warn",
    TaskStatus.BLOCKED: "dim",
}


class TaskList(CursorView):
    """Tasks by id, with state, class and reason."""

    class Opened(Message):
        """The task under the cursor was clicked twice."""

    def __init__(self) -> None:
        super().__init__(id="tasks")
        self.tasks: Sequence[Task] = ()
        self._at = 0
        """Index of a task; 0 too where there is none."""
        self._note = "reading …"

    def show(self, tasks: Sequence[Task], note: str) -> None:
        """`note` stands where there is no task."""
        before, at = self.selected, self._at
        self.tasks, self._note = tasks, note
        near = max(0, min(at, len(tasks) - 1))
        self._at = near if before is None else self._place_of(str(before.id), near)
        self.rebuild()
        self._moved_from(at)

    @property
    def row_count(self) -> int:
        return len(self.tasks)

    @property
    def cursor(self) -> int | None:
        return self._at if self.tasks else None

    @property
    def selected(self) -> Task | None:
        return self.tasks[self._at] if self.tasks else None

    def select(self, task: str) -> None:
        """Puts the cursor on the task with this id, if it is there."""
        self.put_cursor(self._place_of(task, self._at))

    def _place_of(self, task: str, otherwise: int) -> int:
        return next((index for index, known in enumerate(self.tasks) if str(known.id) == task), otherwise)

    def put_cursor(self, index: int) -> None:
        before, self._at = self._at, index
        self._moved_from(before)

    def _moved_from(self, before: int) -> None:
        if self._at != before:
            self.repaint(before)
            self.repaint(self._at)
            self.show_cursor()

    def action_open(self) -> None:
        self.post_message(self.Opened())

    def build(self, width: int) -> Sequence[Line]:
        if not self.tasks:
            return [((f"  {self._note}", "dim"),)]
        return [_task_line(task, width) for task in self.tasks]

    def line_at(self, index: int) -> Line:
        line = self.lines[index]
        return (("▸", "key"), *line[1:]) if index == self.cursor else line


def _task_line(task: Task, width: int) -> Line:
    error = task.error.words if task.error is not None else ""
    reason = " ".join(task.reason.split())
    return (
        (" ", ""),
        (text.fit_right(str(task.id), 8) + "  ", "strong"),
        (text.fit(task.status.value, 9), STATUS_STYLES[task.status]),
        (text.fit(error, 17) if width >= 100 else "", "dim"),
        (reason, ""),
    )
