"""Of which models it is known that prompts can go on from a kept beginning and be answered together, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

APART = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""Their positions behind a picture stand apart from token counts, by a number that the model itself holds of its last
prompt, `rope_deltas`."""
BY_TOKENS = ("internvl",)
"""Their positions are token counts."""


def is_known(model: Any) -> bool:
    """`model`: of transformers, from 4.57 on."""
    config = model.config
    if config.model_type not in APART + BY_TOKENS:
        return False
    # A layer that reads the last tokens alone may keep no others: the end of a prompt could not be taken back.
    return "sliding_attention" not in (getattr(config.text_config, "layer_types", None) or ())


class Positions:
    """How far the positions of prompts are from token counts."""

    def __init__(self, model: Any) -> None:
        """`model`: a known one."""
        is_apart = model.config.model_type in APART
        self._holder = model.model if is_apart else None
        # Newer versions count positions from the mask, the older ones from the place in the row.
        self._counts_padding = "_prepare_position_ids_for_generation" not in vars(type(model))

    def of_the_last(self) -> Any:
        """Of the prompt that was computed last, shape (1, 1); None where they are token counts."""
        return None if self._holder is None else self._holder.rope_deltas

    def forget(self) -> None:
        """Before a prompt is computed from its start."""
        if self._holder is not None:
            self._holder.rope_deltas = None

    def put_back(self, rows: Sequence[tuple[Any, int]]) -> None:
        """Before prompts go on from what is kept of them: what was noted of each, and how many tokens its row is filled up
        with on the left."""
        import torch

        if self._holder is None:
            return
        deltas = torch.cat([noted for noted, _ in rows])
        if self._counts_padding:
            filled = torch.tensor([filled for _, filled in rows], device=deltas.device)
            deltas = deltas - filled.unsqueeze(1)
        self._holder.rope_deltas = deltas
