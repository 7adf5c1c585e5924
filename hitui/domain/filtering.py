"""The filter of every list: words, in any order."""

from __future__ import annotations


def has_words(hay: str, wanted: str) -> bool:
    """Whether every word of the filter stands somewhere in the text, case aside; an empty filter takes all."""
    hay = hay.lower()
    return all(word in hay for word in wanted.lower().split())
