"""How many tokens a model has room for, prompt and answer together, by its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIMIT = "max_position_embeddings"
STRETCHED = ("yarn", "linear", "dynamic")
"""Kinds of position encoding that have been stretched by a factor, which the configuration's limit may not know of:
as vLLM takes them, too, but for ALREADY."""
ALREADY = "gemma3"
"""How the types of models begin whose limit knows of it."""


def room_of(config: Any, folder: Path) -> int | None:
    """Tokens; None where the model's own configuration does not say: what its class has then is of some kinds far less
    than a model can.

    `config`: as transformers has read it from `folder`.
    """
    text = config.get_text_config()
    positions = getattr(text, LIMIT, None)
    if not isinstance(positions, int) or positions < 1 or not _is_said(folder / "config.json"):
        return None
    # Versions from 5 on call it otherwise.
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    if not isinstance(scaling, Mapping) or str(getattr(text, "model_type", "")).startswith(ALREADY):
        return positions
    if scaling.get("rope_type", scaling.get("type")) in STRETCHED:
        factor, first = scaling.get("factor"), scaling.get("original_max_position_embeddings") or positions
        if isinstance(factor, (int, float)) and isinstance(first, int):
            positions = max(positions, int(first * factor))
    return positions


def _is_said(path: Path) -> bool:
    """Whether the file names the limit, at its top or of the part for text, whatever that is called there."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(said, dict):
        return False
    parts = [part for name, part in said.items() if isinstance(part, dict) and "vision" not in name]
    return any(LIMIT in part for part in (said, *parts))
