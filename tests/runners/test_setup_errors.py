"""What is the fault of the setup, so that a run would fail the same way again, and what may pass."""

from __future__ import annotations

import errno
import os

import pytest
from hitui_runners.errors import SetupError, setup_error


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), True),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (OSError(errno.EIO, "Input/output error"), False),
        (OSError("no file named model.safetensors found"), True),
        (ImportError("libcudart.so.12: cannot open shared object file; CUDA"), True),
        (ValueError("the model type is not known"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), False),
        (RuntimeError(f"I/O error: {os.strerror(errno.ESTALE)} (os error 116)"), False),
        (MemoryError(), False),
    ],
    ids=str,
)
def test_what_may_be_gone_at_the_next_try_is_no_fault_of_the_setup(error: Exception, stays: bool) -> None:
    raised = setup_error("x: why", error)
    assert (isinstance(raised, SetupError), raised.exit_status) == (stays, 78 if stays else 1)
    assert str(raised) == "x: why"
