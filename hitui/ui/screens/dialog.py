"""The frame of every dialog: lines in a box over the screen, Enter says yes, Escape says no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from hitui.ui.line import Line
from hitui.ui.widgets.key_line import KeyLine
from hitui.ui.widgets.line_view import LineView


class DialogLines(LineView, can_focus=True):
    """The lines of a dialog; scrolls where there are more than fit."""

    def __init__(self, dialog: Dialog) -> None:
        super().__init__(id="dialog-lines")
        self._dialog = dialog

    def build(self, width: int) -> Sequence[Line]:
        return self._dialog.lines(width)


class Dialog(ModalScreen[bool]):
    """Lines, and keys below them. Answers True for Enter, False for Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "answer(True)", "close", id="dialog.accept"),
        Binding("escape,q", "answer(False)", "close", show=False, key_display="Escape", id="dialog.back"),
    ]
    title_text = ""
    least_width = 48
    most_width = 110

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = self.title_text.replace("[", "\\[")
            yield DialogLines(self)
            yield KeyLine(self.keys())

    def keys(self) -> list[Binding]:
        return [binding for binding in self.BINDINGS if isinstance(binding, Binding)]

    def lines(self, width: int) -> Sequence[Line]:
        """The content for `width` cells."""
        raise NotImplementedError

    def wanted_width(self) -> int:
        """Cells that the content would like."""
        return self.most_width

    def on_mount(self) -> None:
        self._fit()
        self.query_one(DialogLines).focus()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """As wide as the content wants and the screen allows, as high as its lines, and one more before the keys where
        there is room."""
        # Frame and padding take six cells, they and the keys four lines.
        width = max(20, min(self.size.width - 2, max(self.least_width, self.wanted_width()) + 6))
        count = len(self.lines(width - 6))
        box = self.query_one("#dialog")
        box.styles.width = width
        most = self.size.height - 2
        box.styles.height = max(5, min(most, count + 5))
        self.query_one(DialogLines).scroll_where_needed(count + 4 > most)

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
