"""Terminals without colour: `NO_COLOR` set, or `TERM=dumb`. Bold, underline and reverse stay."""

from __future__ import annotations

import os

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter


def wants_no_colour() -> bool:
    """By https://no-color.org: set and not empty. A dumb terminal promises none either."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


class WithoutColour(LineFilter):
    """Takes every colour out of what is painted, so that none is ever sent."""

    def __init__(self) -> None:
        super().__init__()
        self._plain: dict[Style, Style] = {}

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, None if style is None else self._without(style), control)
            for text, style, control in segments
        ]

    def _without(self, style: Style) -> Style:
        plain = self._plain.get(style)
        if plain is None:
            plain = Style(
                bold=style.bold,
                underline=style.underline,
                reverse=style.reverse,
                italic=style.italic,
                meta=style.meta,
            )
            self._plain[style] = plain
        return plain
