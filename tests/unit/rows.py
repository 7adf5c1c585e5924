"""Lines of the main screen and the jobs behind them, made of values alone."""

from __future__ import annotations

import itertools

from msgspec.structs import replace

from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import (
    Job,
    JobRequest,
    JobsSnapshot,
    Queued,
    Running,
    Shard,
)
from hitui.domain.progress import JobProgress
from hitui.ui.config_rows import ConfigRow, config_rows, state_words
from hitui.ui.job_index import JobIndex
from tests.ui.sample import NOON, config, gpu


def job(state: object, **others: object) -> Job:
    return Job(7, JobRequest("a/text_html"), NOON, state, **others)  # type: ignore[arg-type]


NUMBERS = itertools.count(10)
"""Of the jobs of these rows: each has its own."""


def running_row(eta: float | None, **others: object) -> ConfigRow:
    state = config("a/b", 3000, missing=71, **others)
    words = state_words(state, None, None, {})
    running = replace(job(Running(("u0",), 1, NOON)), id=next(NUMBERS))
    return ConfigRow(state, words, running, JobProgress("running", eta_seconds=eta))


def queued_row(seconds_per_task: float | None) -> ConfigRow:
    state = config("a/c", 3061, missing=10, seconds_per_task=seconds_per_task)
    return ConfigRow(state, state_words(state, None, None, {}), replace(job(Queued()), id=next(NUMBERS)))


def shards(*states: object) -> JobsSnapshot:
    """A config split into as many jobs, from number 7 on."""
    return JobsSnapshot(
        tuple(
            replace(
                job(state, log=f"/made-up/{number}"),
                id=7 + number,
                request=JobRequest("a/text_html", shard=Shard(7, number, len(states), (number,))),
            )
            for number, state in enumerate(states)
        )
    )


def row_of_shards(known: JobsSnapshot, progress: dict[int, JobProgress]) -> ConfigRow:
    state = config("a/text_html", 3000, missing=71, seconds_per_task=10.0)
    snapshot = GpuSnapshot(NOON, "nvml", tuple(replace(gpu(n, 1.0), uuid=f"u{n}") for n in range(3)))
    (row,) = config_rows([state], JobIndex(known), progress, snapshot, NOON + 3900)
    return row


JOINED = replace(
    job(Running(("u0",), 1, NOON)),
    request=JobRequest("a/one", also=(JobRequest("a/two"), JobRequest("a/three"))),
)
"""A job of three configs."""


def rows_of_joined(progress: JobProgress, seconds_per_task: float | None = None) -> list[ConfigRow]:
    states = [
        config("a/one", 3071),
        config("a/two", 3069, missing=2, seconds_per_task=seconds_per_task),
        config("a/three", 3051, missing=20, seconds_per_task=seconds_per_task),
    ]
    index = JobIndex(JobsSnapshot((JOINED,)))
    snapshot = GpuSnapshot(NOON, "nvml", (replace(gpu(0, 1.0), uuid="u0"),))
    return config_rows(states, index, {JOINED.id: progress}, snapshot, NOON)
