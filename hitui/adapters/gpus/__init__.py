"""Where GPU readings come from: one module a kind, one line each in `KINDS`."""

from __future__ import annotations

import importlib
import os

from hitui.adapters.gpus.base import GpuSource, UnknownSource

SIMULATED_VARIABLE = "HITUI_SIMULATED_GPUS"
"""Names the folder of simulated GPUs; unset or empty: the driver's."""

KINDS: dict[str, str] = {
    "nvml": "hitui.adapters.gpus.nvml:NvmlSource",
    "simulated": "hitui.adapters.gpus.simulated:SimulatedSource",
}
"""`module:Class` by kind, imported when asked for; a class is called without arguments."""


def make_source(kind: str) -> GpuSource:
    """A source of that kind, nothing read yet. Raises UnknownSource."""
    target = KINDS.get(kind)
    if target is None:
        raise UnknownSource(f"no GPU source {kind!r}; known are {', '.join(sorted(KINDS))}")
    module, _, name = target.partition(":")
    source: GpuSource = getattr(importlib.import_module(module), name)()
    return source


def chosen_kind() -> str:
    """`simulated` where HITUI_SIMULATED_GPUS names a folder, else `nvml`."""
    return "simulated" if os.environ.get(SIMULATED_VARIABLE) else "nvml"


def open_source() -> GpuSource:
    """The source that the environment asks for, with the locks that stand on its GPUs."""
    from hitui.adapters.gpus.locked import WithLocks

    return WithLocks(make_source(chosen_kind()))
