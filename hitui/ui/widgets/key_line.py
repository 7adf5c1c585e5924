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
GAP = 3


class KeyLine(OneLine):
    def __init__(self, bindings: Sequence[Binding]) -> None:
        super().__init__(id="keys")
        self._shown = [binding for binding in bindings if binding.show]
        self._places: list[tuple[int, int, str]] = []

    def show(self, bindings: Sequence[Binding]) -> None:
        """Other keys, or other words for them."""
        self._shown = [binding for binding in bindings if binding.show]
        self.rebuild()

    def build_line(self, width: int) -> Line:
        spans: list[Span] = []
        self._places = []
        position = 0
        for group in self._fitting(width - 2):
            spans.append((" " * GAP if spans else " ", ""))
            position += GAP if len(spans) > 1 else 1
            for binding in group:
                key = shown_key(binding)
                told = f" {binding.description}" if binding is group[-1] else " "
                spans += [(key, "key"), (told, "dim")]
                cells = cell_len(key) + cell_len(told)
                self._places.append((position, position + cells, binding.action))
                position += cells
        return tuple(spans)

    def _fitting(self, room: int) -> list[list[Binding]]:
        groups = _groups(self._shown)
        kept = [group for group in groups if (group[0].id or "").endswith(ALWAYS)]
        left = room - sum(map(_cells, kept)) + GAP
        for group in groups:
            if group not in kept and _cells(group) <= left:
                kept.append(group)
                left -= _cells(group)
        return [group for group in groups if group in kept]

    async def on_click(self, event: events.Click) -> None:
        for start, end, action in self._places:
            if start <= event.x < end:
                await self.screen.run_action(action)


def cells_of(bindings: Sequence[Binding]) -> int:
    """What a line takes that has room for all of them."""
    return sum(map(_cells, _groups([binding for binding in bindings if binding.show]))) - GAP + 2


def _groups(bindings: Sequence[Binding]) -> list[list[Binding]]:
    """Keys that share a description stand together: `K J move`."""
    groups: list[list[Binding]] = []
    for binding in bindings:
        if groups and groups[-1][-1].description == binding.description:
            groups[-1].append(binding)
        else:
            groups.append([binding])
    return groups


def _cells(group: Sequence[Binding]) -> int:
    keys = sum(cell_len(shown_key(binding)) + 1 for binding in group)
    return keys + cell_len(group[-1].description) + GAP


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
