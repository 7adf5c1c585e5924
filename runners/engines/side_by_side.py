"""Keys and values of prompts that were computed one after the other, put side by side, so that what they say next is
computed for all of them at once.

Each row is filled up on the left to the longest of them. What stands there is never looked at: the mask leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Layers = list[tuple[Any, Any]]
"""Keys and values of one row, a pair for each layer, of shape (1, heads, tokens, size of a head)."""


def layers_of(cache: Any, tokens: slice, row: int = 0) -> Layers:
    """Those tokens of a row of a DynamicCache.

    Nothing is copied; a cache that is cropped, or goes on, leaves them as they are.
    """
    rows = slice(row, row + 1)
    return [(layer.keys[rows, :, tokens], layer.values[rows, :, tokens]) for layer in cache.layers]


def side_by_side(rows: Sequence[Layers]) -> Any:
    """A DynamicCache of as many rows, from the layers of each, which are taken out of the lists on the way: memory is
    needed for a layer more, not for all of them twice."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number in range(len(rows[0])):
        cache.update(*_next_layer(rows), number)
    return cache


def cache_of(layers: Layers) -> Any:
    """A DynamicCache of the one row. Nothing is copied before it goes on."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        # Made by no tokens, for what it is given it copies.
        cache.update(keys[..., :0, :], values[..., :0, :], number)
        cache.layers[number].keys, cache.layers[number].values = keys, values
    return cache


def _next_layer(rows: Sequence[Layers]) -> tuple[Any, Any]:
    keys, values = zip(*(row.pop(0) for row in rows), strict=True)
    return _filled(keys), _filled(values)


def _filled(rows: Sequence[Any]) -> Any:
    """The tensors of shape (1, heads, tokens, size), one below the other."""
    width = max(row.shape[-2] for row in rows)
    heads, size = rows[0].shape[1], rows[0].shape[3]
    filled = rows[0].new_zeros(len(rows), heads, width, size)
    for number, row in enumerate(rows):
        filled[number, :, width - row.shape[-2] :] = row[0]
    return filled
