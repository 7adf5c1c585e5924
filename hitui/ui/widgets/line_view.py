"""The base of every widget here: lines of spans, of which only those that changed are painted again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hitui.ui.line import Line, fit_line
from hitui.ui.theme import role_styles


class LineView(ScrollView, can_focus=False):
    """Shows lines that its subclass builds for the width at hand; the scroll position stays.

    A subclass implements `build`, and calls `rebuild` when what it shows from has changed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "up", show=False, id="lines.up"),
        Binding("down,j", "scroll_down", "down", show=False, id="lines.down"),
        Binding("pageup", "page_up", "page up", show=False, id="lines.page-up"),
        Binding("pagedown", "page_down", "page down", show=False, id="lines.page-down"),
        Binding("home", "scroll_home", "first", show=False, id="lines.first"),
        Binding("end", "scroll_end", "last", show=False, id="lines.last"),
    ]
    fixed_lines = 0
    """So many lines at the top do not scroll."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.lines: list[Line] = []
        self._strips: dict[int, tuple[Line, int, Style, Strip]] = {}
        self._built_for = -1

    def build(self, width: int) -> Sequence[Line]:
        """The lines for `width` cells."""
        raise NotImplementedError

    def base_style(self, index: int) -> Style:
        """The style under the spans of one line."""
        return self.rich_style

    @property
    def line_width(self) -> int:
        return self.scrollable_content_region.width

    class Resized(Message):
        """Another number of its lines is to be seen."""

    def on_resize(self) -> None:
        self.resized()
        self.rebuild()
        self.post_message(self.Resized())

    def watch_show_vertical_scrollbar(self) -> None:
        """A scroll bar that comes or goes with the number of lines changes their width, not our size."""
        self.call_after_refresh(self.rebuild)

    def scroll_where_needed(self, needed: bool) -> None:
        """For lines that wrap, and a height that is theirs: `needed` where they have too little of it at full width. Left
        to itself, a scroll bar that was there for a moment stays for the line that wraps beside it."""
        self.styles.overflow_y = "auto" if needed else "hidden"

    def resized(self) -> None:
        """Called after each change of size, before the lines are built anew."""

    def rebuild(self) -> None:
        """Builds the lines anew and paints those that differ from what is shown."""
        width = self.line_width
        if width <= 0:
            return
        before, self.lines = self.lines, list(self.build(width))
        # The first paint builds lines, too, but may not set the size that says how far they scroll.
        if len(before) != len(self.lines) or self.virtual_size.height != len(self.lines):
            self.virtual_size = Size(0, len(self.lines))
            self._strips.clear()
            self._built_for = width
            self.refresh(layout=True)
            return
        if self._built_for != width:
            self._built_for = width
            self.refresh()
            return
        for index, (old, new) in enumerate(zip(before, self.lines, strict=True)):
            if old != new:
                self.repaint(index)

    @property
    def line_count(self) -> int:
        return len(self.lines)

    def line_at(self, index: int) -> Line:
        return self.lines[index]

    @property
    def hidden_below(self) -> int:
        """How many lines stand below the last one that is to be seen."""
        return max(0, self.line_count - self.scroll_offset.y - self.size.height)

    def repaint(self, index: int) -> None:
        """Paints one line again, if it is to be seen."""
        y = index if index < self.fixed_lines else index - self.scroll_offset.y
        if (index < self.fixed_lines or y >= self.fixed_lines) and y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        width = self.line_width
        if self._built_for < 0:
            # The first paint comes before the first resize event.
            self._built_for = width
            self.lines = list(self.build(width))
        index = y if y < self.fixed_lines else y + self.scroll_offset.y
        if index >= self.line_count:
            return Strip.blank(width, self.rich_style)
        line, base = self.line_at(index), self.base_style(index)
        cached = self._strips.get(index)
        if cached is not None and cached[0] == line and cached[1] == width and cached[2] == base:
            return cached[3]
        styles = role_styles(self.app.theme)
        segments = [
            Segment(text, base + styles[role] if role else base) for text, role in fit_line(line, width)
        ]
        strip = Strip(segments, width)
        self._strips[index] = (line, width, base, strip)
        return strip


class OneLine(LineView, can_focus=False):
    """A widget of one line: a rule, the head, the keys."""

    DEFAULT_CSS = """
    OneLine { height: 1; overflow: hidden; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)

    def build_line(self, width: int) -> Line:
        raise NotImplementedError

    def build(self, width: int) -> Sequence[Line]:
        return [fit_line(self.build_line(width), width)]
