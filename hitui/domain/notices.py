"""What is worth telling someone who is not at the screen, and in which words. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec

from hitui.domain.gpus import Gpu
from hitui.domain.jobs import FAILURES, Ended, Ending, Job, Running
from hitui.domain.schedule import HeldFor, Schedule
from hitui.domain.units import counted, duration_words
from hitui.domain.waiting_words import gibibytes


class NoticeKind(str, Enum):
    DONE = "done"
    """A job has run its tasks."""
    FAILED = "failed"
    """A job ended otherwise, and does not go on by itself."""
    ERRORS = "errors"
    """A job was paused because its tasks fail one after the other."""
    STALLED = "stalled"
    """A running job gives no sign of life."""
    GROUP_STOPPED = "group_stopped"
    """No more jobs of a group are started, because they die at once."""
    QUEUE_EMPTY = "queue_empty"
    """The last job has ended."""
    GPU_FREE = "gpu_free"
    """A GPU that was in use is free for a new job, and the queue has not taken it."""


NOTICE_KINDS = tuple(kind.value for kind in NoticeKind)
"""As `[notify] on` names them."""
USUAL_KINDS = tuple(kind for kind in NOTICE_KINDS if kind != NoticeKind.GPU_FREE.value)
"""Those that are told of where nothing else is said: on a shared machine GPUs become free all day long."""


class Notice(msgspec.Struct, frozen=True):
    kind: NoticeKind
    text: str
    """One line."""


def of_ended_job(
    job: Job,
    done: int | None,
    failed: int | None,
    onward: Schedule | None = None,
    *,
    others_go_on: bool = False,
) -> Notice | None:
    """What to tell of a job's end; None: nothing. `done` and `failed` tasks where they are known.

    Of shards that succeed only the last is told; `others_go_on`: this one is not the last of its split.

    Where another one took its place, by the schedule `onward`, it is not the end of the matter, unless that is
    paused and nobody asked for it. A job that someone stopped, or that had nothing to do, is no news.
    """
    state = job.state
    if not isinstance(state, Ended):
        return None
    name = _name(job)
    if onward is not None and onward.calls_for_someone:
        kind = NoticeKind.ERRORS if onward.held_for is HeldFor.ERRORS else NoticeKind.FAILED
        return Notice(kind, f"{name}: {state.reason}")
    if job.successor is not None:
        return None
    if state.ending is Ending.SUCCEEDED and state.started_at is not None:
        if others_go_on:
            return None
        if job.request.shard is not None:
            return Notice(NoticeKind.DONE, f"{name}: done, as the last of {job.request.shard.count} shards")
        took = duration_words(max(0.0, state.ended_at - state.started_at))
        return Notice(NoticeKind.DONE, f"{name}: done in {took}{_tasks(done, failed)}")
    if state.ending in FAILURES:
        return Notice(
            NoticeKind.FAILED, f"{name}: {state.ending.value}: {state.reason}{_tasks(done, failed)}"
        )
    return None


def of_stalled_job(job: Job, now: float) -> Notice | None:
    """None: it is not stalled. `now` in seconds since the epoch."""
    state = job.state
    if not isinstance(state, Running) or state.stalled_since is None:
        return None
    quiet = duration_words(max(0.0, now - state.stalled_since))
    return Notice(NoticeKind.STALLED, f"{_name(job)}: no sign of life for {quiet}; `hitui logs {job.id}`")


def of_stopped_group(group: str, reason: str) -> Notice:
    return Notice(
        NoticeKind.GROUP_STOPPED,
        f"group {group} starts no more jobs: {reason}; `hitui queue resume {group}` goes on",
    )


def of_empty_queue(endings: Iterable[Ending]) -> Notice:
    """No job is left; `endings` of those since the queue was empty the last time."""
    counts: dict[str, int] = {}
    for ending in endings:
        counts[ending.value] = counts.get(ending.value, 0) + 1
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    return Notice(NoticeKind.QUEUE_EMPTY, f"the queue is empty: {told}")


def of_free_gpu(gpu: Gpu) -> Notice:
    sizes = [gibibytes(size) for size in (gpu.memory_free, gpu.memory_total) if size is not None]
    name = f" ({gpu.name})" if gpu.name else ""
    return Notice(NoticeKind.GPU_FREE, f"GPU {gpu.label} is free: {' of '.join(sizes)}{name}")


def message_of(workspace: str, notices: Iterable[Notice]) -> tuple[str, str]:
    """Title and body of one message for all of these notices."""
    lines = [notice.text for notice in notices]
    return f"hitui: {workspace}", "\n".join(lines)


def _name(job: Job) -> str:
    more = f" and {len(job.request.also)} more" if job.request.also else ""
    shard = f" shard {job.request.shard.label}" if job.request.shard is not None else ""
    return f"{job.request.config}{more}{shard} (job {job.id})"


def _tasks(done: int | None, failed: int | None) -> str:
    if done is None:
        return ""
    return f"; {counted(done, 'task')} answered" + (f", {failed} failed" if failed else "")
