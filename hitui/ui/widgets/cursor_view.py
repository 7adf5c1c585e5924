"""Lines of which one has the cursor: keys and mouse move it, and it stays in sight."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType

from hitui.ui.theme import role_styles
from hitui.ui.widgets.line_view import LineView


class CursorView(LineView, can_focus=True):
    """A subclass says how many rows there are below the fixed lines and which one has the cursor, and puts it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="rows.up"),
        Binding("down,j", "move(1)", "down", show=False, id="rows.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="rows.page-up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="rows.page-down"),
        Binding("home", "move(-1000000)", "first", show=False, id="rows.first"),
        Binding("end", "move(1000000)", "last", show=False, id="rows.last"),
    ]

    @property
    def row_count(self) -> int:
        raise NotImplementedError

    @property
    def cursor(self) -> int | None:
        """Index of a row; None: there is none that could have it."""
        raise NotImplementedError

    def put_cursor(self, index: int) -> None:
        raise NotImplementedError

    def action_open(self) -> None:
        """What a double click does."""
        raise NotImplementedError

    def base_style(self, index: int) -> Style:
        if index >= self.fixed_lines and index - self.fixed_lines == self.cursor:
            return self.rich_style + role_styles(self.app.theme)["cursor"]
        return self.rich_style

    def action_move(self, step: int) -> None:
        if self.cursor is not None:
            self.put_cursor(max(0, min(self.row_count - 1, self.cursor + step)))

    def action_page(self, direction: int) -> None:
        self.action_move(direction * max(1, self.size.height - self.fixed_lines - 1))

    def show_cursor(self) -> None:
        """Scrolls to where it stands."""
        if self.cursor is not None:
            self.bring_into_sight(self.cursor, self.cursor)

    def bring_into_sight(self, first: int, last: int) -> None:
        """Scrolls as far as it takes to see these rows."""
        top, visible = round(self.scroll_y), self.size.height - self.fixed_lines
        if first < top:
            self.scroll_to_row(first)
        elif visible > 0 and last >= top + visible:
            self.scroll_to_row(last - visible + 1)

    def scroll_to_row(self, index: int) -> None:
        # By force: the scroll bar that would allow it may only be on its way.
        self.scroll_to(y=index, animate=False, immediate=True, force=True)

    def resized(self) -> None:
        self.show_cursor()

    def can_have_cursor(self, index: int) -> bool:
        return 0 <= index < self.row_count

    def on_click(self, event: events.Click) -> None:
        index = event.y + self.scroll_offset.y - self.fixed_lines
        if event.y >= self.fixed_lines and self.can_have_cursor(index):
            again = index == self.cursor
            self.put_cursor(index)
            if again and event.chain == 2:
                self.action_open()
