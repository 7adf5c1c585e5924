"""Of which models it is known that prompts can go on from a kept beginning and be answered together, and how."""

from __future__ import annotations

from typing import Any

MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""They count positions alike: a number that the model holds, `rope_deltas`, says how far behind a picture they are from
token counts. Others are asked one prompt at a time, each from its start."""


def is_known(model: Any) -> bool:
    """`model`: of transformers, from 4.57 on."""
    config = model.config
    if config.model_type not in MODEL_TYPES:
        return False
    # A layer that reads the last tokens alone may keep no others: the end of a prompt could not be taken back.
    return "sliding_attention" not in (getattr(config.text_config, "layer_types", None) or ())
