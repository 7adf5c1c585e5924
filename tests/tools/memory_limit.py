"""Little memory: a control group in which the kernel itself ends who takes more (cgroups(7), both versions), and a
process that is refused more, of main memory or of a GPU's."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.tools.eventually import eventually

_HIERARCHIES = (
    (Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    (Path("/sys/fs/cgroup"), ("memory.max", "memory.swap.max")),
)
"""Where each version's groups lie, and the files of a group that hold its limits: memory, and what may be swapped."""


@contextmanager
def memory_limit(size: int) -> Iterator[Path | None]:
    """`cgroup.procs` of a new group with so many bytes, which takes pids; None: none can be made here."""
    made = None
    for home, (memory, swap) in _HIERARCHIES:
        group = home / f"hitui-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / memory).write_text(str(size))
        except OSError:
            # There is no such version here, or root alone may.
            group.rmdir()
            continue
        with suppress(OSError):
            (group / swap).write_text(str(size) if swap.startswith("memory.memsw") else "0")
        made = group
        break
    try:
        yield None if made is None else made / "cgroup.procs"
    finally:
        if made is not None:
            eventually(lambda: _removed(made), f"{made} is empty")


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        # A process of it is just about to end.
        return False
    return True


@contextmanager
def address_space(more: int) -> Iterator[None]:
    """This process gets so many bytes more from the system and no others."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@contextmanager
def gpu_memory(size: int) -> Iterator[None]:
    """This process gets so many bytes of the first GPU and no others, where it has as many."""
    import torch

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
