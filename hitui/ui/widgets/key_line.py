"""The last line: the keys of the screen at hand; a click on one does what the key does."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.binding import Binding

from hitui.ui.line import Line, Span
from hitui.ui.widgets.line_view import OneLine

ALWAYS = ("help", "quit", "back")
"""Ends of binding ids that stay when there is no room for all."""


class KeyLine(OneLine):
    def __init__(self, bindings: Sequence[Binding]) -> None:
        super().__init__(id="keys")
        self._shown = [binding for binding in bindings if binding.show]
        self._places: list[tuple[int, int, str]] = []

    def build_line(self, width: int) -> Line:
        spans: list[Span] = []
        self._places = []
        position = 1
        for binding in self._fitting(width - 2):
            key = shown_key(binding)
            spans += [("   " if spans else " ", ""), (key, "key"), (f" {binding.description}", "dim")]
            cells = cell_len(key) + 1 + cell_len(binding.description)
            self._places.append((position, position + cells, binding.action))
            position += cells + 3
        return tuple(spans)

    def _fitting(self, room: int) -> list[Binding]:
        def cells(binding: Binding) -> int:
            return cell_len(shown_key(binding)) + cell_len(binding.description) + 4

        kept = [binding for binding in self._shown if (binding.id or "").endswith(ALWAYS)]
        left = room - sum(map(cells, kept)) + 3
        for binding in self._shown:
            if binding not in kept and cells(binding) <= left:
                kept.append(binding)
                left -= cells(binding)
        return [binding for binding in self._shown if binding in kept]

    async def on_click(self, event: events.Click) -> None:
        for start, end, action in self._places:
            if start <= event.x < end:
                await self.screen.run_action(action)


_KEY_NAMES = {
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pageup": "PgUp",
    "pagedown": "PgDn",
}


def shown_key(binding: Binding) -> str:
    """The first key as a person would write it."""
    return binding.key_display or _named(binding.key.split(",")[0])


def shown_keys(binding: Binding) -> str:
    """All its keys: `↑ k`."""
    return binding.key_display or " ".join(map(_named, binding.key.split(",")))


def _named(key: str) -> str:
    return _KEY_NAMES.get(key) or (key if len(key) == 1 else key.capitalize())
