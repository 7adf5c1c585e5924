"""Configs as rows: their files, their job and its progress in one value, with the state in words.

Pure: values in, values out. What needs a person says so with `!` and in words; colour only helps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from hitui.domain.configs import ConfigCondition, ConfigState
from hitui.domain.filtering import has_words
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.growth import NONE, Growth
from hitui.domain.jobs import FAILURES, Ended, Ending, Job, Queued, Running, Starting, Stopping
from hitui.domain.progress import JobProgress, together
from hitui.domain.to_run import tasks_of_jobs
from hitui.domain.units import duration_words
from hitui.domain.waits import Wait, WaitKind
from hitui.ui.job_index import JobIndex
from hitui.ui.job_words import about, paused_words, seconds_to_retry, short_wait, start_words

SHORT_CELLS = 13
"""Of the state column where it has the least room."""


class StateWords(msgspec.Struct, frozen=True):
    """The state column: in full, shortened, and what it is about."""

    long: str
    short: str
    style: str = ""
    attention: bool = False
    """True: it needs a person."""


class ConfigRow(msgspec.Struct, frozen=True):
    state: ConfigState
    words: StateWords
    job: Job | None = None
    """The one that is on it, else the first that waits, else the newest one that ended; None: never run here."""
    progress: JobProgress | None = None
    """Of the active job, as far as it runs this config."""
    job_progress: JobProgress | None = None
    """Of the whole active job, which may run other configs too."""
    shards: tuple[Job, ...] = ()
    """All shards of the job's split that have not ended, itself among them; what runs of them makes one progress."""
    failed: tuple[Job, ...] = ()
    """Others of the split that failed and were not tried again."""

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def active_jobs(self) -> tuple[Job, ...]:
        """What is on the config or waits to go on with it: all of the shards, or the job."""
        return self.shards or ((self.job,) if self.job is not None and self.job.active else ())

    @property
    def fraction(self) -> float | None:
        """Done of what can be done: blocked tasks do not count against it."""
        if self.state.total is None:
            return None
        possible = self.state.total - self.state.blocked
        return 1.0 if possible <= 0 else self.state.done / possible


def config_rows(
    states: Iterable[ConfigState],
    jobs: JobIndex,
    progress: Mapping[int, JobProgress],
    gpus: GpuSnapshot | None,
    now: float,
    growth: Mapping[str, Growth] = MappingProxyType({}),
) -> list[ConfigRow]:
    """One row a config; `now` in seconds since the epoch. `growth`: of their results, by config."""
    labels = gpus.labels if gpus is not None else {}
    rows = []
    for state in states:
        known = jobs.of_config(state.name)
        grows = growth.get(state.name, NONE)
        if known is None:
            words = state_words(state, None, None, labels, now)
            rows.append(ConfigRow(state, words, progress=grows.progress(state, now)))
            continue
        job = known.job
        beside = tuple(
            shard for shard in known.shards if shard is not job and not isinstance(shard.state, Queued)
        )
        whole = together([progress.get(each.id) for each in (job, *beside)]) if job.active else None
        part = None if whole is None else _part_of(whole, job, state.name)
        words = state_words(state, job, part, labels, now, beside)
        more = known.more_waiting + max(0, len(known.shards) - len(beside) - 1)
        if more:
            words = _with_more(words, more)
        if known.failed and not words.attention:
            words = _with_failed(words, known.failed)
        if part is None or not (part.phase or part.rate or part.through):
            told = grows.progress(state, now, _last_change(job))
            if told is not None and part is not None:
                told = msgspec.structs.replace(part, rate=told.rate, eta_seconds=told.eta_seconds)
            part = told or part
        rows.append(ConfigRow(state, words, job, part, whole, known.shards, known.failed))
    return rows


def _last_change(job: Job) -> float:
    """When it started, or ended: what a config has grown before says nothing of what is on it now."""
    match job.state:
        case Ended(ended_at=when):
            return when
        case Running(started_at=when) | Stopping(started_at=float(when)):
            return when
        case _:
            return 0.0


def _part_of(whole: JobProgress, job: Job, config: str) -> JobProgress:
    """What a job's progress says of one config of it; without rate and time left once it is through with that."""
    part = whole
    if job.request.also:
        # Before it has begun with one of them its numbers are of all.
        part = whole.of(config) if whole.configs else JobProgress(whole.phase, source=whole.source)
        if whole.phase == "loading":
            # The model is loaded for all of them, and how many tasks each has may be known before.
            part = msgspec.structs.replace(part, phase=whole.phase)
    return msgspec.structs.replace(part, rate=None, eta_seconds=None) if part.through else part


