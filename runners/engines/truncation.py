"""Cutting a table to a number of tokens: header rows, head and tail stay, the middle goes.

The places of the cuts are read from where the table's tokens begin. At its seams a cut table has a few tokens more or
less than its parts have in the whole, so the result is an estimate to within some tokens: the caller counts the
finished prompt and asks again for less or more where needed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

HEAD_SHARE = 0.7
"""Of the tokens that are kept, how many come from the head: headers stand there."""
MOST_HEAD_SHARE = 0.9
"""As many as this where the header rows need them."""
SNAP_CHARACTERS = 2_000
SNAP_FRACTION = 8
"""How far the tail's beginning moves to fall between rows, or else between cells: so many characters, and no more than
this part of the tail. The head takes what that leaves free."""
SLACK = 1 / 256
"""Of the tokens that are kept, how many may be given up for the head's end to fall between rows, or else cells."""
CUT_STEPS = 256
"""A table is cut to so many parts of the token limit and no size between, so that questions of about one length get the
same beginning."""
SHORTFALL = 0.01
"""Of the token limit, how much a prompt may have less than it when its table was cut."""
CUT_ATTEMPTS = 8
"""Most of the prompts that are made and counted for one that fits."""
BOUNDARIES = ("\n", "</tr>", "},", "\\\\", "</td>", "</th>", "|", "&", ",", " ")
"""Where a cut may fall, the best first. A table on one line has but the later ones."""


@dataclass(frozen=True)
class Cut:
    """A table cut to size."""

    table: str
    spans: tuple[tuple[int, int], ...]
    """From which to which of its characters it is kept, in order; none touches the next."""

    @property
    def left_out(self) -> int:
        """Characters of the table that are missing; 0: it is whole."""
        return len(self.table) - sum(end - start for start, end in self.spans)

    @property
    def parts(self) -> tuple[str | tuple[int, int], ...]:
        """What it is made of: the spans, and between them the notes on what is left out. Empty: nothing is left."""
        parts: list[str | tuple[int, int]] = []
        place = 0
        for start, end in self.spans:
            if start > place:
                parts.append(note(start - place))
            parts.append((start, end))
            place = end
        if parts and place < len(self.table):
            parts.append(note(len(self.table) - place))
        return tuple(parts)

    @property
    def text(self) -> str:
        return "".join(
            part if isinstance(part, str) else self.table[part[0] : part[1]] for part in self.parts
        )


class TokenizedTable:
    """A table and where its tokens begin."""

    def __init__(self, table: str, starts: Sequence[int], header: tuple[int, int] = (0, 0)) -> None:
        """`starts`: the character at which each token begins. `header`: from which to which character the header
        rows stand."""
        self.table = table
        self._starts = starts
        self._header_start = header[0]
        self._before_header, self._header_end = (bisect_left(starts, place) for place in header)

    @property
    def tokens(self) -> int:
        """About how many tokens the whole table has."""
        return len(self._starts)

    def cut(self, tokens: int, note_tokens: int) -> Cut:
        """The table with about `tokens` tokens and hardly more, those of each note on what is left out
        (`note_tokens`) included."""
        if self.tokens <= tokens:
            return Cut(self.table, ((0, len(self.table)),) if self.table else ())
        kept = tokens - note_tokens
        first = begin = 0
        if self._header_end > kept * HEAD_SHARE and self._before_header > note_tokens:
            # What stands before the header rows would push them out: styles, mostly.
            first, begin = self._before_header, self._header_start
            kept -= note_tokens
        if kept < 2:
            return Cut(self.table, ())
        if self.tokens - first <= kept:
            kept += note_tokens
            room = self._starts[kept - (self.tokens - first)]
            return self._cut((0, min(room, begin)), (begin, len(self.table)))
        of_header = self._header_end - first
        head = max(int(kept * HEAD_SHARE), min(of_header, int(kept * MOST_HEAD_SHARE)))
        tail_start = _snap_forward(self.table, self._starts[head - kept])
        head = kept - (self.tokens - bisect_left(self._starts, tail_start))
        least = head - max(1, int(kept * SLACK))
        if of_header <= head:
            least = max(least, of_header)
        head_end = _snap_back(self.table, self._starts[first + max(0, least)], self._starts[first + head])
        return self._cut((begin, head_end), (tail_start, len(self.table)))

    def _cut(self, *spans: tuple[int, int]) -> Cut:
        return Cut(self.table, tuple(span for span in spans if span[0] < span[1]))


def note(left_out: int) -> str:
    """What stands where the table was cut."""
    return f"\n[{left_out} characters of the table are left out here]\n"


def _snap_back(text: str, least: int, position: int) -> int:
    """The end of the last row, or else cell, before `position` and behind `least`."""
    for boundary in BOUNDARIES:
        found = text.rfind(boundary, least, position)
        if found >= 0:
            return found + len(boundary)
    return position


def _snap_forward(text: str, position: int) -> int:
    """The start of the first row, or else cell, within reach after `position`."""
    reach = min(SNAP_CHARACTERS, (len(text) - position) // SNAP_FRACTION)
    for boundary in BOUNDARIES:
        found = text.find(boundary, position, position + reach)
        if found >= 0:
            return found + len(boundary)
    return position
