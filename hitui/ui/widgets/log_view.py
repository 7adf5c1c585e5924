"""The lines of a log: shows the window that a reader thread keeps, and asks it to move."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType

from hitui.ui import text
from hitui.ui.line import Line, Span
from hitui.ui.messages import LogChanged
from hitui.ui.widgets.line_view import LineView

if TYPE_CHECKING:
    from hitui.services.logs import LogLine, LogReader, LogWindow

WHEEL_LINES = 3
SIDE_STEP = 16


class LogView(LineView, can_focus=True):
    DEFAULT_CSS = """
    LogView { overflow: hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="log.up"),
        Binding("down,j", "move(1)", "down", show=False, id="log.down"),
        Binding("pageup,b", "page(-1)", "page up", show=False, id="log.page-up"),
        Binding("pagedown,space", "page(1)", "page down", show=False, id="log.page-down"),
        Binding("home", "to_start", "start", show=False, id="log.start"),
        Binding("end", "follow", "follow", show=False, id="log.follow-end"),
        Binding("left", "side(-1)", "left", show=False, id="log.left"),
        Binding("right", "side(1)", "right", show=False, id="log.right"),
    ]

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._window: LogWindow | None = None
        self._reading = False
        self._shift = 0

    @cached_property
    def reader(self) -> LogReader:
        from hitui.services.logs import LogReader

        return LogReader()

    @property
    def window(self) -> LogWindow:
        """What is shown."""
        return self._window if self._window is not None else self.reader.latest

    def on_mount(self) -> None:
        # There is nothing to read before the first paint.
        self.call_after_refresh(self._start_reader)

    def _start_reader(self) -> None:
        self._reading = True
        self.reader.resize(max(1, self.size.height))
        self.reader.start(self._window_changed)

    def _window_changed(self, window: LogWindow) -> None:
        self.post_message(LogChanged(window))

    def on_unmount(self) -> None:
        self.reader.close()

    def resized(self) -> None:
        if self._reading:
            self.reader.resize(max(1, self.size.height))

    def on_log_changed(self, message: LogChanged) -> None:
        """Shows the new window; the message goes on to the screen, which words the title."""
        self._window = message.window
        self.rebuild()

    def build(self, width: int) -> Sequence[Line]:
        window = self._window
        lines = [self._line(line, window) for line in window.lines] if window is not None else []
        if window is not None and window.note and not lines:
            lines += [((f"   {part}", "dim"),) for part in text.wrapped(window.note, width - 3)]
        missing = self.size.height - len(lines)
        # A fixed number of lines, so that growth changes only those that differ.
        return lines + [()] * max(0, missing)

    def _line(self, line: LogLine, window: LogWindow) -> Line:
        shown = line.text[self._shift :]
        spans: list[Span] = [("▸ " if line.start == window.found_at else "  ", "key")]
        spans += _marked(shown, window.searched)
        if line.note:
            spans.append((f" {line.note}", "warn"))
        return tuple(spans)

    def action_move(self, lines: int) -> None:
        self.reader.scroll(lines)

    def action_page(self, direction: int) -> None:
        self.reader.scroll(direction * max(1, self.size.height - 1))

    def action_to_start(self) -> None:
        self.reader.to_start()

    def action_follow(self) -> None:
        self.reader.follow()

    def action_side(self, direction: int) -> None:
        shift = max(0, self._shift + direction * SIDE_STEP)
        longest = max((len(line.text) for line in self.window.lines), default=0)
        if shift != self._shift and (direction < 0 or shift < longest):
            self._shift = shift
            self.rebuild()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.reader.scroll(WHEEL_LINES)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.reader.scroll(-WHEEL_LINES)


def _marked(shown: str, searched: str) -> list[Span]:
    """The text with every place of the search marked; case counts only if the search has capitals."""
    if not searched:
        return [(shown, "")]
    hay = shown if searched != searched.lower() else shown.lower()
    if len(hay) != len(shown):
        # Lower case of some letters is longer; then places would not fit.
        return [(shown, "")]
    spans: list[Span] = []
    position = 0
    while (found := hay.find(searched, position)) >= 0:
        spans += [(shown[position:found], ""), (shown[found : found + len(searched)], "match")]
        position = found + len(searched)
    spans.append((shown[position:], ""))
    return spans
