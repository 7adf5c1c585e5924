"""Answers that are generated together, each given as soon as it has ended: one that is done does not wait for the
longest, is not lost with those that are not done, and takes no more of their time and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def generate_rows(
    model: Any, ids: Any, mask: Any, keys_and_values: Any, new_tokens: int
) -> Iterator[dict[int, Any]]:
    """The new tokens of each row, by its number; with them the one that ends the answer.

    `model`: a model of transformers, from 4.57 on, whose `rope_deltas` are those of these rows. `ids`, `mask`: of the
    prompts, shape (rows, tokens), on the model's device. `keys_and_values`: a cache of all rows, of their first tokens
    or of none; at the end it holds rows that ended last. `new_tokens`: at most so many has an answer. Raises what the
    model's `generate` raises.
    """
    import torch
    from transformers import StoppingCriteriaList

    ends = torch.tensor(_ends(model), dtype=torch.long, device=ids.device)

    def has_any_ended(ids: Any, *_: object, **__: object) -> Any:
        return torch.isin(ids[:, -1], ends).any().expand(len(ids))

    width = ids.shape[1]
    numbers = list(range(len(ids)))
    while numbers:
        ids = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=keys_and_values,
            max_new_tokens=width + new_tokens - ids.shape[1],
            stopping_criteria=StoppingCriteriaList([has_any_ended]),
        )
        ended = torch.isin(ids[:, -1], ends).tolist()
        # Where it stopped for no end of an answer, it would not go on either.
        if not any(ended) or ids.shape[1] == width + new_tokens:
            ended = [True] * len(ended)
        # Those of the rows that go on, before another prompt may come to the model.
        deltas = model.model.rope_deltas
        yield {
            number: row[width:].cpu()
            for number, row, has_ended in zip(numbers, ids, ended, strict=True)
            if has_ended
        }
        going_on = [row for row, has_ended in enumerate(ended) if not has_ended]
        numbers = [numbers[row] for row in going_on]
        if numbers:
            rows = torch.tensor(going_on)
            ids = ids[rows]
            mask = torch.nn.functional.pad(mask[rows], (0, ids.shape[1] - mask.shape[1]), value=1)
            keys_and_values.batch_select_indices(rows)
            model.model.rope_deltas = deltas[rows]


def _ends(model: Any) -> list[int]:
    """The tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return []
    return list(ends) if isinstance(ends, list) else [ends]
