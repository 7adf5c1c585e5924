"""The list of jobs: of however many, only the lines in sight are built; the cursor stays on its job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message

from hitui.domain.jobs import Ended, Job
from hitui.ui.line import Line
from hitui.ui.queue_lines import Entry, QueueLayout, QueueView, entries, header, job_line, layout
from hitui.ui.widgets.cursor_view import CursorView

MOST_STRIPS = 2000
"""So many painted lines are kept."""


class QueueTable(CursorView):
    fixed_lines = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        *CursorView.BINDINGS,
        Binding("tab", "next_part", "next part", show=False, id="queue-table.part"),
        Binding("enter", "open", "open", show=False, id="queue-table.open"),
    ]

    class Selected(Message):
        """The cursor stands on another job, or what is known of it changed."""

    class Opened(Message):
        def __init__(self, job: Job) -> None:
            super().__init__()
            self.job = job

    def __init__(self) -> None:
        super().__init__(id="queue")
        self.view: QueueView | None = None
        self.entries: list[Entry] = []
        self._places: QueueLayout | None = None
        self._cursor: int | None = None
        """Index of an entry that is a job; None: there is none."""

    @property
    def row_count(self) -> int:
        return len(self.entries)

    @property
    def cursor(self) -> int | None:
        return self._cursor

    @property
    def selected(self) -> Job | None:
        entry = None if self._cursor is None else self.entries[self._cursor]
        return entry if isinstance(entry, Job) else None

    def show(self, view: QueueView) -> None:
        """Shows the jobs of another moment; the cursor stays on its job, or goes to what took its place."""
        before = self.selected
        arranged = self.view is None or self.view.jobs is not view.jobs or self.view.wanted != view.wanted
        refiltered = self.view is not None and self.view.wanted != view.wanted
        self.view = view
        if arranged:
            moved = self._arrange(before)
            self._places = None
        self.rebuild()
        if arranged and (moved or refiltered):
            # Before that it may stand below all that can be scrolled to.
            self.call_after_refresh(self.show_cursor)
        self.post_message(self.Selected())

    def _arrange(self, before: Job | None) -> bool:
        """Puts the entries in order; whether the cursor's job stands elsewhere than before."""
        assert self.view is not None
        at = self._cursor
        self.entries = entries(self.view)
        self._cursor = self._place_of(before, at)
        return self._cursor != at

    def _place_of(self, job: Job | None, at: int | None) -> int | None:
        """Where the cursor goes that stood on `job` at `at`: with it, or to what took its place."""
        if job is not None:
            places = {entry.id: index for index, entry in enumerate(self.entries) if isinstance(entry, Job)}
            here = places.get(job.id)
            known = None if here is None else self.entries[here]
            if isinstance(known, Job):
                if isinstance(known.state, Ended) == isinstance(job.state, Ended):
                    return here
                if known.successor in places:
                    return places[known.successor]
        # It ended, or is not shown any more: the cursor stays at the same height.
        return self._nearest(at if at is not None else self._first_of_the_queue())

    def _first_of_the_queue(self) -> int:
        """Behind the title of the second part: what can be changed stands there."""
        assert self.view is not None
        queued = next((index for index, entry in enumerate(self.entries) if entry == ()), 0) + 2
        return queued if self.view.jobs.queued or not self.view.jobs.started else 1

    def _nearest(self, index: int, step: int = 1) -> int | None:
        """The job at an index, or the next one in that direction, or else in the other."""
        index = max(0, min(len(self.entries) - 1, index))
        for direction in (step, -step):
            at = index
            while 0 <= at < len(self.entries):
                if isinstance(self.entries[at], Job):
                    return at
                at += direction
        return None

    def select(self, job_id: int) -> None:
        for index, entry in enumerate(self.entries):
            if isinstance(entry, Job) and entry.id == job_id:
                self.put_cursor(index)
                return

    def rebuild(self) -> None:
        """Paints the lines in sight that differ from what was painted."""
        width = self.line_width
        if width <= 0 or self.view is None:
            return
        if self._places is None or self._built_for != width:
            self._places = layout(self.view, width)
        count = self.line_count
        resized = self._built_for != width or self.virtual_size.height != count
        if len(self._strips) > MOST_STRIPS:
            self._strips.clear()
        if resized:
            self._built_for = width
            self.virtual_size = Size(0, count)
            self.refresh(layout=True)
            return
        for y in range(min(self.size.height, count)):
            index = y if y < self.fixed_lines else y + self.scroll_offset.y
            painted = self._strips.get(index)
            if index < count and (
                painted is None or painted[0] != self.line_at(index) or painted[2] != self.base_style(index)
            ):
                self.repaint(index)

    @property
    def line_count(self) -> int:
        return len(self.entries) + 1

    def line_at(self, index: int) -> Line:
        """One line, built when it is asked for."""
        if self.view is None or self._places is None:
            return ()
        if index == 0:
            return header(self._places)
        entry = self.entries[index - 1]
        if isinstance(entry, Job):
            return job_line(entry, self.view, self._places, index - 1 == self._cursor)
        return entry

    def build(self, width: int) -> Sequence[Line]:
        return ()

    def action_move(self, step: int) -> None:
        if self._cursor is None:
            return
        direction = 1 if step > 0 else -1
        target = self._nearest(self._cursor + step, direction)
        if target is not None and (target - self._cursor) * direction > 0:
            self.put_cursor(target)
        elif direction < 0:
            # Above the first job its title stands.
            self.scroll_to_row(0)

    def action_next_part(self) -> None:
        """To the first job of the next part that has one, round again from the last."""
        starts = [
            index
            for index, entry in enumerate(self.entries)
            if isinstance(entry, Job) and not isinstance(self.entries[index - 1], Job)
        ]
        if self._cursor is not None and starts:
            at = self._cursor
            self.put_cursor(next((index for index in starts if index > at), starts[0]))

    def action_open(self) -> None:
        if self.selected is not None:
            self.post_message(self.Opened(self.selected))

    def put_cursor(self, index: int) -> None:
        before, self._cursor = self._cursor, index
        self.show_cursor()
        if before != index:
            for changed in (before, index):
                if changed is not None:
                    self.repaint(changed + 1)
            self.post_message(self.Selected())

    def show_cursor(self) -> None:
        """With the title of its part, where it is on the first job of it."""
        if self._cursor is not None:
            first = self._cursor if self.can_have_cursor(self._cursor - 1) else max(0, self._cursor - 1)
            self.bring_into_sight(first, self._cursor)

    def can_have_cursor(self, index: int) -> bool:
        return super().can_have_cursor(index) and isinstance(self.entries[index], Job)
