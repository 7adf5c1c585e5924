"""Why a job does not start, or whether a config would: a line for each GPU and one for everything else."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from msgspec.structs import replace

from hitui.domain.claims import Claims
from hitui.domain.configs import Config
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued
from hitui.domain.placement import Need, Verdict, judge, place
from hitui.domain.queue import group_wait
from hitui.domain.schedule import DEFAULT_GROUP
from hitui.domain.waiting_words import gibibytes
from hitui.domain.waits import Wait, WaitKind
from hitui.services.placing import claims_now, standing_of
from hitui.settings import Settings
from hitui.supervisor.needs import gpu_rules, need_of

NO_SUPERVISOR = "queued, and no supervisor runs to start it; start one with `hitui supervisor start`"


class GpuReason(msgspec.Struct, frozen=True):
    """One GPU as the job finds it."""

    label: str
    uuid: str
    free: bool
    """The hold time apart."""
    reason: str
    """`is held by job 14`, `is free`."""


class LastFailure(msgspec.Struct, frozen=True):
    """How the last job of a config ended, where a new one may end the same way at once."""

    job: int
    reason: str
    mend: str = ""
    """What to do, where the reason does not say it as it is typed."""


class Why(msgspec.Struct, frozen=True):
    """All that is to be said."""

    config: str
    job: int | None
    """None: no job is on the config."""
    state: str
    """Of the job, in a word; empty without one."""
    starts: bool
    """Whether it runs, or would be started now, the hold time apart."""
    says: str
    """One line on everything but the GPUs."""
    need: Need
    gpus: tuple[GpuReason, ...] = ()
    """Empty where no GPU matters: the job runs, has ended, or needs none."""
    also: tuple[str, ...] = ()
    """The other configs of the job, which joined it."""
    shard: str = ""
    """Which shard of the config the job runs: `2/3`; empty: all of it."""
    last: LastFailure | None = None
    """Of a config without a job; None: nothing speaks against a new one."""
    shards: tuple[Why, ...] = ()
    """All shards of the job's split that have not ended, itself among them, where a config was asked for; empty: it is
    not split. What is said of the GPUs is said for those that wait."""


class Situation(msgspec.Struct, frozen=True):
    """What was found out at one moment, and is looked at here."""

    settings: Settings
    jobs: JobsSnapshot
    configs: Mapping[str, Config]
    """By name."""
    gpus: GpuSnapshot
    locked: Collection[str] = ()
    """UUIDs on which someone else's lock stands."""

    def need(self, request: JobRequest) -> Need:
        known = self.configs.get(request.config)
        return Need(0) if known is None else need_of(self.settings, known, request)


def why_job(now: Situation, job: Job) -> Why:
    """Why the job stands where it stands."""
    return _why_job(now, job, _reasons_of_queued(now, job))


def why_config(now: Situation, config: str) -> Why | None:
    """Why the job on a config stands where it stands, and each shard where there are several; None: there is no job.

    How the GPUs are found is told of the first shard that waits, and of those that may not go to the same.
    """
    job = now.jobs.active_for(config)
    if job is None:
        return None
    if job.request.shard is None:
        return why_job(now, job)
    shards = _active_shards(now.jobs, job.request.shard.split)
    # Shards for which GPUs were named have their own; the first that waits tells of a GPU for all others.
    asked = {each.request.gpus: each for each in reversed(shards) if isinstance(each.state, Queued)}
    reasons = tuple(reason for each in reversed(asked.values()) for reason in _reasons_of_queued(now, each))
    told = tuple(replace(_why_job(now, each, reasons), gpus=()) for each in shards)
    return replace(_why_job(now, job, reasons), gpus=reasons, shards=told)


def _active_shards(jobs: JobsSnapshot, split: int) -> list[Job]:
    numbered = [
        (shard.number, job.id, job)
        for job in jobs.jobs
        if job.active and (shard := job.request.shard) is not None and shard.split == split
    ]
    return [job for *_, job in sorted(numbered, key=lambda each: each[:2])]


def _reasons_of_queued(now: Situation, job: Job) -> tuple[GpuReason, ...]:
    """How a queued job finds the GPUs; nothing of one that was started."""
    if not isinstance(job.state, Queued):
        return ()
    claims = claims_now(now.settings, now.jobs, now.configs, now.gpus, before=job)
    return tuple(
        replace(reason, reason=reason.reason + _hold_of_queued(now)) if reason.free else reason
        for reason in _reasons(now, now.need(job.request), claims, job.request)
    )


