"""Torch's kernels for attention, at the shapes that the engine `transformers` comes with for a model of 8 billion parameters:
how long each takes where every call has a new length, as every prompt and every new token has.

On the CPU lengths are a fortieth, and say nothing of a GPU: there cuDNN makes a plan for each new length, which is why the
engine does without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SIZE, SHARED_HEADS, HEADS = 128, 8, 32
ROUNDS = 12
"""Calls of each, after one that is not counted."""


@dataclass(frozen=True)
class Call:
    name: str
    rows: int
    heads: int
    tokens: int | None
    """None: all, each reads those before it."""
    length: int
    masked: bool


def main() -> None:
    import torch

    on_gpu = torch.cuda.is_available()
    print(f"torch {torch.__version__} on {torch.cuda.get_device_name() if on_gpu else 'the CPU'}")
    for call in calls(1 if on_gpu else 40):
        times = {name: seconds for name, seconds in measured(call) if seconds is not None}
        slowest = max(times.values())
        for name, seconds in times.items():
            ratio = f"{slowest / seconds:5.1f} times as fast as the slowest"
            print(f"  {call.name:40} {name:20} {seconds * 1000:8.2f} ms a new length, {ratio}")


def calls(smaller: int) -> Iterator[Call]:
    """`smaller`: by how much lengths are divided."""
    sharing = HEADS // SHARED_HEADS
    yield Call("a new token of one answer", 1, HEADS, 1, 4000 // smaller, masked=False)
    # As `attend` puts the heads that share keys.
    yield Call("a new token of five answers together", 5, SHARED_HEADS, sharing, 3200 // smaller, masked=True)
    rest = sharing * 500 // smaller
    yield Call("a question behind what is kept", 1, SHARED_HEADS, rest, 15_000 // smaller, masked=True)
    yield Call("a prompt from its start", 1, HEADS, None, 17_000 // smaller, masked=False)


def measured(call: Call) -> Iterator[tuple[str, float | None]]:
    """By the kernel's name, seconds a call; None where it does not take such a one."""
    from torch.nn.attention import SDPBackend

    for kernel in (
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ):
        if kernel is SDPBackend.MATH and call.tokens is None:
            # All scores at once: tens of gigabytes.
            continue
        try:
            yield kernel.name, seconds_of(call, kernel)
        except RuntimeError:
            yield kernel.name, None


def seconds_of(call: Call, kernel: object) -> float:
    import torch
    from torch.nn.attention import sdpa_kernel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    taken = 0.0
    with sdpa_kernel(kernel), torch.inference_mode():
        for number in range(ROUNDS + 1):
            length = call.length + number
            tokens = length if call.tokens is None else call.tokens
            shapes = [(call.rows, call.heads, tokens, SIZE), *[(call.rows, SHARED_HEADS, length, SIZE)] * 2]
            query, key, value = (torch.randn(shape, device=device, dtype=torch.bfloat16) for shape in shapes)
            masks = (call.rows, 1, tokens, length)
            mask = torch.ones(masks, dtype=torch.bool, device=device) if call.masked else None
            wait()
            began = time.perf_counter()
            torch.nn.functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                is_causal=call.tokens is None,
                enable_gqa=call.heads != SHARED_HEADS,
            )
            wait()
            # The first call pays for what every later one has.
            taken += time.perf_counter() - began if number else 0
    return taken / ROUNDS


if __name__ == "__main__":
    main()
