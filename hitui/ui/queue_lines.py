"""The queue as lines: what runs, what waits in its order, what ended. Pure: values in, lines out.

A line is built when it is to be seen: ten thousand jobs are a list of values, and some forty lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from hitui.domain.jobs import FAILURES, Ended, Ending, Job, JobRequest, Queued, Running, Stopping
from hitui.domain.progress import JobProgress
from hitui.domain.queue import in_order
from hitui.domain.records import JobRecord, words_of_end
from hitui.domain.schedule import DEFAULT_GROUP
from hitui.domain.units import counted, duration_words
from hitui.ui import text
from hitui.ui.config_rows import gpu_words
from hitui.ui.job_index import JobIndex
from hitui.ui.job_words import pause_reasons, progress_parts, wait_words
from hitui.ui.line import Line, Span, fit_line, joined, width_of
from hitui.ui.queue_wishes import matches

MARK_CELLS = 3
PRIORITY_CELLS, ATTEMPT_CELLS = 4, 3
BAR_CELLS = 16

_STATUS = re.compile(r"^exit status \d+: (error: )?")
"""What stands before the words of a program that failed."""

Entry = Job | Line
"""A job, or a line between jobs."""


class QueueView(msgspec.Struct, frozen=True):
    """What is known for the list at one moment."""

    jobs: JobIndex
    progress: Mapping[int, JobProgress]
    labels: Mapping[str, str]
    """GPUs' labels by UUID."""
    now: float
    """Seconds since the epoch."""
    wanted: str = ""
    """Only jobs that match."""
    records: Mapping[int, JobRecord] = {}
    """What came of those that succeeded, as far as it was read."""


class QueueLayout(msgspec.Struct, frozen=True):
    """Cells of each column; 0: it is left out."""

    number: int
    name: int
    priority: int
    group: int
    attempt: int
    gap: int
    words: int
    narrow: bool


def entries(view: QueueView) -> list[Entry]:
    """Three parts, each with its title: those that run, oldest first; the queue; those that ended, latest first."""
    jobs, wanted = view.jobs, view.wanted
    running = [job for job in jobs.started if matches(job, wanted)]
    queued = [job for job in in_order(jobs.queued) if matches(job, wanted)]
    ended = sorted((job for job in jobs.ended if matches(job, wanted)), key=_ended_at, reverse=True)
    found: list[Entry] = [_title("Running", len(running), len(jobs.started))]
    found += running
    if not running:
        found.append(_note("nothing runs", jobs.started, wanted))
    pauses = pause_reasons(jobs.snapshot.queue)
    found += [
        (),
        _title("Queued", len(queued), len(jobs.queued), "P resumes what is paused" if pauses else ""),
    ]
    found += [((f" {line}", "bad") if line.startswith("!") else (f"   {line}", "warn"),) for line in pauses]
    found += queued
    if not queued:
        found.append(_note("nothing waits: r on the main screen starts what is pending", jobs.queued, wanted))
    found += [(), _title("Ended", len(ended), len(jobs.ended), "the latest first" if ended else "")]
    found += ended
    if not ended:
        found.append(_note("nothing has ended yet", jobs.ended, wanted))
    return found


