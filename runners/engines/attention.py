"""Attention under a mask, without a copy of keys and values for every head that reads them.

Several heads of a model share one head of keys and values. Without a mask torch knows that. With one, which padded rows
need and prompts that go on from a kept beginning, the library repeats keys and values for each head first, at every
layer; newer versions do so unless single tokens are computed. Here the heads that share are put below each other, as if
they were more tokens of one head, and the mask is repeated instead: less, as long as few tokens are computed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hitui_runners.engines.known_models import is_known

NAME = "sdpa_of_shared_heads"
"""Under which the library knows it."""
MASK_SHARE = 0.5
"""For each key, the repeated mask has at most so many entries for each number of a token's queries. An entry takes up to 5
bytes, and spares the copy of two numbers, a key's and a value's."""
Attended = tuple[Any, Any]


def attend_without_plans() -> None:
    """Lets no attention of this process go through cuDNN, which newer versions of torch take first on Hopper and
    Blackwell. It makes a plan for every length that is new, which takes tenths of a second; and every prompt, and every
    token that an answer grows by, comes with one."""
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)


def share_heads(model: Any) -> None:
    """Lets a model of transformers, from 4.57 on, attend so. One whose attention is not torch's own, or of another type
    than is known, is left as it is."""
    from transformers import AttentionInterface, AttentionMaskInterface

    if not is_known(model) or model.config.text_config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, functools.partial(attend, AttentionInterface()["sdpa"]))
    AttentionMaskInterface.register(NAME, AttentionMaskInterface()["sdpa"])
    model.set_attn_implementation({"text_config": NAME})


def attend(
    library: Callable[..., Attended],
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> Attended:
    """What attention gives, shape (rows, tokens, heads, size), and None.

    `query`: shape (rows, heads, tokens, size). `key`, `value`: (rows, heads of these, tokens in all, size).
    `attention_mask`: whether a token reads a key, (rows, 1, tokens, tokens in all); None: each reads those before it.
    `library`: how transformers does it, which does whatever is better left to it.
    """
    import torch

    rows, heads, tokens, size = query.shape
    sharing = heads // key.shape[1]
    if attention_mask is None or sharing == 1 or sharing * tokens > MASK_SHARE * heads * size:
        return library(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options)
    seen = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, key.shape[1], sharing * tokens, size),
        key,
        value,
        attn_mask=attention_mask.unsqueeze(2).expand(-1, -1, sharing, -1, -1).flatten(2, 3),
        dropout_p=dropout,
        scale=scaling,
    )
    return seen.reshape(query.shape).transpose(1, 2).contiguous(), None