def state_words(
    state: ConfigState,
    job: Job | None,
    progress: JobProgress | None,
    labels: Mapping[str, str],
    now: float = 0.0,
    beside: Sequence[Job] = (),
) -> StateWords:
    """`labels`: of GPUs by UUID; `beside`: other shards that run."""
    if job is not None and job.active:
        words = _active(job, beside, progress, labels, now)
        if words.attention or not isinstance(job.state, Running) or not job.request.also or progress is None:
            return words
        return _turn(state, job, progress) or words
    # Once everything has its answer it matters no more how a job ended.
    ended = job.state if job is not None and (state.pending or not state.scanned) else None
    if isinstance(ended, Ended) and job is not None and ended.ending in FAILURES:
        word = ended.ending.value
        reason = f": {ended.reason}" if ended.reason else ""
        return StateWords(f"! #{job.id} {word}{reason}", f"! {word} #{job.id}", "bad", True)
    words = _at_rest(state)
    if isinstance(ended, Ended) and job is not None and state.condition is ConfigCondition.EMPTY:
        # It ran: where it succeeded, it wrote nothing that is counted here.
        still = f"{state.pending} to run"
        succeeded = ended.ending is Ending.SUCCEEDED
        return StateWords(
            f"#{job.id} {ended.ending.value}, still {still}", still, "warn" if succeeded else words.style
        )
    return words


def _turn(state: ConfigState, job: Job, part: JobProgress) -> StateWords | None:
    """Of a running job's several configs: what to say of one that it is not on; None: it is on this one."""
    if not part.phase and not part.done and part.total != 0:
        return StateWords(f"waits for its turn in #{job.id}", f"waits in #{job.id}", "accent")
    if not part.through:
        return None
    rest = _at_rest(state)
    return msgspec.structs.replace(rest, long=f"{rest.long}, #{job.id} goes on")


def _with_more(words: StateWords, count: int) -> StateWords:
    """Of several jobs for one config the row shows the first, and says that others wait."""
    more = f" +{count}"
    short = words.short
    if len(short + more) > SHORT_CELLS:
        # That there are others says more than what the number behind the mark is.
        short = short.replace("▶ GPU ", "▶ ")
    return msgspec.structs.replace(
        words, long=f"{words.long}, {count} more {'waits' if count == 1 else 'wait'}", short=short + more
    )


def _with_failed(words: StateWords, failed: Sequence[Job]) -> StateWords:
    """Others of a split go on; of those that failed a person has to know at once."""
    numbers = " ".join(f"#{job.id}" for job in failed)
    shards = "a shard" if len(failed) == 1 else f"{len(failed)} shards"
    return StateWords(f"! {shards} failed {numbers}, {words.long}", f"! failed #{failed[0].id}", "bad", True)


def _waiting(job: Job, wait: Wait, now: float) -> StateWords:
    if job.schedule.calls_for_someone:
        return StateWords(
            f"! #{job.id} {paused_words(job.schedule.held)}", f"! paused #{job.id}", "bad", True
        )
    if job.schedule.held:
        return StateWords(f"{paused_words(job.schedule.held)} #{job.id}", f"paused #{job.id}", "warn")
    seconds = seconds_to_retry(job, now)
    if seconds is not None:
        when = f"again in {about(seconds)}"
        return StateWords(f"{when}, attempt {job.attempt} #{job.id}", when, "accent")
    starts = start_words(job, now)
    if starts:
        return StateWords(f"{starts} #{job.id}", f"waits #{job.id}", "accent")
    short = "away" if wait.kind is WaitKind.AWAY else "waits"
    return StateWords(f"{_for_what(job, wait)} #{job.id}", f"{short} #{job.id}", "accent")


def _for_what(job: Job, wait: Wait) -> str:
    match wait.kind:
        case WaitKind.QUEUE_PAUSED:
            return "the queue paused"
        case WaitKind.GROUP_PAUSED:
            return f"group {job.schedule.group} paused"
        case WaitKind.AWAY:
            return short_wait(wait)
        case WaitKind.GPUS:
            # Of GPUs that were named the size is told where there is more room.
            return f"waits: {wait.short.removesuffix(' on one GPU').rpartition(' free on ')[2]}"
        case _:
            return f"waits: {short_wait(wait)}"


def _stalled(job: Job, since: float, labels: Mapping[str, str], now: float) -> StateWords:
    quiet = duration_words(max(0.0, now - since))
    return StateWords(
        f"! stalled for {quiet}: #{job.id} on {gpu_words(job.gpus, labels)}",
        f"! stalled #{job.id}",
        "bad",
        True,
    )


def _active(
    job: Job, beside: Sequence[Job], progress: JobProgress | None, labels: Mapping[str, str], now: float
) -> StateWords:
    for other in (job, *beside):
        if isinstance(other.state, Running) and other.state.stalled_since is not None:
            return _stalled(other, other.state.stalled_since, labels, now)
    on = gpu_words([gpu for other in (job, *beside) for gpu in other.gpus], labels)
    number = f"#{job.id}" + (f" +{len(beside)}" if beside else "")
    match job.state:
        case Queued(wait=wait):
            return _waiting(job, wait, now)
        case Starting():
            return StateWords(f"▶ {on} {number} starts", f"▶ #{job.id} starts", "running")
        case Stopping():
            return StateWords(f"■ {on} {number} stops", f"■ #{job.id} stops", "warn")
        case Running():
            phase = (
                progress.phase if progress is not None and progress.phase in ("loading", "scoring") else ""
            )
            words = f"▶ {on} {number}"
            return StateWords(f"{words} {phase}" if phase else words, _short(words, on, number), "running")
        case Ended():
            raise AssertionError("an ended job is not active")


