"""Cutting a table as the script did that the first results of Qwen3-VL were made with, for those who compare with them.

It keeps 35 % of the table's lines at each end. While the prompt's text is above its budget both shares are multiplied
by 0.8, five times at most; then it is asked as it is, which may be several times the budget. Image tokens are not
counted. A table on one line comes out doubled.
"""

from __future__ import annotations

from collections.abc import Iterator

from hitui_runners.engines.splicing import Part

SHARE = 0.35
FACTOR = 0.8
ATTEMPTS = 6


def original_cuts(table: str) -> Iterator[tuple[Part, ...]]:
    """What is made of a table that is too long, one try after another."""
    ends = [place for place, character in enumerate(table) if character == "\n"] + [len(table)]
    starts = [0, *(end + 1 for end in ends[:-1])]
    lines = len(starts)
    share = SHARE
    for attempt in range(ATTEMPTS):
        least = min(attempt, 1)
        kept = max(least, int(lines * share))
        # None at the end meant all of them.
        tail_start = starts[-kept] if kept else 0
        words = f"\n... [{lines - 2 * kept} rows omitted] ...\n\n"
        if kept:
            yield (0, ends[kept - 1]), "\n" + words, (tail_start, len(table))
        else:
            yield words, (tail_start, len(table))
        share *= FACTOR
