"""Token ids of long texts, made once and used again in texts that hold parts of them.

What a token is, is decided by its neighbourhood: away from its ends a part of a text has the tokens that it has in
the whole. So a long text is tokenized in pieces that overlap, and a text that holds a long part of another takes
that part's tokens over; the two are joined where both have the same tokens around the same place. Where no such place
is found, as in a word of thousands of letters, nothing is joined, and the text is tokenized in one go.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PIECE_CHARACTERS = 16_000
PIECES_AT_ONCE = 64
"""What a tokenizer returns of each token takes more memory than the token; so much of it at a time."""
CONTEXT_CHARACTERS = 1024
"""How far two texts overlap that are to be joined: further than the padding of a cell."""
AGREEING = 3
"""How many tokens on each side of a joint must be the same in both texts."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text."""

    ids: Sequence[int]
    starts: Sequence[int]
    """The character at which each begins; several begin at one where it is spelled by its bytes."""


Tokenize = Callable[[Sequence[str]], Sequence[Tokens]]
"""The tokens of each text, by itself and without any that mark its ends."""


def tokenize_long(text: str, tokenize: Tokenize) -> Tokens:
    """The tokens of a text of any length."""
    if len(text) <= 2 * PIECE_CHARACTERS:
        return _packed(tokenize([text])[0])
    bounds = range(0, len(text), PIECE_CHARACTERS)
    ids, starts = array("i"), array("i")
    for first in range(0, len(bounds), PIECES_AT_ONCE):
        group = bounds[first : first + PIECES_AT_ONCE]
        pieces = [text[max(0, start - CONTEXT_CHARACTERS) : start + PIECE_CHARACTERS] for start in group]
        for start, piece in zip(group, tokenize(pieces), strict=True):
            begin = max(0, start - CONTEXT_CHARACTERS)
            if not start:
                found: tuple[int, int] | None = (0, 0)
            else:
                found = joint(text, Tokens(ids, starts), piece, begin, start, -begin)
            if found is None:
                return _packed(tokenize([text])[0])
            kept, taken = found
            del ids[kept:], starts[kept:]
            ids.extend(piece.ids[taken:])
            starts.extend(begin + position for position in piece.starts[taken:])
    return Tokens(ids, starts)


def joint(
    text: str, tokens: Tokens, part: Tokens, begin: int, end: int, offset: int
) -> tuple[int, int] | None:
    """Where the tokens of `text` and those of a `part` of another are the same: the index of one token in both.

    Looked for between the characters `begin` and `end` of `text`, from their middle on; `offset` is what a
    position has in the other text more than it has in this one. None: there is no such place.
    """
    middle = (begin + end) // 2
    first, last = bisect_left(tokens.starts, begin), bisect_left(tokens.starts, end)
    places = range(max(first, AGREEING), min(last, len(tokens.starts) - AGREEING))
    for place in sorted(places, key=lambda place: abs(tokens.starts[place] - middle)):
        position = tokens.starts[place]
        # Not within a word, nor a run of signs or spaces: those are cut up from their start.
        if not position or _kind(text[position - 1]) == _kind(text[position]):
            continue
        other = bisect_left(part.starts, position + offset)
        around, around_other = place - AGREEING, other - AGREEING
        if (
            around_other >= 0
            and other + AGREEING <= len(part.starts)
            and list(tokens.ids[around : place + AGREEING]) == list(part.ids[around_other : other + AGREEING])
            and [start + offset for start in tokens.starts[around : place + AGREEING]]
            == list(part.starts[around_other : other + AGREEING])
        ):
            return place, other
    return None


def _packed(tokens: Tokens) -> Tokens:
    return Tokens(array("i", tokens.ids), array("i", tokens.starts))


def _kind(character: str) -> int:
    if character.isspace():
        return 0
    return 1 if character.isalnum() else 2