def _short(words: str, on: str, number: str) -> str:
    """What a running job has in the least room, the same form in all its phases."""
    if len(words) <= SHORT_CELLS:
        return words
    on = on.removeprefix("GPU ").removeprefix("GPUs ")
    return f"▶ {on} {number}" if len(on) <= 3 else f"▶ {number}"


def _at_rest(state: ConfigState) -> StateWords:
    condition = state.condition
    if state.problems and condition in (
        ConfigCondition.PENDING,
        ConfigCondition.BLOCKED,
        ConfigCondition.WHOLE,
    ):
        return StateWords(f"! {state.problems[0]}", "! see enter", "warn", True)
    match condition:
        case ConfigCondition.UNREAD:
            return StateWords("reading…", "reading…", "dim")
        case ConfigCondition.UNREADABLE:
            return StateWords(f"! unreadable: {state.problems[0]}", "! unreadable", "bad", True)
        case ConfigCondition.UNCOUNTED:
            return StateWords(f"{state.done} {state.units(state.done)}, no total", "no total", "dim")
        case ConfigCondition.EMPTY:
            return StateWords(f"not started, {state.pending} to run", f"{state.pending} to run", "")
        case ConfigCondition.PENDING:
            if state.unit != "tasks":
                return StateWords(
                    f"{state.pending} {state.units(state.pending)} to go", f"{state.pending} to go", "warn"
                )
            return StateWords(f"{state.pending} to rerun", f"{state.pending} to rerun", "warn")
        case ConfigCondition.BLOCKED:
            return StateWords(f"done but for {state.blocked} blocked", f"{state.blocked} blocked", "warn")
        case ConfigCondition.WHOLE:
            return StateWords("whole", "whole", "good")


def gpu_words(uuids: Sequence[str], labels: Mapping[str, str]) -> str:
    """`GPU 2`, `GPUs 0,2`, `no GPU`; a UUID that the driver no longer knows by its first cells."""
    known = [labels.get(uuid, uuid[:12]) for uuid in uuids]
    if not known:
        return "no GPU"
    return ("GPU " if len(known) == 1 else "GPUs ") + ",".join(known)


def estimated_end(rows: Iterable[ConfigRow], now: float) -> float | None:
    """Seconds until all jobs are through, as far as rates and stored times tell; None: they do not.

    Running jobs take their reported time; waiting ones, one after the other, the place that ends first, and
    none before its time. The configs of one job take their time one after the other.
    """
    by_job: dict[int, list[ConfigRow]] = {}
    for row in rows:
        if row.job is not None and row.job.active:
            by_job.setdefault(row.job.id, []).append(row)
    running: list[float] = []
    waiting: list[tuple[float, float]] = []
    """Of each when it may start, and how long it takes."""
    for parts in by_job.values():
        seconds = _seconds_left(parts)
        if seconds is None:
            return None
        job = _job_of(parts)
        if isinstance(job.state, Queued):
            waiting.append((max(0.0, (job.schedule.not_before or now) - now), seconds))
        else:
            running.append(seconds)
    if not running and not waiting:
        return None
    slots = running or [0.0]
    for start, seconds in sorted(waiting):
        slots.sort()
        slots[0] = max(slots[0], start) + seconds
    return max(slots)


def _job_of(parts: list[ConfigRow]) -> Job:
    """The one that these rows share."""
    job = parts[0].job
    assert job is not None
    return job


def _seconds_left(parts: list[ConfigRow]) -> float | None:
    """Of one job, from the rows of its configs; None: it cannot be told, or it goes on when someone says so."""
    job = _job_of(parts)
    reported = parts[0].job_progress or parts[0].progress
    if isinstance(job.state, Running) and reported is not None and reported.eta_seconds is not None:
        return reported.eta_seconds
    if job.schedule.held:
        return None
    seconds = 0.0
    for row in parts:
        count = tasks_of_jobs(row.shards or (job,), row.state)
        if count is None or row.state.seconds_per_task is None:
            return None
        seconds += count * row.state.seconds_per_task
    return seconds / max(1, len(parts[0].shards))


def matches(row: ConfigRow, wanted: str) -> bool:
    """Every word of the filter stands in the name or in the state, case aside."""
    return has_words(f"{row.name} {row.words.long}", wanted)


def match_rank(row: ConfigRow, wanted: str) -> int:
    """How well a row that matches does so; smaller is better.

    0: a word of the filter is the name or its last parts, as commands take a config by `text_html`;
    1: the name ends with a word; 2: anything else.
    """
    name = f"/{row.name.lower()}"
    words = wanted.lower().split()
    if any(name.endswith(f"/{word.lstrip('/')}") for word in words):
        return 0
    return 1 if any(name.endswith(word) for word in words) else 2
