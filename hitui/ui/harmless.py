"""Text that commands no terminal: names of folders and messages of programs are others', and the screen shows many.

Here, where all that is painted comes by, and not in each widget: a new one would forget it.
"""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_COMMANDING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, marks that turn the direction of text, and the halves of characters that stand for bytes that are no
UTF-8, for which the stream would write six characters into the place of one."""


class Harmless(LineFilter):
    """Takes out of what is painted what a terminal would obey; every other character keeps its cell."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if not any(_COMMANDING.search(text) for text, _, control in segments if not control):
            return segments
        return [
            segment if segment.control else Segment(_COMMANDING.sub(_place_of, segment.text), segment.style)
            for segment in segments
        ]


def _place_of(match: re.Match[str]) -> str:
    return "�" * cell_len(match[0])
