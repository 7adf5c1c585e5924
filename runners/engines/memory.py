"""Memory of the machine and its GPUs: telling that it ran out, and giving back what nothing holds any more."""

from __future__ import annotations

import gc
from contextlib import suppress

OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "_ALLOCATION_FAILED",
)
"""How libraries below torch say it, beside what accelerate knows; the last two are of cuDNN, by its version."""


def out_of_memory(error: Exception) -> bool:
    """Whether it says that main memory or that of a GPU ran out. Needs accelerate."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return (
        # How torch words its own depends on who gives it memory.
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or bool(should_reduce_batch_size(error))
        or any(said in str(error) for said in OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Gives unused memory back. Whoever calls it holds no exception any more: its frames hold tensors."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        # One that is lost gives nothing back; whoever uses it next learns that, and can say so.
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
