"""The keys and values of the last prompt, kept for the next one: what both begin with is not computed again.

Generation from a kept beginning says what generation from the start says, token by token in float32; in bfloat16
the last bits of the scores may differ, as they do between two GPUs.

What is kept is bound to the picture as well as to the token ids, which are the same for every picture. A picture
lies wholly inside of what is shared, or nothing is. How far text positions are from token counts is kept beside the keys
and values, and put back before every generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hitui_runners.engines.known_models import Positions, is_known
from hitui_runners.engines.memory import free_memory, out_of_memory

LEAST_SHARE = 0.5
"""Of a prompt's tokens that must be shared: attention to kept keys needs a mask, which makes it slower than the
attention of a prompt from its start."""
MASK_ENTRIES = 2**27
"""The largest such mask, (tokens to compute) × (tokens in all); each entry takes up to 5 bytes. Larger ones could
need more memory than the prompt from its start."""

PIXELS = ("pixel_values", "image_grid_thw")
"""What processors call them, and how patches of them lie."""


@dataclass
class Kept:
    """A prompt that was computed, or answered."""

    ids: Any
    """Its token ids, on the CPU, shape (tokens,)."""
    picture: object
    pixels: Sequence[Any]
    """What the processor made of the picture; empty: there is none."""
    keys_and_values: Any
    """A DynamicCache of the prompt and its answer; None where they are kept elsewhere."""
    rope_deltas: Any = None
    """How far its positions are from token counts, as `Positions` has noted it."""


class PrefixCache:
    """Generates answers, each from what its prompt shares with the one before."""

    def __init__(self, model: Any, *, enabled: bool = True) -> None:
        """`model`: a model of transformers, from 4.57 on. Not `enabled`: every prompt is computed from its start."""
        self._model = model
        self.enabled = enabled and is_known(model)
        """Whether anything is kept, and prompts can be answered together."""
        self.positions = Positions(model)
        self.kept: Kept | None = None
        """What the next prompt may go on from."""
        self.tokens = 0
        """Of all prompts until now."""
        self.shared_tokens = 0
        """Of those, how many were not computed again."""

    def generate(self, inputs: Any, picture: object, **options: Any) -> Any:
        """Token ids of the prompt and its answer, shape (1, tokens), on the model's device.

        `inputs`: of one prompt, as its processor makes them. `picture`: the same object for the same picture; None
        where the prompt has none. `options`: of the model's `generate`. Raises what that raises; nothing is kept then.
        """
        if not self.enabled:
            return self._model.generate(**inputs.to(self._model.device), **options)
        ids = inputs["input_ids"][0]
        pixels = [inputs[name] for name in PIXELS if name in inputs]
        # Whatever is raised below, what may be half changed by then is not used again.
        kept, self.kept = self.kept, None
        is_same = kept is not None and kept.picture is picture and _are_same(kept.pixels, pixels)
        shared = self._shared(kept.ids, ids) if kept is not None and is_same else 0
        output = None
        if kept is not None and shared:
            output = self._from_kept(kept, shared, inputs, options)
        if kept is None or output is None:
            # First what is kept goes, then the new prompt takes memory.
            shared, kept = 0, None
            kept = Kept(ids, picture, pixels, _empty())
            output = self._from_start(kept, inputs, options)
        if kept.keys_and_values.get_seq_length() >= len(ids):
            self.kept = replace(kept, ids=ids)
        self.tokens += len(ids)
        self.shared_tokens += shared
        return output

    def compute(self, inputs: Any, picture: object) -> Kept:
        """The prompt, computed from what it shares with the one before; `inputs` and `picture` as for `generate`. It is
        what is kept now. Raises what the model's `generate` raises; nothing is kept then."""
        self.generate(inputs, picture, max_new_tokens=1)
        assert self.kept is not None
        return self.kept

    def drop(self) -> None:
        """Lets go of what is kept, and of its memory."""
        self.kept = None

    def _shared(self, before: Any, ids: Any) -> int:
        """How many tokens of the prompt `ids` need not be computed after `before`; 0: it starts afresh."""
        # The last one is computed in any case: its scores say how the answer begins.
        shared = _alike(before, ids, min(len(before), len(ids) - 1))
        if shared < LEAST_SHARE * len(ids) or (len(ids) - shared) * len(ids) > MASK_ENTRIES:
            return 0
        return 0 if bool((ids[shared:] == self._model.config.image_token_id).any()) else shared

    def _from_kept(self, kept: Kept, shared: int, inputs: Any, options: dict[str, Any]) -> Any:
        """The output; None where there was no memory for it. That may be due to the mask: a prompt fails only when it
        fails from its start."""
        _crop(kept.keys_and_values, shared)
        self.positions.put_back([(kept.rope_deltas, 0)])
        device = self._model.device
        try:
            return self._model.generate(
                input_ids=inputs["input_ids"].to(device),
                attention_mask=inputs["attention_mask"].to(device),
                past_key_values=kept.keys_and_values,
                **options,
            )
        except Exception as error:
            if not out_of_memory(error):
                raise
        kept.keys_and_values = None
        free_memory()
        return None

    def _from_start(self, kept: Kept, inputs: Any, options: dict[str, Any]) -> Any:
        self.positions.forget()
        output = self._model.generate(
            **inputs.to(self._model.device), past_key_values=kept.keys_and_values, **options
        )
        kept.rope_deltas = self.positions.of_the_last()
        return output


def _are_same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether pixels are: a picture may have been prepared for fewer of them."""
    import torch

    return len(one) == len(other) and all(map(torch.equal, one, other))


def _alike(one: Any, other: Any, most: int) -> int:
    """How many tokens both begin with, `most` at most, which neither is shorter than."""
    different = (one[:most] != other[:most]).nonzero()
    return int(different[0]) if len(different) else most


def _crop(keys_and_values: Any, length: int) -> None:
    surplus = keys_and_values.get_seq_length() - length
    if surplus:
        # To the length, or by the surplus, says the number's sign; only this one means the same in all versions.
        keys_and_values.crop(-surplus)


def _empty() -> Any:
    from transformers import DynamicCache

    return DynamicCache()
