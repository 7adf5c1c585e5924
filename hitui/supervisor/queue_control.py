"""What people may do to the queue: pause and resume, order, priorities, groups, another try."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from hitui.domain.jobs import Ended, Job, JobRequest, Queued, Stopping
from hitui.domain.schedule import DEFAULT_GROUP, Group, Schedule, group_name
from hitui.domain.succession import StopAim, StopWish, after_clock_change
from hitui.errors import LaunchError, SupervisorError
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.store import Store
from hitui.supervisor.trouble import note_error

BY_HAND = "paused by hand"


class QueueControl:
    """Changes what the store says of queued jobs; those that run, through the keeper."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper

    def do(self, message: Mapping[str, Any]) -> tuple[Job, ...]:
        """Carries out a request and returns the jobs that it named. Raises HituiError, and then nothing more changes."""
        ids = [int(job_id) for job_id in message.get("jobs", ())]
        reason = str(message.get("reason") or BY_HAND)
        match message["do"], message.get("group"):
            case "pause", None if ids:
                return self._pause(ids, reason)
            case "resume", None if ids:
                return self._resume(ids)
            case "pause", None:
                self._store.pause_queue(reason)
            case "resume", None:
                self._store.pause_queue("")
            case "pause", str(group):
                self._store.set_group(replace(self._group(group), paused=reason))
            case "resume", str(group):
                self._store.set_group(replace(self._store.queue().group(group), paused=""))
            case "limit", str(group):
                limit = message.get("limit")
                if limit is not None and int(limit) < 1:
                    raise LaunchError(
                        f"group {group}: a limit of at least 1 is expected; to stop it, pause it"
                    )
                known = self._group(group)
                self._store.set_group(replace(known, limit=None if limit is None else int(limit)))
            case "assign", group:
                name = checked_group(str(group or DEFAULT_GROUP))
                return self._each(ids, lambda known: replace(known, group=name))
            case "prioritize", _:
                return self._each(ids, lambda known: replace(known, priority=int(message["priority"])))
            case "move", _:
                before = message.get("before")
                return tuple(
                    self._store.move(job_id, None if before is None else int(before)) for job_id in ids
                )
            case "retry", _:
                return self._retry(ids, force=message.get("force") is True)
            case verb, _:
                raise SupervisorError(f"{verb!r} is nothing that can be done to the queue")
        return ()

    def _each(self, ids: Sequence[int], change: Callable[[Schedule], Schedule]) -> tuple[Job, ...]:
        for job_id in ids:
            self._check_queued(self._store.job(job_id))
        return tuple(self._store.reschedule(job_id, change) for job_id in ids)

    def _pause(self, ids: Sequence[int], reason: str) -> tuple[Job, ...]:
        jobs = [self._store.job(job_id) for job_id in ids]
        for job in jobs:
            if isinstance(job.state, Ended):
                raise LaunchError(f"job {job.id} has ended: {job.word}")
            if isinstance(job.state, Stopping):
                raise LaunchError(f"job {job.id} is being stopped already")
        for job in jobs:
            if isinstance(job.state, Queued):
                self._store.reschedule(job.id, lambda known: replace(known, held=reason))
            else:
                self._keeper.stop(job, StopWish(StopAim.PAUSE, reason))
        return tuple(map(self._store.job, ids))

    def _resume(self, ids: Sequence[int]) -> tuple[Job, ...]:
        # What waits for its time is resumed too: whoever asks wants it now.
        return self._each(ids, lambda known: replace(known, held="", not_before=None))

    def _retry(self, ids: Sequence[int], *, force: bool) -> tuple[Job, ...]:
        jobs = [self._store.job(job_id) for job_id in ids]
        for job in jobs:
            if not isinstance(job.state, Ended):
                raise LaunchError(f"job {job.id} has not ended: it is {job.word}")
        again: list[Job] = []
        for job in jobs:
            schedule = Schedule(job.schedule.priority, job.schedule.group)
            request = _forced(job.request) if force else job.request
            again += self._store.submit([request], self._store.environment(job.id), schedule)
        return tuple(again)

    def _group(self, name: str) -> Group:
        return self._store.queue().group(checked_group(name))

    @staticmethod
    def _check_queued(job: Job) -> None:
        if not isinstance(job.state, Queued):
            raise LaunchError(f"job {job.id} is no longer queued: it is {job.word}")


def _forced(request: JobRequest) -> JobRequest:
    return replace(request, force=True, also=tuple(replace(part, force=True) for part in request.also))


def checked_group(name: str) -> str:
    """The name, if a group may be called so. Raises LaunchError."""
    try:
        return group_name(name)
    except ValueError as error:
        raise LaunchError(str(error)) from error


def mend_pauses(store: Store, queued: Sequence[Job]) -> Sequence[Job]:
    """The queue, with the pauses of jobs that crashed put right if the clock was set back."""
    now = time.time()
    wrong = [
        job
        for job in queued
        if job.schedule.pause is not None and after_clock_change(job.schedule, now) is not job.schedule
    ]
    for job in wrong:
        try:
            store.reschedule(job.id, lambda known: after_clock_change(known, now))
        except sqlite3.Error:
            # A full disk: the next round tries it again.
            note_error()
    return store.queued() if wrong else queued
