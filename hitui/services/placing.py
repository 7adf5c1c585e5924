"""Which GPUs the jobs of a snapshot hold and keep: what the supervisor's scheduler finds, seen from outside."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from hitui.domain.claims import Claim, Claims, keep, with_claim
from hitui.domain.configs import Config
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Ended, Job, JobsSnapshot, Queued, Running, Stopping
from hitui.domain.placement import Need, place
from hitui.domain.queue import Standing, group_wait, in_order, on_configs, own_wait
from hitui.domain.waits import Wait
from hitui.settings import Settings
from hitui.supervisor.needs import gpu_rules, need_of


def claims_now(
    settings: Settings,
    jobs: JobsSnapshot,
    configs: Mapping[str, Config],
    gpus: GpuSnapshot,
    before: Job | None = None,
) -> Claims:
    """What started jobs hold, and what queued ones keep: all of them, or those ahead of `before`.

    What a job asks for is told by the settings of today. The hold time is not asked for: what is free for a
    queued job counts as kept for it.
    """
    claims: Claims = {}
    for job in jobs.jobs:
        if job.active and job.gpus:
            need = _need(settings, configs, job)
            pid = job.state.pid if isinstance(job.state, (Running, Stopping)) else None
            claims = with_claim(claims, job.gpus, Claim(job.id, need.memory, need.share, pid))
    rules, standing = gpu_rules(settings), standing_of(jobs)
    keeps_nothing: set[tuple[Need, tuple[str, ...] | None]] = set()
    for job in in_order(job for job in jobs.jobs if isinstance(job.state, Queued)):
        if before is not None and job.id == before.id:
            break
        need = _need(settings, configs, job)
        key = (need, job.request.gpus)
        if key in keeps_nothing or waits_in_queue(job, standing) is not None or _is_refused(job):
            continue
        placed = place(gpus, need, rules, claims, job.request.gpus)
        known = claims
        claims = keep(claims, placed.gpus or placed.keeps, Claim(job.id, need.memory, need.share))
        if claims is known:
            keeps_nothing.add(key)
        else:
            keeps_nothing.clear()
    return claims


def standing_of(jobs: JobsSnapshot) -> Standing:
    """What decides about the queued jobs of a snapshot; of processes that they wait for, that all live."""
    started = [job for job in jobs.jobs if job.active and not isinstance(job.state, Queued)]
    return Standing(
        now=time.time(),
        queue=jobs.queue,
        started=Counter(job.schedule.group for job in started),
        busy=on_configs(started),
        endings={job.id: job.state.ending if isinstance(job.state, Ended) else None for job in jobs.jobs},
        living={mark for job in jobs.jobs for mark in job.schedule.after_processes},
    )


def waits_in_queue(job: Job, standing: Standing) -> Wait | None:
    """What a queued job waits for besides GPUs; None: nothing."""
    return own_wait(job, standing) or group_wait(job.schedule.group, standing)


def _is_refused(job: Job) -> bool:
    """Whether its start was refused for now, as where its model is away: such a job keeps no GPU."""
    return isinstance(job.state, Queued) and job.state.kind.refuses


def _need(settings: Settings, configs: Mapping[str, Config], job: Job) -> Need:
    config = configs.get(job.request.config)
    return Need(0) if config is None else need_of(settings, config, job.request)
