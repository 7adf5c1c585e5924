"""Answers that are generated together: each is given as soon as it has ended, and another prompt may take its place while
the others go on. None waits for the longest of them, and none is lost with those that are not done.

Prompts are computed before they join: short ones together, padded; others one after the other, each from what it shares
with the one before. The rows of the batch are padded on the left, never on the right: an answer goes on from its prompt's
last token. What stands there is masked, and positions are counted from each prompt's own start, so that every row says
what its prompt says alone, token by token in float32; in bfloat16 the last bits of the scores may differ, as they do
between two GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hitui_runners.engines.prefix_cache import Kept, PrefixCache
from hitui_runners.engines.side_by_side import Layers, cache_of, layers_of, side_by_side


@dataclass
class _Row:
    number: int
    ids: Any
    """Token ids of the prompt, and of its answer by now; shape (tokens,), on the model's device."""
    prompt_tokens: int
    rope_deltas: Any
    """How far its positions are from token counts, as `Positions` has noted it."""
    layers: Layers | None = None
    """Keys and values of all but the last token, until it joins: that is computed with those of the others."""

    @property
    def new_tokens(self) -> int:
        return len(self.ids) - self.prompt_tokens


class ContinuousBatch:
    """Prompts that are under way, each by a number that its caller gives it.

    When `settle` or `go_on` raises, all of them are lost, and `clear` is next.
    """

    def __init__(self, model: Any, prefixes: PrefixCache, new_tokens: int) -> None:
        """`model`: a model of transformers, from 4.57 on. `prefixes`: of this model. `new_tokens`: at most so many has an
        answer."""
        self._model = model
        self._prefixes = prefixes
        self._new_tokens = new_tokens
        self._joining: list[_Row] = []
        self._rows: list[_Row] = []
        """Of the cache, in its order; those that are not under way any more stay until others take their places."""
        self._ended: set[int] = set()
        """Who is not under way any more: they have ended, or left."""
        self._cache: Any = None
        """A DynamicCache of all but the last token of the rows."""
        self._newest: tuple[_Row, Kept] | None = None
        """The row that the next prompt may go on from, and what is known of it beside its keys and values."""

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """Tokens of each that is under way: of its prompt, and of its answer by now."""
        return [(row.prompt_tokens, row.new_tokens) for row in self._under_way()]

    def join(self, number: int, inputs: Any, picture: object) -> None:
        """Computes a prompt, `inputs` and `picture` as for `PrefixCache.generate`, which will be answered with the others.
        Raises what the model's `generate` raises: the others are as they were. Comes after `settle`."""
        if self._prefixes.kept is None and self._newest is not None:
            row, kept = self._newest
            self._prefixes.kept = replace(
                kept, keys_and_values=cache_of(self._layers(row, row.prompt_tokens))
            )
        kept = self._prefixes.compute(inputs, picture)
        ids = kept.ids.to(self._model.device)
        layers = layers_of(kept.keys_and_values, slice(0, len(ids) - 1))
        row = _Row(number, ids, len(ids), kept.rope_deltas, layers)
        self._joining.append(row)
        self._newest = row, kept

    def join_short(self, prompts: Mapping[int, Any]) -> None:
        """Computes prompts together, which will be answered with the others: token ids of each, of shape (tokens,), by
        their numbers. Raises what the model's `generate` raises: the others are as they were. Comes after `settle`."""
        import torch
        from transformers import DynamicCache

        # What is kept of a longer prompt has no use here, and takes memory.
        self._prefixes.drop()
        device = self._model.device
        lengths = list(map(len, prompts.values()))
        width = max(lengths)
        # All of them at once: a copy to a GPU is waited for.
        ids = _padded(list(prompts.values())).to(device)
        none = torch.zeros((1, 1), dtype=torch.long, device=device)
        cache = DynamicCache()
        self._prefixes.positions.forget()
        self._model.generate(
            input_ids=ids, attention_mask=_mask(lengths, device), past_key_values=cache, max_new_tokens=1
        )
        # All of them or, where this fails, none.
        self._joining += [
            _Row(
                number,
                ids[place, width - tokens :],
                tokens,
                none,
                layers_of(cache, slice(width - tokens, width - 1), place),
            )
            for place, (number, tokens) in enumerate(zip(prompts, lengths, strict=True))
        ]

    def make_room(self, tokens: int) -> list[int]:
        """Lets go of those that have said least until the others can go on within so many tokens, padding included; one
        alone always can. Their numbers: what they had said is lost."""
        staying = self._under_way()
        leaving: list[int] = []
        while len(staying) > 1 and len(staying) * (max(len(row.ids) for row in staying) + 1) > tokens:
            # They go on together: who joined last has said least.
            leaving.insert(0, staying.pop().number)
        self._ended.update(leaving)
        return leaving

    def go_on(self, tokens: int) -> dict[int, Any]:
        """The new tokens of those answers that end first, the one that ends an answer included, by their numbers; of shape
        (tokens,), on the CPU. None, where all that are under way come to have so many `tokens`, padding included, before
        that. At least one is under way, and there is room. Raises what the model's `generate` raises."""
        import torch
        from transformers import StoppingCriteriaList

        if self._joining or self._ended:
            self._arrange()
        rows = self._rows
        ids = [row.ids for row in rows]
        device, ends = ids[0].device, _ends(self._model)
        looked_for = torch.tensor(ends, dtype=torch.long, device=device)

        def has_any_ended(ids: Any, *_: object, **__: object) -> Any:
            return torch.isin(ids[:, -1], looked_for).any().expand(len(ids))

        width = max(map(len, ids))
        self._prefixes.positions.put_back([(row.rope_deltas, width - len(row.ids)) for row in rows])
        most = self._new_tokens - max(row.new_tokens for row in rows)
        if len(rows) > 1:
            most = min(most, tokens // len(rows) - width)
        said = self._model.generate(
            input_ids=_padded(ids),
            attention_mask=_mask(list(map(len, ids)), device),
            past_key_values=self._cache,
            max_new_tokens=most,
            stopping_criteria=StoppingCriteriaList([has_any_ended]),
        )
        for row, all_of_it in zip(rows, said, strict=True):
            row.ids = all_of_it[width - len(row.ids) :]
        # All answers at once: a GPU is waited for.
        answers = said[:, -max(row.new_tokens for row in rows) :].cpu()
        ended = [
            row
            for row, last in zip(rows, answers[:, -1].tolist(), strict=True)
            if last in ends or row.new_tokens >= self._new_tokens
        ]
        if not ended and said.shape[1] < width + most:
            # Where it stopped for no end of an answer, it would not go on either.
            ended = rows
        self._ended = {row.number for row in ended}
        return {
            row.number: answer[-row.new_tokens :]
            for row, answer in zip(rows, answers, strict=True)
            if row.number in self._ended
        }

    def settle(self) -> None:
        """Gives the memory back of those that are not under way any more, but for what the next prompt may go on from."""
        if self._ended:
            self._arrange()

    def clear(self) -> None:
        """Lets go of all that is under way, and of what is kept."""
        self._joining, self._rows, self._ended = [], [], set()
        self._cache = self._newest = None
        self._prefixes.drop()

    def _under_way(self) -> list[_Row]:
        return [row for row in self._rows + self._joining if row.number not in self._ended]

    def _arrange(self) -> None:
        """Puts the rows that are under way side by side, and leaves out the others."""
        rows = self._under_way()
        layers = [self._layers(row) for row in rows]
        kept, apart = self._newest_apart()
        self._rows, self._joining, self._ended = rows, [], set()
        # From now on the lists alone hold keys and values, and are emptied on the way.
        self._cache = None
        for row in rows:
            row.layers = None
        self._cache = side_by_side(layers, apart)
        if kept is not None and apart:
            self._prefixes.kept = replace(kept, keys_and_values=cache_of(apart))

    def _newest_apart(self) -> tuple[Kept | None, Layers]:
        """What the next prompt may go on from, where it will not be found among the rows, nor is kept by itself."""
        if self._newest is None:
            return None, []
        row, kept = self._newest
        if row.number not in self._ended:
            if self._prefixes.kept is kept:
                self._prefixes.drop()
            self._newest = row, replace(kept, keys_and_values=None)
            return None, []
        self._newest = None
        return kept, [] if self._prefixes.kept is not None else self._layers(row, row.prompt_tokens)

    def _layers(self, row: _Row, tokens: int | None = None) -> Layers:
        """Of a row: of its first tokens, or of all but the last."""
        if row.layers is not None:
            return row.layers
        filled = max(len(other.ids) for other in self._rows) - len(row.ids)
        tokens = len(row.ids) - 1 if tokens is None else min(tokens, len(row.ids) - 1)
        place = next(place for place, other in enumerate(self._rows) if other is row)
        return layers_of(self._cache, slice(filled, filled + tokens), place)


def _padded(rows: Sequence[Any]) -> Any:
    """Token ids below each other, each filled up on the left by its own first token: a penalty on tokens that were said
    before then meets no other one."""
    import torch

    width = max(map(len, rows))
    return torch.stack([torch.cat([row[:1].expand(width - len(row)), row]) for row in rows])


def _mask(lengths: Sequence[int], device: Any) -> Any:
    """What of the rows of so many tokens was not filled up."""
    import torch

    width = max(lengths)
    filled = torch.tensor([width - length for length in lengths], device=device)
    return (torch.arange(width, device=device) >= filled.unsqueeze(1)).long()


def _ends(model: Any) -> list[int]:
    """The tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return []
    return list(ends) if isinstance(ends, list) else [ends]
