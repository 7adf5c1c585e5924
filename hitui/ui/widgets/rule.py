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
        if not self._right:
            return spread(left, (), width, filler=dash, filler_style=style)
        # Either end is cut where both are long; neither is left out.
        room = max(width - width_of(left) - 6, width // 3)
        told = fit_line(self._right, min(room, width_of(self._right)))
        right: Line = ((" ", ""), *told, (f" {dash}", style))
        most = width - width_of(right) - 3
        if width_of(left) > most:
            left = fit_line(left[:-1], most)
            left = (*left, (" ", ""))
        return spread(left, right, width, filler=dash, filler_style=style)
