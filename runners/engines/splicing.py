"""Token ids of a prompt made of those of its table, which are known, and of the little that stands around it.

A prompt is its table's parts and the words between them. Only windows are tokenized anew: the words, and as much of the
table on each side as it takes to find the tokens that are known already.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from hitui_runners.engines.tokens import CONTEXT_CHARACTERS, Tokens, joint

Part = str | tuple[int, int]
"""Words, or from which to which character the table stands here."""


@dataclass(frozen=True)
class Window:
    """Words of a prompt and what of the table stands next to them."""

    text: str
    begin: int | None
    """Where in the table its text begins; None: at the beginning of the prompt."""
    end: int | None
    """Where in the table its text ends; None: at the end of the prompt."""


@dataclass(frozen=True)
class Gap:
    """What is taken from the table's tokens between two windows."""

    before: int
    """So many tokens of the window before it are kept."""
    first: int
    last: int
    """From which to which token of the table."""
    after: int
    """From this token on the window behind it is kept."""


def windows_of(before: str, table: str, parts: Sequence[Part], after: str) -> tuple[Window, ...]:
    """The windows of a prompt, in order; one alone holds all of it: its parts of the table are short."""
    windows: list[Window] = []
    text, begin = before, None
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        start, end = part
        if end - start <= 3 * CONTEXT_CHARACTERS:
            text += table[start:end]
            continue
        edge = start + CONTEXT_CHARACTERS
        windows.append(Window(text + table[start:edge], begin, edge))
        begin = end - CONTEXT_CHARACTERS
        text = table[begin:end]
    windows.append(Window(text + after, begin, None))
    return tuple(windows)


def gap_between(
    table: str,
    tokens: Tokens,
    before: Tokens,
    ends_at: int,
    end: int,
    after: Tokens,
    begins_at: int,
    begin: int,
) -> Gap | None:
    """What stands between two windows; None: where they join the table's tokens cannot be told.

    `before`: the tokens of a text whose character `ends_at` is the table's character `end`, and that holds as much of
    the table before it as a window does; `after`: those of one whose `begins_at` is the table's `begin`.
    """
    left = joint(table, tokens, before, end - CONTEXT_CHARACTERS, end, ends_at - end)
    right = joint(table, tokens, after, begin, begin + CONTEXT_CHARACTERS, begins_at - begin)
    if left is None or right is None or left[0] > right[0]:
        return None
    return Gap(left[1], left[0], right[0], right[1])


def tokens_from(tokens: Tokens, position: int) -> int:
    """How many tokens begin at a character or behind it."""
    return len(tokens.starts) - bisect_left(tokens.starts, position)
