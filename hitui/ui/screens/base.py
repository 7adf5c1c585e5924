"""What all full screens share: the line of keys, and a plain word where the terminal is too small."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

from hitui.ui.line import Line
from hitui.ui.widgets.line_view import OneLine

if TYPE_CHECKING:
    from textual.widgets import Input

    from hitui.ui.app import Dashboard

LEAST_COLUMNS, LEAST_ROWS = 60, 15


class MoreRoom(OneLine):
    """Takes the place of everything where it would only be garbage."""

    def __init__(self) -> None:
        super().__init__(id="more-room")

    def build_line(self, width: int) -> Line:
        return (
            (f"hitui needs {LEAST_COLUMNS}x{LEAST_ROWS}, here are {width}x{self.app.size.height}", "warn"),
        )


class FullScreen(Screen[None]):
    _focused_before: Widget | None = None

    @property
    def dashboard(self) -> Dashboard:
        return cast("Dashboard", self.app)

    def on_resize(self, event: events.Resize) -> None:
        small = event.size.width < LEAST_COLUMNS or event.size.height < LEAST_ROWS
        if small and not self.has_class("too-small"):
            # What is hidden loses the focus; it comes back with the room.
            self._focused_before = self.focused
        self.set_class(small, "too-small")
        if small:
            self.query_one(MoreRoom).rebuild()
        elif self._focused_before is not None:
            self.set_focus(self._focused_before)
            self._focused_before = None
        self.resized(event.size.width, event.size.height)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Workers of a screen fail as those of the app do: in words."""
        self.dashboard.on_worker_state_changed(event)

    @staticmethod
    def type_slash(line: Input) -> None:
        """Names hold it, too: behind the letters that were handed to the line before and still wait there."""
        line.post_message(events.Key("slash", "/"))

    def resized(self, width: int, height: int) -> None:
        """Called after each change of size."""
