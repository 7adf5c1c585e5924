"""Attention under a mask: no keys and values are copied for the heads that share them, and nothing else is said."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hitui_runners.engines.attention import attend

from tests.runners.watched import (
    Watched,
    asked,
    from_their_start,
    model,
    one_engine,
    plain,
    same_scores,
    sharing,
)

__all__ = ["model", "one_engine", "plain", "sharing"]

pytestmark = pytest.mark.model

TABLE = "".join(f"<tr><td>Harbour {row}</td><td>{row * 37 % 101}</td></tr>\n" for row in range(12))


@pytest.fixture
def heads_under_masks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """For each time that torch attends under a mask: for how many tokens, and heads of keys and values."""
    import torch

    attention, seen = torch.nn.functional.scaled_dot_product_attention, []

    def watched(query: Any, key: Any, *rest: Any, attn_mask: Any = None, **options: Any) -> Any:
        if attn_mask is not None:
            seen.append((query.shape[1] * query.shape[2], key.shape[1]))
        return attention(query, key, *rest, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    return seen


@pytest.mark.parametrize("tokens", [1, 3, 40])
@pytest.mark.parametrize("numbers", ["float32", "bfloat16"])
def test_it_gives_what_the_library_gives(
    tokens: int, numbers: str, heads_under_masks: list[tuple[int, int]]
) -> None:
    import torch
    from transformers import AttentionInterface

    library = AttentionInterface()["sdpa"]
    torch.manual_seed(0)
    queries = torch.randn(2, 8, tokens, 16, dtype=getattr(torch, numbers))
    keys, values = torch.randn(2, 2, 2, 50, 16, dtype=queries.dtype)
    mask = torch.ones(2, 1, tokens, 50, dtype=torch.bool).tril(50 - tokens)
    # Padding; of a row that is nothing else, nothing is read.
    mask[0, :, :, :20] = False
    mask[1, :, 0] = False
    module = SimpleNamespace(num_key_value_groups=4)
    expected, _ = library(module, queries, keys, values, mask, scaling=0.3)
    heads_under_masks.clear()
    given, _ = attend(library, module, queries, keys, values, mask, scaling=0.3)

    assert given.shape == (2, tokens, 8, 16)
    assert given.dtype == queries.dtype
    torch.testing.assert_close(given, expected)
    # Where many tokens are computed, a mask for each head would take more than keys and values do.
    assert [heads for _, heads in heads_under_masks] == [2 if tokens < 40 else 8]


def test_batches_and_what_goes_on_from_a_kept_beginning_copy_no_keys(
    sharing: Watched, heads_under_masks: list[tuple[int, int]]
) -> None:
    prompts = [replace(asked(number), table=TABLE * (1 + number % 2)) for number in (0, 2, 1, 3)]
    alone = from_their_start(sharing, prompts)
    assert not heads_under_masks

    assert sharing.together(prompts) == alone.answers
    same_scores(sharing, alone)
    text = sharing.engine._model.config.text_config
    queries = {number // text.num_attention_heads for number, _ in heads_under_masks}
    assert {heads for _, heads in heads_under_masks} == {text.num_key_value_heads}
    # Those of a batch, one token each, and those of a question.
    assert min(queries) == 1 < max(queries)
