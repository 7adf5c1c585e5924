"""What settings and config ask of a GPU, in the words of `domain.placement`."""

from __future__ import annotations

from hitui.adapters.gpus import chosen_kind
from hitui.domain.configs import Config
from hitui.domain.placement import GpuRules
from hitui.settings import Settings


def gpu_rules(settings: Settings) -> GpuRules:
    """What `[gpus]` asks of every GPU."""
    return GpuRules(
        exclude=frozenset(settings.gpus.exclude),
        max_utilization=settings.gpus.max_utilization,
        hold=settings.gpus.hold_seconds,
    )


def needed_bytes(settings: Settings, config: Config) -> int:
    """Free memory that a GPU must have for this config; 0: it needs none.

    The demo engine computes nothing: unless the settings say what it needs, it asks for a GPU only where
    GPUs are simulated.
    """
    runner = settings.runners.get(config.runner or "")
    declared = next((entry for entry in settings.configs if entry.name == config.name), None)
    says = (runner is not None and runner.min_free is not None) or (
        declared is not None and declared.min_free is not None
    )
    if runner is not None and runner.engine == "demo" and not says and chosen_kind() != "simulated":
        return 0
    return settings.min_free_bytes(config.name, config.runner)
