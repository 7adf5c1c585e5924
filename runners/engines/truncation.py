"""Cutting a table to a number of tokens: its head and its tail stay, the middle goes.

The table is tokenized once, in pieces that end at line ends, and the places of the cuts are read from where the
tokens begin. Apart from their neighbours a few tokens at the seams come out differently, so the result is an
estimate to within some tokens: the caller counts the finished prompt and asks again for less where needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PIECE_CHARACTERS = 16_000
HEAD_SHARE = 0.7
"""Of the tokens that are kept, how many come from the head: headers stand there."""
SNAP_CHARACTERS = 2_000
SNAP_FRACTION = 8
"""How far a cut moves to fall between rows, or else between cells: so many characters, and no more than this part
of what is kept on its side."""
BOUNDARIES = ("\n", "</tr>", "},", "\\\\", "</td>", "|", "&", ",", " ")
"""Where a cut may fall, the best first. A table on one line has but the later ones."""

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""For each text the offsets (characters) at which its tokens begin."""


@dataclass(frozen=True)
class Cut:
    """A table cut to size."""

    text: str
    left_out: int
    """Characters of the table that are missing; 0: it is whole."""


class TokenizedTable:
    """A table and where its tokens begin."""

    def __init__(self, table: str, tokenize: Tokenize) -> None:
        self.table = table
        self._starts: list[int] = []
        texts = pieces(table)
        offset = 0
        for text, starts in zip(texts, tokenize(texts), strict=True):
            self._starts.extend(offset + start for start in starts)
            offset += len(text)

    @property
    def tokens(self) -> int:
        """About how many tokens the whole table has."""
        return len(self._starts)

    def cut(self, tokens: int, note_tokens: int) -> Cut:
        """The table with about `tokens` tokens, those of the note on what is left out (`note_tokens`) included."""
        if self.tokens <= tokens:
            return Cut(self.table, 0)
        kept = max(0, tokens - note_tokens)
        head = int(kept * HEAD_SHARE)
        tail = kept - head
        head_end = _snap_back(self.table, self._starts[head]) if head else 0
        tail_start = _snap_forward(self.table, self._starts[-tail]) if tail else len(self.table)
        tail_start = max(tail_start, head_end)
        left_out = tail_start - head_end
        if not kept:
            return Cut("", left_out)
        return Cut(self.table[:head_end] + note(left_out) + self.table[tail_start:], left_out)


def note(left_out: int) -> str:
    """What stands where the table was cut."""
    return f"\n[{left_out} characters of the table are left out here]\n"


def pieces(text: str) -> list[str]:
    """`text` in pieces of about PIECE_CHARACTERS that end at a line end, or where no line ends, anywhere."""
    cuts = [0]
    while len(text) - cuts[-1] > PIECE_CHARACTERS:
        limit = cuts[-1] + PIECE_CHARACTERS
        line_end = text.rfind("\n", cuts[-1], limit)
        cuts.append(line_end + 1 if line_end >= 0 else limit)
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def _snap_back(text: str, position: int) -> int:
    """The end of the last row, or else cell, within reach before `position`."""
    reach = min(SNAP_CHARACTERS, position // SNAP_FRACTION)
    for boundary in BOUNDARIES:
        found = text.rfind(boundary, position - reach, position)
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
