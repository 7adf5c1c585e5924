"""The first line: whose workspace, what goes on, when it will be done, and the time."""

from __future__ import annotations

from hitui.ui.line import Line, fit_line, width_of
from hitui.ui.widgets.line_view import OneLine

ENOUGH = 17
"""Cells from which on half a name is worth more than none."""


class Header(OneLine):
    def __init__(self) -> None:
        super().__init__(id="header")
        self._workspace = ""
        self._summary: Line = ()
        self._clock = ""

    def show(self, name: str, summary: Line, clock: str) -> None:
        if (name, summary, clock) != (self._workspace, self._summary, self._clock):
            self._workspace, self._summary, self._clock = name, summary, clock
            self.rebuild()

    def build_line(self, width: int) -> Line:
        """The summary starts in the middle of what name and clock leave, and gives way last."""
        clock: Line = ((f"  {self._clock} ", "dim"),)
        room = width - width_of(clock)
        summary = fit_line(self._summary, min(room, width_of(self._summary)))
        left = self._left(room - width_of(summary))
        gap = room - width_of(left) - width_of(summary)
        before = max(0, min(gap, (width - width_of(summary)) // 2 - width_of(left)))
        return (*left, (" " * before, ""), *summary, (" " * (gap - before), ""), *clock)

    def _left(self, room: int) -> Line:
        """The name as far as there is room for enough of it to know it by."""
        named: Line = ((" hitui", "strong"), (" · ", "rule"), (self._workspace, "title"), ("   ", ""))
        if width_of(named) <= room:
            return named
        if room >= ENOUGH:
            return (*fit_line(named[:3], room - 2), ("  ", ""))
        return ((" hitui ", "strong"),) if room >= 7 else ((" ", ""),) if room else ()
