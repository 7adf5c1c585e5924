"""What settings and configs say of jobs that crash and of jobs that run, in the words of the domain.

A job of several configs follows the strictest of them: it stalls as soon as one of them would, and goes on by
itself only where all of them may.
"""

from __future__ import annotations

from collections.abc import Collection

from hitui.domain.succession import RetryRules
from hitui.domain.watching import WatchRules
from hitui.settings import Settings


def retry_rules(settings: Settings, configs: Collection[str]) -> RetryRules:
    """What is said of a job of these configs that crashes."""
    queue = settings.queue
    resume = [settings.declared(config).resume for config in configs]
    return RetryRules(
        retries=queue.retries,
        pause=queue.retry_pause_seconds,
        resume=all(queue.resume if own is None else own for own in resume),
        quick=queue.quick_seconds,
    )


def watch_rules(settings: Settings, configs: Collection[str]) -> WatchRules:
    """What is said of a job of these configs that runs."""
    queue, declared = settings.queue, [settings.declared(config) for config in configs]
    stalls = [queue.stall_seconds if own.stall is None else own.stall_seconds for own in declared]
    restart = [own.restart_stalled for own in declared]
    return WatchRules(
        stall=min((stall for stall in stalls if stall is not None), default=None),
        restart=all(queue.restart_stalled if own is None else own for own in restart),
        errors=queue.pause_after_errors,
        lost=queue.gpu_lost_seconds,
    )
