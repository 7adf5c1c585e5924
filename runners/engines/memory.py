"""Memory of the machine and its GPUs: telling that it ran out, and giving back what nothing holds any more."""

from __future__ import annotations

import gc

OUT_OF_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How libraries below torch say it, beside what accelerate knows."""


def out_of_memory(error: Exception) -> bool:
    """Whether it says that main memory or that of a GPU ran out. Needs accelerate."""
    from accelerate.utils.memory import should_reduce_batch_size

    return (
        isinstance(error, MemoryError)
        or bool(should_reduce_batch_size(error))
        or any(said in str(error) for said in OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Gives unused memory back. Whoever calls it holds no exception any more: its frames hold tensors."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
