"""How many tokens a model has room for, prompt and answer together, by its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STRETCHED = ("yarn", "linear", "dynamic")
"""Kinds of position encoding that have been stretched by a factor, which the configuration's limit may not know of:
as vLLM takes them, too, but for ALREADY."""
ALREADY = "gemma3"
"""How the types of models begin whose limit knows of it."""


def room_of(config: Any) -> int | None:
    """Tokens; None where the configuration of a model of transformers does not say."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions in (_without_words(type(text)), 0):
        return None
    # Versions from 5 on call it otherwise.
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    is_known = str(getattr(text, "model_type", "")).startswith(ALREADY)
    if (
        not is_known
        and isinstance(scaling, Mapping)
        and scaling.get("rope_type", scaling.get("type")) in STRETCHED
    ):
        factor, first = scaling.get("factor"), scaling.get("original_max_position_embeddings") or positions
        if isinstance(factor, (int, float)) and isinstance(first, int):
            positions = max(positions, int(first * factor))
    return positions


def _without_words(kind: type[Any]) -> int | None:
    """What a configuration has that says nothing: of some kinds that is far less than a model can."""
    try:
        return getattr(kind(), "max_position_embeddings", None)
    except TypeError:
        return None
