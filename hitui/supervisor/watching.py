"""Looks after the jobs that run: marks what stalls, pauses what only fails, moves what has lost its GPU.

It is cheap: two stats for each running job every few seconds, in a thread, and the new event lines of those
that wrote some. Nothing of a log is read.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec.structs import replace

from hitui.adapters.events import EventFile
from hitui.adapters.processes import belongs_to
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import Job, Running
from hitui.domain.succession import RetryRules, StopAim, StopWish
from hitui.domain.units import counted, duration_words
from hitui.domain.watching import (
    Attention,
    Signs,
    WatchRules,
    attend,
    is_stalled,
    is_surely_stalled,
    loss_words,
    losses,
    tells_of_gpus,
)
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.store import Store
from hitui.supervisor.trouble import note_error

LOOK_SECONDS = 5.0
SHORTEST_LOOK_SECONDS = 0.25
LOOKS_A_STALL = 4
"""A stall is noticed no later than a quarter of its time after it is one."""


class _Watched:
    """One running job between two looks."""

    def __init__(self, job: Job) -> None:
        self.attention: Attention | None = None
        self.events = EventFile(job.events)
        self.gpu_used = False
        """Since the last look."""
        self.gpu_told_at: float | None = None
        """When the driver last said of its GPUs how busy they are; None: it never did."""


class Watching:
    """The running jobs. `wake` it when there may be one more, `observe` every reading of the GPUs."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        watch_rules: Callable[[Collection[str]], WatchRules],
        retry_rules: Callable[[Collection[str]], RetryRules],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._watch_rules = watch_rules
        self._retry_rules = retry_rules
        self._changed = changed
        self._wake = asyncio.Event()
        self._watched: dict[int, _Watched] = {}
        self._rules: Mapping[tuple[str, ...], WatchRules] = {}
        """Configs of a job → what the settings said at the last look."""
        self._lost: Mapping[str, float] = {}

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Looks for ever, and sleeps as long as nothing runs."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while running := self._running():
                try:
                    # Settings may lie on a network disk, which must not hold up everything else.
                    self._rules = await asyncio.to_thread(self._read_rules, running)
                    await asyncio.sleep(self._pause())
                    await self._look()
                except Exception:  # noqa: BLE001 - one bad look must not be the last
                    note_error()
                    await asyncio.sleep(LOOK_SECONDS)

    def observe(self, snapshot: GpuSnapshot) -> None:
        """Takes note of a reading of the GPUs, and moves jobs whose GPU is lost."""
        running = self._running()
        gpus = {gpu.uuid: gpu for gpu in snapshot.gpus} if snapshot.error is None else {}
        for job in running:
            watched = self._watched.setdefault(job.id, _Watched(job))
            used = _used(job, gpus, self._keeper.marker(job.id))
            if used is not None:
                watched.gpu_used |= used
                watched.gpu_told_at = time.monotonic()
        now = time.monotonic()
        held = {uuid for job in running for uuid in job.gpus}
        self._lost = losses(self._lost, held, snapshot, now)
        for job in running if self._lost and tells_of_gpus(snapshot) else ():
            limit = self._rules_of(job).lost
            for uuid in job.gpus:
                if uuid in self._lost and limit is not None and now - self._lost[uuid] >= limit:
                    self._stop(job, StopAim.REQUEUE, loss_words(uuid, snapshot))
                    break

    def _running(self) -> list[Job]:
        shown = map(self._keeper.shown, self._store.started())
        return [job for job in shown if isinstance(job.state, Running)]

    def _read_rules(self, running: Sequence[Job]) -> dict[tuple[str, ...], WatchRules]:
        return {configs: self._watch_rules(configs) for configs in {job.request.configs for job in running}}

    def _rules_of(self, job: Job) -> WatchRules:
        return self._rules.get(job.request.configs) or WatchRules()

    def _pause(self) -> float:
        stalls = [rules.stall for rules in self._rules.values()]
        shortest = min((stall for stall in stalls if stall is not None), default=LOOK_SECONDS)
        return max(SHORTEST_LOOK_SECONDS, min(LOOK_SECONDS, shortest / LOOKS_A_STALL))

    async def _look(self) -> None:
        running = self._running()
        self._watched = {job.id: self._watched.get(job.id) or _Watched(job) for job in running}
        watched = dict(self._watched)
        seen = await asyncio.to_thread(_see, running, watched)
        for job in running:
            # It may have ended, or have been stopped, while the files were looked at.
            if self._keeper.shown(self._store.job(job.id)) == job:
                try:
                    self._judge(job, watched[job.id], *seen[job.id])
                except sqlite3.Error:
                    # A full disk: the next look finds the same.
                    note_error()

    def _judge(self, job: Job, watched: _Watched, sizes: Signs, failed: int) -> None:
        rules = self._rules_of(job)
        now = time.monotonic()
        told = watched.gpu_told_at is not None and now - watched.gpu_told_at <= LOOK_SECONDS
        signs = replace(sizes, gpu_used=watched.gpu_used if told else None)
        watched.gpu_used = False
        assert isinstance(job.state, Running)
        marked = job.state.stalled_since
        if watched.attention is None and marked is not None and not _spoke_since(job, marked):
            # A supervisor before this one has marked it.
            watched.attention = Attention(signs, now - max(0.0, time.time() - marked), None)
        watched.attention = attend(watched.attention, signs, now, bool(job.gpus))
        if rules.errors and failed >= rules.errors:
            reason = f"{counted(failed, 'task')} failed one after the other; see its log, then resume it"
            self._stop(job, StopAim.PAUSE_FAILING, reason)
            return
        if not is_stalled(watched.attention, now, rules):
            if marked is not None:
                self._mark(job, None)
            return
        quiet = now - watched.attention.since
        may_restart = rules.restart and job.attempt <= self._retry_rules(job.request.configs).retries
        if may_restart and is_surely_stalled(watched.attention, now, rules):
            reason = f"stalled: no output, no event and no use of a GPU for {duration_words(quiet)}"
            self._stop(job, StopAim.RETRY, reason)
        elif marked is None:
            self._mark(job, time.time() - quiet)

    def _mark(self, job: Job, since: float | None) -> None:
        self._store.mark_stalled(job.id, since)
        self._changed()

    def _stop(self, job: Job, aim: StopAim, reason: str) -> None:
        self._keeper.stop(job, StopWish(aim, reason))
        self._changed()


