"""Keys and values of prompts that were computed one after the other, put side by side, so that what they say next is
computed for all of them at once.

Each prompt is filled up on the left to the longest of them. What stands there is never looked at: the mask leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def layers_of(cache: Any, length: int) -> list[tuple[Any, Any]]:
    """Keys and values of the first `length` tokens, a pair for each layer, of shape (1, heads, length, size of a head).

    Nothing is copied; a cache that is cropped, or goes on, leaves them as they are.
    """
    return [(layer.keys[..., :length, :], layer.values[..., :length, :]) for layer in cache.layers]


def side_by_side(rows: Sequence[list[tuple[Any, Any]]]) -> Any:
    """A DynamicCache of as many rows, from the layers of each, which are taken out of the lists on the way: memory is
    needed for a layer more, not for all of them twice."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number in range(len(rows[0])):
        keys, values = zip(*(row.pop(0) for row in rows), strict=True)
        cache.update(_filled(keys), _filled(values), number)
    return cache


def leave_one(cache: Any, row: int, filled: int, length: int) -> None:
    """Leaves in the cache that row alone, of `length` tokens behind the `filled` that fill it up; layer by layer, as in
    `side_by_side`."""
    tokens = slice(filled, filled + length)
    for layer in cache.layers:
        # Copied, for a part of them would keep all in memory.
        layer.keys = layer.keys[row : row + 1, :, tokens].clone()
        layer.values = layer.values[row : row + 1, :, tokens].clone()


def _filled(rows: Sequence[Any]) -> Any:
    """The tensors of shape (1, heads, tokens, size), one below the other."""
    width = max(row.shape[-2] for row in rows)
    heads, size = rows[0].shape[1], rows[0].shape[3]
    filled = rows[0].new_zeros(len(rows), heads, width, size)
    for number, row in enumerate(rows):
        filled[number, :, width - row.shape[-2] :] = row[0]
    return filled
