"""How a job is started: on this machine, or through a scheduler. A new kind is one line here."""

from __future__ import annotations

import importlib
from typing import cast

from hitui.adapters.executors.base import Executor
from hitui.errors import LaunchError

EXECUTORS: dict[str, str] = {
    "local": "hitui.adapters.executors.local:LocalExecutor",
}
"""Name → `module:Class`, loaded when asked for."""


def open_executor(name: str) -> Executor:
    """The executor of that name. Raises LaunchError naming those that there are."""
    if name not in EXECUTORS:
        raise LaunchError(f"no executor {name!r}; there are: {', '.join(EXECUTORS)}")
    module, _, class_name = EXECUTORS[name].partition(":")
    return cast("Executor", getattr(importlib.import_module(module), class_name)())