def _see(jobs: Sequence[Job], watched: Mapping[int, _Watched]) -> dict[int, tuple[Signs, int]]:
    """Of each job the sizes of its files, and how many tasks failed in a row."""
    seen = {}
    for job in jobs:
        signs = Signs(_size(job.log), _size(job.events))
        known = watched[job.id].attention
        if signs.events_size and (known is None or known.signs.events_size != signs.events_size):
            watched[job.id].events.read()
        seen[job.id] = signs, watched[job.id].events.tally.failed_in_a_row
    return seen


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as cheap as can be
    except OSError:
        return None


def _spoke_since(job: Job, moment: float) -> bool:
    """Whether log or event lines were written after a moment, and the second that clocks may differ by."""
    for path in (job.log, job.events):
        try:
            if os.stat(path).st_mtime > moment + 1.0:  # noqa: PTH116
                return True
        except OSError:
            continue
    return False


def _used(job: Job, gpus: Mapping[str, Gpu], marker: str | None) -> bool | None:
    """Whether the job's own processes use one of its GPUs at this moment; None: the driver does not say.

    Where it lists no process, as to a container, or one that is not known here, the load counts as the job's.
    """
    assert isinstance(job.state, Running)
    held = [gpus[uuid] for uuid in job.gpus if uuid in gpus and gpus[uuid].utilization is not None]
    if not held:
        return None
    for gpu in held:
        if gpu.utilization:
            pid = job.state.pid
            known = gpu.processes
            if not known or any(
                pid in (process.pid, process.session)
                or process.session is None
                or belongs_to(process.pid, marker)
                for process in known
            ):
                return True
    return False
