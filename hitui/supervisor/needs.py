"""What settings and config ask of a GPU, in the words of `domain.placement`."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from hitui.adapters.gpus import chosen_kind
from hitui.domain.configs import Config
from hitui.domain.jobs import JobRequest
from hitui.domain.placement import GpuRules, Need
from hitui.settings import RunnerSettings, Settings


def gpu_rules(settings: Settings) -> GpuRules:
    """What `[gpus]` asks of every GPU."""
    return GpuRules(
        exclude=frozenset(settings.gpus.exclude),
        max_utilization=settings.gpus.max_utilization,
        hold=settings.gpus.hold_seconds,
    )


def need_of(settings: Settings, config: Config, request: JobRequest | None = None) -> Need:
    """What a job of this config asks of the GPUs; with a request, this one.

    Unless the settings say what they need, two engines ask for no GPU: a server's client, and the demo engine,
    which computes nothing, except where GPUs are simulated.
    """
    runner = settings.runners.get(config.runner or "")
    declared = settings.declared(config.name)
    gpus, share = (1, False) if runner is None else (runner.gpus, runner.share)
    gpus = gpus if declared.gpus is None else declared.gpus
    share = share if declared.share is None else declared.share
    says = declared.min_free is not None or (runner is not None and runner.min_free is not None)
    if runner is not None and not says and _computes_elsewhere(runner):
        return Need(0)
    need = Need(settings.min_free_bytes(config.name, config.runner), gpus, share)
    return need if request is None else need_of_request(need, request)


def _computes_elsewhere(runner: RunnerSettings) -> bool:
    return runner.engine == "openai" or (runner.engine == "demo" and chosen_kind() != "simulated")


def need_of_request(need: Need, request: JobRequest) -> Need:
    """What one request asks for, given what its config does."""
    return need if request.gpu_count is None or not need.memory else replace(need, gpus=request.gpu_count)


def recovery_gpus(settings: Settings, config: Config, named: Collection[str] | None) -> int:
    """On how many GPUs tasks are tried for which nothing is left on fewer; 0: on no more than ever.

    Of those that were `named` for them, on all of them at most.
    """
    runner = settings.runners.get(config.runner or "")
    own = settings.declared(config.name).recovery_gpus
    if own is None:
        own = None if runner is None else runner.recovery_gpus
    return min(own or 0, len(named)) if named else own or 0
