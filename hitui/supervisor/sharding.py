"""Which jobs are split, and into what: from settings, question list and sizes of tables to the shards' requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from hitui.adapters.checkpoints.inputs import table_bytes
from hitui.domain.configs import Config, ConfigState
from hitui.domain.jobs import Job, JobRequest, Shard
from hitui.domain.recovery import TEXT_BUDGET
from hitui.domain.shards import Rival, estimated_tokens, long_enough, shared_out, split
from hitui.domain.tasks import Question
from hitui.errors import LaunchError
from hitui.settings import RunnerSettings, Settings


class Waiting(msgspec.Struct, frozen=True):
    """A job behind one that may be split, which could start where the shards of that one could."""

    job: Job
    gpus: int
    """How many it takes, or each of its shards."""
    places: int
    """How many such jobs could start at this moment."""
    environment: Mapping[str, str]
    """That of whoever asked for it."""


def most_shards(settings: Settings, config: Config, request: JobRequest, seconds: float) -> int:
    """Into how many jobs this one may be split, by what was asked for, else by its config, else by its runner.

    `seconds`: about how long it runs; unless shards were asked for, none is to be much shorter than the settings
    say. 1: not at all. A shard is not split again, nor is a job that others have joined, nor what has no runner
    that can be told its tasks: settings may say less now than when the job was queued.
    """
    runner = settings.runners.get(config.runner or "")
    if runner is None or not runner.takes_shards or request.shard is not None or request.also:
        return 1
    shortest = 0.0 if request.shards is not None else settings.queue.shortest_shard_seconds
    return long_enough(_asked_shards(settings, config, request, runner), seconds, shortest)


def rival_of(
    settings: Settings, config: Config, request: JobRequest, seconds: float, gpus: int, places: int, own: int
) -> Rival:
    """What a job of about `seconds` takes from one whose shards have `own` GPUs each.

    It, or each of its shards, takes `gpus`, and `places` of these could start, one at least.
    """
    jobs = max(1, min(places, most_shards(settings, config, request, seconds)))
    return Rival(seconds * gpus / own, jobs * gpus / own)


def _asked_shards(settings: Settings, config: Config, request: JobRequest, runner: RunnerSettings) -> int:
    declared = settings.declared(config.name).shards
    return request.shards or declared or runner.shards


def check_shards(settings: Settings, state: ConfigState, request: JobRequest) -> None:
    """Raises LaunchError for a config whose tasks cannot be run in shards though they are to be."""
    config = state.config
    runner = settings.runners.get(config.runner or "", RunnerSettings())
    if _asked_shards(settings, config, request, runner) == 1:
        return
    check_told(config, runner)
    if request.shards is not None and not state.lists_tasks:
        raise LaunchError(
            f"{config.name}: its tasks are not known one by one, so it cannot be split in shards"
        )


def check_told(config: Config, runner: RunnerSettings) -> None:
    """Raises LaunchError for a runner that cannot be told which tasks a shard has, and where it writes."""
    if not runner.takes_shards:
        raise LaunchError(
            f"hitui.toml: [runner.{config.runner}] command: shards need {{ids}} or {{ids_file}}, and {{output}};"
            f" add them, or take the shards of {config.name} away"
        )


def shard_requests(
    job: Job,
    config: Config,
    questions: Sequence[Question],
    data: Path | None,
    limit: int | None,
    count: int,
) -> tuple[JobRequest, ...]:
    """What the shards of a job ask for, `count` of them or fewer: as many as there are tables.

    `questions` are what is pending, `data` the dataset's folder, `limit` the tokens to which prompts are cut.
    """
    shards = split(questions, partial(_tokens, config, data, limit or TEXT_BUDGET), count)
    named = job.request.gpus
    gpus = (None,) * len(shards) if named is None else shared_out(named, len(shards))
    return tuple(
        replace(job.request, gpus=own, shard=Shard(job.id, number, len(shards), ids))
        for number, (ids, own) in enumerate(zip(shards, gpus, strict=True))
    )


def _tokens(config: Config, data: Path | None, limit: int, table: str) -> int:
    read = config.modality in ("text", "mix") and data is not None and config.table_format is not None
    size = table_bytes(data, config.table_format, table) if read and data and config.table_format else None
    return estimated_tokens(size, config.modality in ("image", "mix"), limit)
