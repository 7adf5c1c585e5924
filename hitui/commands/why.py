"""`hitui why CONFIG|JOB`: what a job waits for, GPU by GPU, or whether a config would start now."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.executors.locks import locked_gpus
from hitui.commands.job_naming import number_in
from hitui.commands.saying import harmless, warn
from hitui.domain.configs import Config, ConfigState
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import JobRequest, JobsSnapshot
from hitui.domain.placement import gpus_for_jobs
from hitui.domain.units import counted
from hitui.errors import HituiError, NoSuchName
from hitui.factory import Services, build_services
from hitui.paths import gpu_lock_home
from hitui.services.why import Situation, Why, why_config, why_job, why_request
from hitui.services.workspace import WorkspaceSnapshot

MOST_SHARDS = 8
"""So many are told of one by one; how many more there are is counted."""
READ_TIMEOUT = 10.0
"""Seconds until a driver that does not answer is given up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="CONFIG|JOB", help="name of a config, or its unique end; or a job")
    parser.add_argument("--json", action="store_true", help="print one object")


def run(arguments: argparse.Namespace) -> int:
    services = build_services(arguments.workspace)
    number = number_in(arguments.what)
    jobs = services.jobs.read_once(every=number is not None)
    catalogue = services.workspace.catalogue
    job = next((job for job in jobs.jobs if job.id == number), None)
    if number is not None and job is None:
        raise NoSuchName(f"no job {number}; `hitui jobs --all` lists them")
    config = catalogue.find(arguments.what).name if job is None else job.request.config
    configs = {known.name: known for known in catalogue.configs}
    gpus = services.gpus.read_once(READ_TIMEOUT)
    now = Situation(services.settings, jobs, configs, gpus, _locked(jobs, gpus))
    why = why_job(now, job) if job is not None else why_config(now, config)
    if why is None:
        request = JobRequest(config)
        why = why_request(now, request, _refusal(services, catalogue, configs, request, gpus))
    if arguments.json:
        print(json.dumps(as_object(why), indent=2))
    else:
        print("\n".join(map(harmless, lines(why))))
    return 0


def _locked(jobs: JobsSnapshot, gpus: GpuSnapshot) -> set[str]:
    """GPUs on which a lock stands that is none of our jobs'."""
    ours = {uuid for job in jobs.jobs if job.active for uuid in job.gpus}
    try:
        return locked_gpus(gpu_lock_home(), {gpu.uuid for gpu in gpus_for_jobs(gpus) if gpu.uuid} - ours)
    except HituiError as error:
        # What else is known of the GPUs is said all the same.
        warn(error)
        return set()


def _refusal(
    services: Services,
    catalogue: Catalogue,
    configs: Mapping[str, Config],
    request: JobRequest,
    gpus: GpuSnapshot,
) -> str | None:
    asked = catalogue.read(configs[request.config]).state
    states = tuple(asked if config.name == asked.name else ConfigState(config) for config in configs.values())
    plan = services.jobs.plan([request], WorkspaceSnapshot(states, False), gpus)
    return plan.launches[0].refused


def as_object(why: Why) -> dict[str, Any]:
    """What `--json` prints. Memory in bytes; `needs.memory` is asked of each GPU.

    `last_failure`: where the last job of a config without one says that a new one may end the same way. `shards`: of a
    config in several, each that has not ended; `gpus` is then of those that wait.
    """
    return {
        "config": why.config,
        "configs": [why.config, *why.also],
        "job": why.job,
        "state": why.state or None,
        "starts": why.starts,
        "reason": why.says,
        "needs": {"memory": why.need.memory, "gpus": why.need.gpus, "share": why.need.share},
        "gpus": [
            {"gpu": gpu.label, "uuid": gpu.uuid, "free_for_it": gpu.free, "reason": gpu.reason}
            for gpu in why.gpus
        ],
        "shards": [
            {
                "job": each.job,
                "shard": each.shard,
                "state": each.state,
                "starts": each.starts,
                "reason": each.says,
            }
            for each in why.shards
        ],
        "last_failure": None if why.last is None else msgspec.to_builtins(why.last),
    }


def lines(why: Why) -> list[str]:
    """What people read."""
    config = f"{why.config} {why.shard}" if why.shard else why.config
    subject = config if why.job is None else f"job {why.job} ({', '.join((config, *why.also))})"
    told = _shard_lines(why) if why.shards else [f"{subject}: {why.says}"]
    if why.last is not None:
        told.append(f"  its last job ({why.last.job}) failed: {why.last.reason}")
        told += [f"  {why.last.mend}"] if why.last.mend else []
    return [*told, *(f"  GPU {gpu.label} {gpu.reason}" for gpu in why.gpus)]


def _shard_lines(why: Why) -> list[str]:
    """The shards, a line each; of many those that stand as the others do are counted."""
    told = why.shards if len(why.shards) <= MOST_SHARDS else why.shards[: MOST_SHARDS - 1]
    lines = [f"{why.config}: {counted(len(why.shards), 'shard')}"]
    lines += [f"  job {each.job} ({each.shard}): {each.says}" for each in told]
    more = Counter(each.state for each in why.shards[len(told) :])
    if more:
        lines.append(f"  and {', '.join(f'{count} more {state}' for state, count in more.items())}")
    return lines