def layout(view: QueueView, width: int) -> QueueLayout:
    """Names and groups as wide as they need, within their share; the words have the rest.

    Columns are left out that tell nothing of any job: no priority, no group, no new try.
    """
    narrow = width < 110
    gap = 1 if narrow else 2
    jobs = view.jobs.snapshot.jobs
    number = max(4, len(str(jobs[-1].id)) + 1 if jobs else 0)
    names = {(job.request.config, _more(job.request)) for job in jobs}
    longest = max((len(name) + len(more) for name, more in names), default=6)
    groups = {job.schedule.group for job in jobs}
    group = max(5, min(max(map(len, groups), default=5), 9 if narrow else 16))
    group = group if groups - {DEFAULT_GROUP} else 0
    priority = PRIORITY_CELLS if any(job.schedule.priority for job in jobs) else 0
    attempt = ATTEMPT_CELLS if any(job.attempt > 1 for job in jobs) else 0
    columns = [cells for cells in (number, priority, group, attempt) if cells]
    room = width - MARK_CELLS - sum(columns) - (len(columns) + 1) * gap
    name = max(6, min(longest, room * 2 // 5))
    return QueueLayout(number, name, priority, group, attempt, gap, room - name, narrow)


def header(places: QueueLayout) -> Line:
    columns = (
        text.fit_right("job", places.number),
        text.fit("config", places.name),
        text.fit_right("prio", places.priority),
        text.fit("group", places.group),
        text.fit_right("try", places.attempt),
        "state",
    )
    return ((" " * MARK_CELLS + (" " * places.gap).join(filter(None, columns)), "dim"),)


def job_line(job: Job, view: QueueView, places: QueueLayout, selected: bool) -> Line:
    gap = " " * places.gap
    schedule = job.schedule
    waits = isinstance(job.state, Queued)
    attention = _needs_someone(job, view)
    priority = f"{schedule.priority:+d}" if schedule.priority else "0"
    columns: tuple[Span, ...] = (
        (text.fit_right(f"#{job.id}", places.number), "dim" if isinstance(job.state, Ended) else ""),
        (_named(job, places.name), "strong" if job.gpus and job.active else ""),
        (text.fit_right(priority, places.priority), "" if schedule.priority and waits else "faint"),
        (text.fit(schedule.group, places.group), "" if waits else "dim"),
        (text.fit_right(str(job.attempt), places.attempt), "" if job.attempt > 1 else "faint"),
    )
    return (
        ("▸" if selected else " ", "key"),
        ("! " if attention else "  ", "bad"),
        *((cells + gap, role) for cells, role in columns if cells),
        *fit_line(words(job, view, places), places.words),
    )


def words(job: Job, view: QueueView, places: QueueLayout | None = None) -> Line:
    """What the job does, waits for, or how it ended; without a layout in full."""
    match job.state:
        case Queued():
            return (
                wait_words(job, view.now, places.words if places is not None and places.narrow else None),
            )
        case Ended(ending=ending, ended_at=ended_at):
            role = "bad" if ending in FAILURES else "good" if ending is Ending.SUCCEEDED else ""
            spans: list[Span] = [(ending.value, role), (f" {text.moment(ended_at, view.now)}", "dim")]
            if told := words_of_end(job, view.records.get(job.id)):
                spans.append((f": {told}", "" if role == "bad" else "dim"))
                if places is not None and places.narrow and width_of(tuple(spans)) > places.words:
                    # Why before when, which its place in the list tells about.
                    spans[1:] = [(f": {_STATUS.sub('', told)}", "" if role == "bad" else "dim")]
            return tuple(spans)
        case Running(stalled_since=stalled_since):
            running = _running(job, view, places)
            if stalled_since is None:
                return running
            since = duration_words(max(0.0, view.now - stalled_since))
            return ((f"stalled: nothing new for {since}", "bad"), ("  ", ""), *running)
        case Stopping():
            return ((f"■ {gpu_words(job.gpus, view.labels)} stops", "warn"),)
        case _:
            return ((f"▶ {gpu_words(job.gpus, view.labels)} starts", "running"),)


def facts(job: Job, view: QueueView, width: int) -> list[Line]:
    """The job in full: why it waits or how it ended, then what was said of it."""
    lines: list[Line] = []
    for line in text.wrapped("".join(part for part, _ in words(job, view)), width - 2):
        lines.append((("  ", ""), (line, "warn" if _needs_someone(job, view) else "")))
    lines.append((("  ", ""), *joined(_particulars(job, view), (" · ", "rule"))))
    return lines


def _particulars(job: Job, view: QueueView) -> list[Line]:
    schedule = job.schedule
    parts: list[Line] = [((f"queued {text.moment(job.created_at, view.now)}", "dim"),)]
    match job.state:
        case Running(started_at=float(started)) | Stopping(started_at=float(started)):
            parts.append(((f"started {text.moment(started, view.now)}", "dim"),))
        case Ended(started_at=float(started), ended_at=ended):
            parts.append(((f"took {duration_words(max(0.0, ended - started))}", "dim"),))
    group = view.jobs.snapshot.queue.group(schedule.group)
    limit = "" if group.limit is None else f", at most {group.limit} at a time"
    parts.append(((f"group {schedule.group}{limit}", "dim"),))
    if schedule.priority:
        parts.append(((f"priority {schedule.priority:+d}", "dim"),))
    if job.attempt > 1:
        parts.append(((f"attempt {job.attempt}", "dim"),))
    if job.replaces is not None:
        parts.append(((f"in the place of #{job.replaces}", "dim"),))
    if job.task_count is not None:
        parts.append(((counted(job.task_count, "task"), "dim"),))
    if isinstance(job.state, Ended) and job.successor is not None and job.state.ending is not Ending.JOINED:
        parts.append(((f"#{job.successor} took its place", "dim"),))
    others = [text.short_name(name) for name in job.request.configs[1:]]
    if others:
        parts.append(((f"runs {', '.join(others)} too", "dim"),))
    if job.request.gpus:
        parts.append(((f"only on GPU {', '.join(job.request.gpus)}", "dim"),))
    return parts


def _running(job: Job, view: QueueView, places: QueueLayout | None) -> Line:
    progress = view.progress.get(job.id)
    narrow = places is None or places.narrow
    on = gpu_words(job.gpus, view.labels)
    spans: list[Span] = [(f"▶ {on if narrow else text.fit(on, 8)}", "running")]
    if progress is None:
        return tuple(spans)
    if progress.done is not None and progress.total and not narrow:
        filled, empty = text.bar(progress.done / progress.total, BAR_CELLS)
        spans += [("  ", ""), (filled, "running"), (empty, "bar-empty")]
    for part, style in progress_parts(progress):
        told = (f"  {part}", style)
        if places is not None and width_of((*spans, told)) > places.words:
            # Half a number is another number.
            break
        spans.append(told)
    return tuple(spans)


def _needs_someone(job: Job, view: QueueView) -> bool:
    match job.state:
        case Queued():
            return job.schedule.calls_for_someone
        case Running(stalled_since=stalled_since):
            return stalled_since is not None
        case Ended(ending=ending):
            return ending in FAILURES and view.jobs.needs_someone(job)
    return False


def _named(job: Job, width: int) -> str:
    """The config; where the job runs several, the first and how many more: `text_html +2`; of a shard which it is:
    `text_html 2/3`."""
    more = _more(job.request)
    return text.fit(text.fit_tail(job.request.config, width - len(more)).rstrip() + more, width)


def _more(request: JobRequest) -> str:
    if request.shard is not None:
        return f" {request.shard.label}"
    return f" +{len(request.also)}" if request.also else ""


def _title(title: str, shown: int, of: int, note: str = "") -> Line:
    count = str(shown) if shown == of else f"{shown} of {of}"
    spans: Sequence[Span] = ((" ", ""), (title, "title"), (f" {count}", "dim"))
    return (*spans, (f" · {note}", "dim")) if note else tuple(spans)


def _note(told: str, hidden: Sequence[Job], wanted: str) -> Line:
    """What stands in the place of jobs: why there is none, or that the filter hides them all."""
    shown = f"none matches {wanted!r}: Escape shows all" if hidden else told
    return ((" " * MARK_CELLS + shown, "dim"),)


def _ended_at(job: Job) -> tuple[float, int]:
    return (job.state.ended_at if isinstance(job.state, Ended) else 0.0), job.id
