"""The rule above a part of the screen: its title, and what it says at its right end."""

from __future__ import annotations

from hitui.ui.line import Line, fit_line, spread, width_of
from hitui.ui.widgets.line_view import OneLine


class Rule(OneLine):
    """`─ Title ── note ─────`; heavy while its part has the focus, so that no colour is needed to see it."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._left: Line = ()
        self._right: Line = ()
        self._heavy = False

    def show(self, left: Line, right: Line = ()) -> None:
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            self.rebuild()

    def show_focus(self, focused: bool) -> None:
        if focused != self._heavy:
            self._heavy = focused
            self.rebuild()

    def build_line(self, width: int) -> Line:
        dash = "━" if self._heavy else "─"
        style = "key" if self._heavy else "rule"
        left: Line = ((f"{dash} ", style), *self._left, (" ", ""))
        right: Line = ()
        # What the right end says is cut, never left out.
        room = width - width_of(left) - 6
        if self._right and room > 0:
            told = fit_line(self._right, min(room, width_of(self._right)))
            right = ((" ", ""), *told, (f" {dash}", style))
        return spread(left, right, width, filler=dash, filler_style=style)
