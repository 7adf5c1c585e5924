"""What settings and config ask of a GPU, in the words of `domain.placement`."""

from __future__ import annotations

from hitui.adapters.gpus import chosen_kind
from hitui.domain.configs import Config
from hitui.domain.placement import GpuRules, Need
from hitui.settings import Settings


def gpu_rules(settings: Settings) -> GpuRules:
    """What `[gpus]` asks of every GPU."""
    return GpuRules(
        exclude=frozenset(settings.gpus.exclude),
        max_utilization=settings.gpus.max_utilization,
        hold=settings.gpus.hold_seconds,
    )


def need_of(settings: Settings, config: Config) -> Need:
    """What a job of this config asks of the GPUs.

    The demo engine computes nothing: unless the settings say what it needs, it asks for a GPU only where
    GPUs are simulated.
    """
    runner = settings.runners.get(config.runner or "")
    declared = settings.declared(config.name)
    gpus, share = (1, False) if runner is None else (runner.gpus, runner.share)
    gpus = gpus if declared.gpus is None else declared.gpus
    share = share if declared.share is None else declared.share
    says = declared.min_free is not None or (runner is not None and runner.min_free is not None)
    if runner is not None and runner.engine == "demo" and not says and chosen_kind() != "simulated":
        return Need(0)
    return Need(settings.min_free_bytes(config.name, config.runner), gpus, share)
