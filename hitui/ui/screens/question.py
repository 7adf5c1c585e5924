"""One question before something is ended."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding

from hitui.ui.line import Line
from hitui.ui.screens.dialog import Dialog


class Question(Dialog):
    def __init__(self, question: str, consequence: str, verb: str) -> None:
        super().__init__()
        self.title_text = question
        self._consequence = consequence
        self._verb = verb

    def keys(self) -> list[Binding]:
        return [
            Binding("enter", "answer(True)", self._verb, key_display="Enter", id="question.accept"),
            Binding("escape", "answer(False)", "leave it", key_display="Escape", id="question.back"),
        ]

    def wanted_width(self) -> int:
        return max(len(self.title_text) + 4, len(self._consequence))

    def lines(self, width: int) -> Sequence[Line]:
        return [((self._consequence, ""),)]
