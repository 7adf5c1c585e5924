"""Prompts answered together: most of an answer's time goes into reading the weights for every new token, and that is done
once for all of them.

The rows of a batch are padded on the left, never on the right: an answer goes on from its prompt's last token. What
stands there is masked, and positions are counted from each prompt's own start, so that every row says what its prompt
says alone, token by token in float32; in bfloat16 the last bits of the scores may differ, as they do between two GPUs.

An answer that has ended is given at once, and the others go on without it (`rows`).

A batch has no more tokens than a budget, padding and the longest answers included. Unless it was said, it is at least
what the longest prompt answered alone had: its keys and values took as much. When memory runs out all the same, the
budget is halved and stays so, until a prompt stands alone. Only short prompts are computed together as well: longer ones
would lose by padding, which makes attention slower and takes memory, and gain nothing, having enough to compute by
themselves. They are computed one after the other, each from what it shares with the one before (`prefix_cache`), and
their answers together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hitui_runners.engines.memory import free_memory, out_of_memory
from hitui_runners.engines.prefix_cache import MODEL_TYPES, PrefixCache
from hitui_runners.engines.rows import generate_rows

TOKENS_ON_GPUS = 16_384
"""The budget where none is given: keys and values of some 2.4 GB for a model of 8 billion parameters, and less memory than
a prompt of 10,000 tokens takes while it is computed."""
TOKENS_ON_THE_CPU = 4_096
SHORT_SHARE = 16
"""A prompt is short when it has no more than this part of the budget: on the CPU, what is longer gains more by a shared
beginning than by being computed with others."""
CHARACTERS_PER_TOKEN = 12
"""More than a token of any table has on average: what is longer is not tokenized to learn that it is not short."""


class Batches:
    """How many prompts are answered together, and their answers."""

    def __init__(self, model: Any, tokens: int | None, new_tokens: int) -> None:
        """`model`: a model of transformers, from 4.57 on. `tokens`: the budget; 0: there are no batches; None: by where
        the model computes, and by what it has held. `new_tokens`: at most so many has an answer."""
        self._model = model
        # Of others it is not known whether padding changes what they say.
        is_known = model.config.model_type in MODEL_TYPES
        self._grows = is_known and tokens is None
        if tokens is None:
            tokens = TOKENS_ON_THE_CPU if model.device.type == "cpu" else TOKENS_ON_GPUS
        self._tokens = tokens if is_known else 0
        self._short = self._tokens // SHORT_SHARE
        self._new_tokens = new_tokens

    def may_be_short(self, characters: int) -> bool:
        """Whether a prompt of so many characters is worth being counted."""
        return characters <= self._short * CHARACTERS_PER_TOKEN

    def is_short(self, tokens: int) -> bool:
        return tokens <= self._short

    def has_held(self, tokens: int) -> None:
        """One prompt and its answer had so many tokens, and there was memory for them."""
        if self._grows:
            self._tokens = max(self._tokens, tokens)

    def rows(self, lengths: Sequence[int]) -> int:
        """How many of the first of these prompts (tokens of each) are answered together; one at the least."""
        longest = 0
        for row, length in enumerate(lengths):
            longest = max(longest, length)
            if (row + 1) * (longest + self._new_tokens) > self._tokens:
                return max(1, row)
        return len(lengths)

    def generate(self, prompts: Sequence[Any]) -> Iterator[dict[int, Any]]:
        """The new tokens of each prompt, the one that ends the answer included, by the places of those that have ended,
        as soon as they have. Where memory runs out it ends early: fewer are answered together from now on.

        `prompts`: token ids, each of shape (tokens,). Raises what else the model's `generate` raises.
        """
        return self._as_memory_allows(prompts, self._padded(prompts))

    def generate_long(
        self, prefixes: PrefixCache, prompts: Sequence[Any], inputs: Iterable[tuple[Any, object]]
    ) -> Iterator[dict[int, Any]]:
        """As `generate`, of prompts that are not short; `inputs`: of the same prompts, as for
        `PrefixCache.generate_together`."""
        return self._as_memory_allows(prompts, prefixes.generate_together(inputs, self._new_tokens))

    def _as_memory_allows(
        self, prompts: Sequence[Any], answers: Iterator[dict[int, Any]]
    ) -> Iterator[dict[int, Any]]:
        left = len(prompts)
        try:
            for ended in answers:
                left -= len(ended)
                yield ended
        except Exception as error:
            if not out_of_memory(error):
                raise
        else:
            return
        free_memory()
        # With none left there was memory for all, and none to keep one for the next prompt.
        if left:
            self._grows = False
            self._tokens = left * (max(map(len, prompts)) + self._new_tokens) // 2

    def _padded(self, prompts: Sequence[Any]) -> Iterator[dict[int, Any]]:
        import torch
        from transformers import DynamicCache

        width = max(map(len, prompts))
        device = self._model.device
        # Padded with a token of their own: a penalty on tokens that were said before then meets no other one.
        ids = torch.stack([torch.cat([row[:1].expand(width - len(row)), row]) for row in prompts])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
        # The model holds how far positions are from token counts, of its last prompt.
        self._model.model.rope_deltas = None
        yield from generate_rows(
            self._model, ids.to(device), mask.to(device), DynamicCache(), self._new_tokens
        )
