"""What a queued job waits for, and what is paused, in words. Pure: values in, words out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len

from hitui.domain.jobs import Job, Queued
from hitui.domain.progress import JobProgress
from hitui.domain.schedule import DEFAULT_GROUP, Queue
from hitui.domain.succession import died_at_once
from hitui.domain.units import counted
from hitui.domain.waits import NOT_KNOWN, Wait, WaitKind
from hitui.ui import text
from hitui.ui.line import Line, Span

_STEPS = (60, 1), (110, 10), (math.inf, 60)
"""Up to so many seconds a time that is still to come is told in steps of so many, rounded up: finer ones would wake the
screen for nothing."""


def job_name(job: Job, *, short: bool = False) -> str:
    """`#14 qwen3vl_text/text_html`, `#14 text_html and 2 more` where it runs several configs, `#14 text_html 2/3`
    where it is the second shard of three."""
    config, shard = job.request.config, job.request.shard
    others = len(job.request.configs) - 1
    more = f" and {others} more" if others else f" {shard.label}" if shard is not None else ""
    return f"#{job.id} {text.short_name(config) if short else config}{more}"


def jobs_name(jobs: Sequence[Job], *, short: bool = False) -> str:
    """As `job_name` names one; shards of a config `#14 #15 #16 qwen3vl_text/text_html`."""
    if len(jobs) == 1:
        return job_name(jobs[0], short=short)
    config = jobs[0].request.config
    return f"{' '.join(f'#{job.id}' for job in jobs)} {text.short_name(config) if short else config}"


def seconds_to_retry(job: Job, now: float) -> float | None:
    """How long until a job that failed before is tried again; None: it does not wait for that."""
    moment = _start(job, now)
    return None if moment is None or job.attempt < 2 else moment - now


def start_words(job: Job, now: float) -> str:
    """`starts at 22:00` of a job that waits for its time; empty: it does not."""
    moment = _start(job, now)
    return "" if moment is None else f"starts at {text.moment(moment, now)}"


def _start(job: Job, now: float) -> float | None:
    moment = job.schedule.not_before
    return None if job.schedule.held or moment is None or moment <= now else moment


def about(seconds: float) -> str:
    """`9 s`, `40 s`, `3 min`, `3h`."""
    step = _step(seconds)
    if step < 60:
        return f"{max(1, math.ceil(seconds / step)) * step} s"
    return f"{math.ceil(seconds / 60)} min" if seconds <= 3600 else text.long_duration(seconds)


def seconds_told(job: Job, now: float) -> float:
    """For how long what `about` says of its next try stays true; infinite where it has none."""
    seconds = seconds_to_retry(job, now)
    if seconds is None:
        return math.inf
    step = _step(seconds)
    return seconds % step or step


def _step(seconds: float) -> int:
    return next(step for most, step in _STEPS if seconds <= most)


def wait_words(job: Job, now: float, room: int | None = None) -> tuple[str, str]:
    """What stands for a queued job in a list, and its style: `waits for job 14: it is on the same config`.

    `room`: so many cells under a title that says that it waits: there no half of what is behind the colon is told.
    """
    if job.schedule.held:
        return paused_words(job.schedule.held), "bad" if job.schedule.calls_for_someone else "warn"
    seconds = seconds_to_retry(job, now)
    if seconds is not None:
        return f"again in {about(seconds)}, attempt {job.attempt}", "accent"
    starts = start_words(job, now)
    if starts:
        return starts, ""
    wait = job.state.wait if isinstance(job.state, Queued) else NOT_KNOWN
    words = wait.words or "its turn"
    if room is None:
        return f"waits for {words}", ""
    return words if cell_len(words) <= room else short_wait(wait), ""


def short_wait(wait: Wait) -> str:
    """`20 GiB free on one GPU`, `its model folder is away`: what stands under a title that says that it waits."""
    return f"{wait.short} is away" if wait.kind is WaitKind.AWAY else wait.short or "its turn"


def paused_words(reason: str) -> str:
    """`paused by hand`, `paused: until Monday`."""
    return reason if reason.startswith("paused") else f"paused: {reason}"


def progress_parts(progress: JobProgress) -> list[Span]:
    """`3/14`, `1 error`, `9m left`, `2.5/m`: as far as it is known, and the phase where it is not the usual one."""
    parts: list[Span] = []
    if progress.done is not None:
        parts.append((f"{progress.done}/{progress.total}" if progress.total else str(progress.done), ""))
    if progress.phase in ("loading", "scoring"):
        parts.append((progress.phase, "dim"))
    if progress.errors:
        # Before what is cut where there is no room.
        parts.append((counted(progress.errors, "error"), "bad"))
    if progress.eta_seconds is not None and not progress.through:
        parts.append((f"{text.duration(progress.eta_seconds)} left", ""))
    if progress.rate and not progress.through:
        parts.append((text.rate(progress.rate), "dim"))
    return parts


def pause_parts(queue: Queue) -> list[Line]:
    """What is paused, for the head of a screen; what stopped because its jobs died needs a person."""
    parts: list[Line] = []
    stopped = [group.name for group in queue.groups if died_at_once(group.paused)]
    paused = [group.name for group in queue.groups if group.paused and not died_at_once(group.paused)]
    if stopped:
        parts.append(((f"! {_groups(stopped)} stopped", "bad"),))
    if queue.paused:
        parts.append((("queue paused", "warn"),))
    if paused:
        parts.append(((f"{_groups(paused)} paused", "warn"),))
    return parts


def pause_reasons(queue: Queue) -> list[str]:
    """The same in full, a line each."""
    lines = [f"queue {paused_words(queue.paused)}"] if queue.paused else []
    for group in queue.groups:
        if died_at_once(group.paused):
            lines.append(f"! group {group.name} stopped: {group.paused}")
        elif group.paused:
            lines.append(f"group {group.name} {paused_words(group.paused)}")
    return lines


def pause_of_new_jobs(queue: Queue) -> str:
    """What keeps a job that is queued now from its start: `group default is paused: …`; empty: nothing."""
    if queue.paused:
        return f"the queue is {paused_words(queue.paused)}"
    group = queue.group(DEFAULT_GROUP)
    return f"group {group.name} is {paused_words(group.paused)}" if group.paused else ""


def _groups(names: list[str]) -> str:
    return f"group {names[0]}" if len(names) == 1 else counted(len(names), "group")
