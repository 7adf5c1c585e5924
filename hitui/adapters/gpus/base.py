"""What a source of GPU readings promises. Contract: `tests/contract/test_gpus.py`, run over every kind.

A source is opened, read and closed by one thread, which may hang in any of the three as long as the
driver does; `monitor.GpuMonitor` is what the rest talks to.
"""

from __future__ import annotations

from typing import Protocol

from hitui.domain.gpus import GpuSnapshot
from hitui.errors import HituiError


class UnknownSource(HituiError):
    """No such kind of source in the registry."""


class GpuSource(Protocol):
    """Reads all GPUs of this machine."""

    def read(self) -> GpuSnapshot:
        """All GPUs now. Raises nothing for what a driver or file may do.

        What cannot be read at all is `GpuSnapshot.error`, what fails for one GPU is its `Gpu.error`; the
        other GPUs go on. After an error the next reads try again by themselves.
        """

    def close(self) -> None:
        """Gives the driver back. May be called twice, and without a read before."""
