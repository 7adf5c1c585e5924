"""Keys and values of prompts that were computed one after the other, put side by side, so that what they say next is
computed for all of them at once.

Each row is filled up on the left to the longest of them. What stands there is never looked at: the mask leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hitui_runners.engines.memory import out_of_memory

Layers = list[tuple[Any, Any]]
"""Keys and values, a pair for each layer, of shape (rows, heads, tokens, size of a head); of one row where nothing else is
said."""


def layers_of(cache: Any, tokens: slice, row: int = 0) -> Layers:
    """Those tokens of a row of a DynamicCache.

    Nothing is copied; a cache that is cropped, or goes on, leaves them as they are.
    """
    rows = slice(row, row + 1)
    return [(layer.keys[rows, :, tokens], layer.values[rows, :, tokens]) for layer in cache.layers]


def side_by_side(rows: Sequence[Layers], apart: Layers) -> Any:
    """A DynamicCache of as many rows, from the layers of each, which are taken out of the lists on the way: memory is
    needed for a layer more, not for all of them twice. None where there are no rows.

    `apart`: of a row that may share its memory with those, and is copied on the way; empty where there is none, or no
    memory for it.
    """
    layers: Layers = []
    for number in range(len(rows[0]) if rows else len(apart)):
        if rows:
            layers.append(_next_layer(rows))
        if apart:
            _set_apart(apart, number)
    return cache_of(layers) if rows else None


def cache_of(layers: Layers) -> Any:
    """A DynamicCache of these. Nothing is copied before it goes on."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for number, (keys, values) in enumerate(layers):
        # Made by no tokens, for what it is given it copies.
        cache.update(keys[..., :0, :], values[..., :0, :], number)
        cache.layers[number].keys, cache.layers[number].values = keys, values
    return cache


def _set_apart(layers: Layers, number: int) -> None:
    try:
        layers[number] = _copied(*layers[number])
    except Exception as error:
        if not out_of_memory(error):
            raise
        layers.clear()


def _copied(keys: Any, values: Any) -> tuple[Any, Any]:
    return keys.clone(), values.clone()


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
