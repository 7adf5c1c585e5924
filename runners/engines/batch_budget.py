"""How many prompts are answered together: most of an answer's time goes into reading the weights for every new token, and
that is done once for all of them.

A batch never has more tokens than a budget, padding included. A prompt joins where there is room for as long an answer as
the last ones were on average, since few come near the longest that they may be; where answers grow beyond that, one of
them has to leave. Unless it was said, the budget is at least what the longest prompt answered alone had: its keys and
values took as much. When memory runs out all the same, it is halved and stays so, until a prompt stands alone. Only short prompts are computed together as well: longer ones
would lose by padding, which makes attention slower and takes memory, and gain nothing, having enough to compute by
themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from hitui_runners.engines.known_models import is_known

TOKENS_ON_GPUS = 16_384
"""The budget where none is given: keys and values of some 2.4 GB for a model of 8 billion parameters, and less memory than
a prompt of 10,000 tokens takes while it is computed."""
TOKENS_ON_THE_CPU = 4_096
SHORT_SHARE = 16
"""A prompt is short when it has no more than this part of the budget: on the CPU, what is longer gains more by a shared
beginning than by being computed with others."""
CHARACTERS_PER_TOKEN = 12
"""More than a token of any table has on average: what is longer is not tokenized to learn that it is not short."""

ANSWERS_REMEMBERED = 128
"""Answers to questions of one kind are of about one length, and kinds follow each other."""


class BatchBudget:
    """How many tokens prompts may have that are answered together."""

    def __init__(self, model: Any, tokens: int | None, new_tokens: int) -> None:
        """`model`: a model of transformers, from 4.57 on. `tokens`: the budget; 0: there are no batches; None: by where
        the model computes, and by what it has held. `new_tokens`: at most so many has an answer."""
        if not is_known(model):
            # Padding may change what it says.
            tokens = 0
        self._grows = tokens is None
        if tokens is None:
            tokens = TOKENS_ON_THE_CPU if model.device.type == "cpu" else TOKENS_ON_GPUS
        self._tokens = tokens
        self._short = self._tokens // SHORT_SHARE
        self._new_tokens = new_tokens
        self._answers: deque[int] = deque(maxlen=ANSWERS_REMEMBERED)
        """Tokens of the last that have ended."""

    @property
    def tokens(self) -> int:
        """All that are answered together may have so many, padding included."""
        return self._tokens

    def may_be_short(self, characters: int) -> bool:
        """Whether a prompt of so many characters is worth being counted."""
        return characters <= self._short * CHARACTERS_PER_TOKEN

    def is_short(self, tokens: int) -> bool:
        return tokens <= self._short

    def needs(self, tokens: int, new_tokens: int = 0) -> int:
        """How many tokens a prompt of so many is expected to have in the end, of whose answer so many are there."""
        return tokens + min(new_tokens + self._expected(), self._new_tokens)

    def has_room_for(self, needs: Sequence[int]) -> bool:
        """Whether prompts are answered together that are expected to have so many tokens each."""
        return len(needs) * max(needs) <= self._tokens

    def has_ended(self, new_tokens: int) -> None:
        """An answer had so many."""
        self._answers.append(new_tokens)

    def has_held(self, tokens: int) -> None:
        """One prompt and its answer had so many tokens, and there was memory for them."""
        if self._grows:
            self._tokens = max(self._tokens, tokens)

    def ran_out(self, needs: Sequence[int]) -> None:
        """There was no memory for these together: from now on fewer are."""
        self._grows = False
        self._tokens = min(self._tokens, len(needs) * max(needs)) // 2

    def _expected(self) -> int:
        """Tokens that an answer is expected to have: the most that it may, before any has ended."""
        if not self._answers:
            return self._new_tokens
        return -(-sum(self._answers) // len(self._answers))
