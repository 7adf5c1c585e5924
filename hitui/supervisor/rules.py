"""What settings and config say of jobs that crash and of jobs that run, in the words of the domain."""

from __future__ import annotations

from hitui.domain.succession import RetryRules
from hitui.domain.watching import WatchRules
from hitui.settings import ConfigSettings, Settings


def retry_rules(settings: Settings, config: str) -> RetryRules:
    """What is said of jobs of this config that crash."""
    queue = settings.queue
    own = _declared(settings, config).resume
    return RetryRules(
        retries=queue.retries,
        pause=queue.retry_pause_seconds,
        resume=queue.resume if own is None else own,
        quick=queue.quick_seconds,
    )


def watch_rules(settings: Settings, config: str) -> WatchRules:
    """What is said of jobs of this config that run."""
    queue, own = settings.queue, _declared(settings, config)
    return WatchRules(
        stall=queue.stall_seconds if own.stall is None else own.stall_seconds,
        restart=queue.restart_stalled if own.restart_stalled is None else own.restart_stalled,
        errors=queue.pause_after_errors,
        lost=queue.gpu_lost_seconds,
    )


def _declared(settings: Settings, config: str) -> ConfigSettings:
    return next((entry for entry in settings.configs if entry.name == config), None) or ConfigSettings(config)