def _why_job(now: Situation, job: Job, reasons: tuple[GpuReason, ...]) -> Why:
    need = now.need(job.request)
    says = job.word
    match job.state:
        case Queued(wait=wait):
            if now.jobs.supervisor_pid is None:
                says = NO_SUPERVISOR
            elif wait.words:
                says = f"queued, waits for {_without_gpus(wait, reasons)}"
                paused = group_wait(job.schedule.group, standing_of(now.jobs))
                if paused is not None and paused.kind is not wait.kind and paused.words != wait.words:
                    # What it says first is not all: when that has come about, it would still wait.
                    says += f", and for {paused.words}"
        case Ended(reason=reason):
            says += f": {reason}" if reason else ""
        case _ if job.gpus:
            labels = now.gpus.labels
            says += f" on GPU {', '.join(labels.get(uuid, uuid) for uuid in job.gpus)}"
    starts = job.active and not isinstance(job.state, Queued)
    others = job.request.configs[1:]
    shard = job.request.shard.label if job.request.shard is not None else ""
    return Why(job.request.config, job.id, job.word, starts, says, need, reasons, others, shard)


def why_request(now: Situation, request: JobRequest, refused: str | None) -> Why:
    """Whether a job for this request would start now, and why not; `refused` says why it could not at all."""
    need = now.need(request)
    if refused is not None:
        return Why(request.config, None, "", False, f"would not start: {refused}", need)
    claims = claims_now(now.settings, now.jobs, now.configs, now.gpus)
    rules = gpu_rules(now.settings)
    placed = place(now.gpus, need, rules, claims, request.gpus, None, now.locked)
    reasons = _reasons(now, need, claims, request)
    paused = group_wait(DEFAULT_GROUP, standing_of(now.jobs))
    last = last_failure(now.jobs, request.config)
    wait = paused or (Wait(WaitKind.GPUS, placed.waits_for) if placed.waits_for else None)
    if wait is not None:
        waits_for = _without_gpus(wait, reasons)
        return Why(request.config, None, "", False, f"would wait for {waits_for}", need, reasons, last=last)
    labels = [gpu.label for gpu in now.gpus.gpus if gpu.uuid in placed.gpus]
    where = f" on GPU {', '.join(labels)}{_hold(now, len(labels))}" if labels else ", on no GPU"
    return Why(request.config, None, "", True, f"would start now{where}", need, reasons, last=last)


def last_failure(jobs: JobsSnapshot, config: str) -> LastFailure | None:
    """Why the job that ended last on a config was not tried again, where that is for a person to mend: its setup is at
    fault, or its answers would be mixed with those of other settings."""
    ended = [
        (job.state.ended_at, job.id, job)
        for job in jobs.jobs
        if isinstance(job.state, Ended)
        and job.state.ending is not Ending.JOINED
        and config in job.request.configs
    ]
    if not ended:
        return None
    _, _, last = max(ended)
    assert isinstance(last.state, Ended)
    if last.refused_to_mix:
        mend = f"`hitui rerun {config} --force` mixes the answers"
        return LastFailure(last.id, last.state.reason, mend)
    return LastFailure(last.id, last.state.reason) if last.setup_at_fault else None


def _reasons(now: Situation, need: Need, claims: Claims, request: JobRequest) -> tuple[GpuReason, ...]:
    if need.memory == 0 and not request.gpus:
        return ()
    verdicts = judge(now.gpus, need, gpu_rules(now.settings), claims, request.gpus, None, now.locked)
    return tuple(
        GpuReason(verdict.gpu.label, verdict.gpu.uuid, not verdict.hindrance, _words(verdict, need))
        for verdict in verdicts
    )


def _hold_of_queued(now: Situation) -> str:
    hold = now.settings.gpus.hold_seconds
    return f", and must stay so for {hold:.0f} s" if hold else ""


def _hold(now: Situation, count: int) -> str:
    """One reading says nothing of the time before it."""
    hold = now.settings.gpus.hold_seconds
    return f", if {'it stays' if count == 1 else 'they stay'} free for {hold:.0f} s" if hold else ""


def _words(verdict: Verdict, need: Need) -> str:
    has = f"has {gibibytes(verdict.room)}"
    if verdict.hindrance.startswith(has):
        beside = verdict.hindrance.removeprefix(has)
        return f"{has} free of the {gibibytes(need.memory)} it needs{beside}"
    return verdict.hindrance or "is free"


def _without_gpus(wait: Wait, reasons: tuple[GpuReason, ...]) -> str:
    """`20 GiB free on one GPU` alone, where a line on each GPU follows."""
    return wait.short if reasons and wait.kind is WaitKind.GPUS else wait.words
