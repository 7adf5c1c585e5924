"""One file an engine, behind the protocol of `base`; the registry loads an engine only when asked for."""

from __future__ import annotations

import importlib

from hitui_runners.engines.base import Engine

ENGINES: dict[str, str] = {
    "transformers": "hitui_runners.engines.transformers:TransformersEngine",
    "vllm": "hitui_runners.engines.vllm:VllmEngine",
    "openai": "hitui_runners.engines.openai:OpenAIEngine",
    "demo": "hitui_runners.engines.demo:DemoEngine",
}


def engine_class(name: str) -> type[Engine]:
    """The engine called `name`. Raises KeyError for an unknown one."""
    module, attribute = ENGINES[name].split(":")
    found: type[Engine] = getattr(importlib.import_module(module), attribute)
    return found
