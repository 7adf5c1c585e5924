"""All keys of a screen and of its parts, from their bindings, so that none is left out."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.screen import Screen

from hitui.ui import text
from hitui.ui.line import Line
from hitui.ui.screens.dialog import Dialog
from hitui.ui.widgets.key_line import shown_keys

KEY_CELLS = 14
SIGNS: tuple[tuple[str, str], ...] = (
    ("▸", "the selected config"),
    ("!", "needs a person: a failed, lost or stalled job, an unreadable file, a lost GPU"),
    ("▶", "a job of ours runs there"),
    ("■", "a job was asked to stop"),
    ("━", "the part of the screen that has the keys; Tab goes on to the next"),
)
MOUSE: tuple[tuple[str, str], ...] = (
    (
        "click, wheel",
        "selects, opens when done twice, sorts by a head, presses a key of the last line; moves lists",
    ),
    ("Shift+drag", "marks text to copy, as without hitui; some terminals want Option or Fn for Shift"),
)


class HelpScreen(Dialog):
    title_text = "Keys"

    def __init__(self, screen: Screen[None]) -> None:
        super().__init__()
        self._groups: list[tuple[str, list[Binding]]] = [("this screen", _own(screen))]
        for widget in screen.query("*"):
            found = _own(widget)
            if widget.can_focus and found and widget.display:
                self._groups.append((f"in the {widget.id}", found))

    def keys(self) -> list[Binding]:
        return [Binding("escape", "answer(False)", "close", key_display="Escape", id="help.back")]

    def wanted_width(self) -> int:
        return 78

    def lines(self, width: int) -> Sequence[Line]:
        lines: list[Line] = []
        for title, bindings in self._groups:
            lines += [((title, "dim"),)] if not lines else [(), ((title, "dim"),)]
            for binding in bindings:
                lines += _entry(shown_keys(binding), binding.tooltip or binding.description, width)
        for title, entries in (("the mouse", MOUSE), ("signs", SIGNS)):
            lines += [(), ((title, "dim"),)]
            for label, meaning in entries:
                lines += _entry(label, meaning, width)
        return lines


def _entry(key: str, told: str, width: int) -> list[Line]:
    """A key or sign and what it means, which goes on below its start."""
    label = KEY_CELLS + 2
    return [
        (("  " + text.fit(key if number == 0 else "", KEY_CELLS), "key"), (part, ""))
        for number, part in enumerate(text.wrapped(told, width - label))
    ]


def _own(node: object) -> list[Binding]:
    """The bindings of the nearest class that has any; what Textual binds everywhere is left out."""
    bindings = next(vars(kind)["BINDINGS"] for kind in type(node).__mro__ if "BINDINGS" in vars(kind))
    return [binding for binding in bindings if isinstance(binding, Binding)]
