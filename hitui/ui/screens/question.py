"""One question before something is ended or tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from hitui.ui import text
from hitui.ui.line import Line
from hitui.ui.screens.dialog import Dialog

MIXING = "refused before: the answers there were made with other settings; f mixes them"


class Question(Dialog):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "mix", "mix the answers", show=False, id="question.mix"),
    ]

    def __init__(self, question: str, consequence: str, verb: str, mixing: str = "") -> None:
        """`mixing`: what `f` would do, where answers may be mixed with those of other settings; empty: they may not."""
        super().__init__()
        self.title_text = question
        self._consequence = consequence
        self._verb = verb
        self._mixing = mixing
        self.mixes = False
        """Whether answers may be mixed, once it was answered."""

    def keys(self) -> list[Binding]:
        return [
            Binding("enter", "answer(True)", self._verb, key_display="Enter", id="question.accept"),
            *([Binding("f", "mix", "and mix the answers")] if self._mixing else []),
            Binding("escape", "answer(False)", "leave it", key_display="Escape", id="question.back"),
        ]

    def action_mix(self) -> None:
        if self._mixing:
            self.mixes = True
            self.action_answer(True)

    def wanted_width(self) -> int:
        return max(len(self.title_text) + 4, len(self._consequence), len(self._mixing))

    def lines(self, width: int) -> Sequence[Line]:
        mixing = text.wrapped(self._mixing, width) if self._mixing else []
        return [((self._consequence, ""),), *(((part, "warn"),) for part in mixing)]
