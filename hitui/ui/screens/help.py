"""All keys of a screen and of its parts, from their bindings, so that none is left out."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.screen import Screen

from hitui.ui import text
from hitui.ui.line import Line
from hitui.ui.screens.dialog import Dialog
from hitui.ui.widgets.key_line import shown_key

SIGNS: tuple[tuple[str, str], ...] = (
    ("▸", "the selected config"),
    ("!", "needs a person: a failed, lost or stalled job, an unreadable file, a lost GPU"),
    ("▶", "a job of ours runs there"),
    ("■", "a job was asked to stop"),
    ("━", "the part of the screen that has the keys; Tab goes on to the next"),
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
                key = text.fit(shown_key(binding), 10)
                told = binding.tooltip or binding.description
                lines.append((("  " + key, "key"), (told, "")))
        lines += [(), (("signs", "dim"),)]
        lines += [(("  " + text.fit(sign, 10), "key"), (meaning, "")) for sign, meaning in SIGNS]
        return lines


def _own(node: object) -> list[Binding]:
    bindings = vars(type(node)).get("BINDINGS", [])
    return [binding for binding in bindings if isinstance(binding, Binding)]
