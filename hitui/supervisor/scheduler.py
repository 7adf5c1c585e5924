"""Starts queued jobs, oldest first, as soon as their GPUs are free; says of the others what they wait for.

A job that waits for something of its own does not hold up those behind it. Jobs are started one after the
other in one task, so that no two of them can be placed on the same GPU.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from hitui.adapters.executors.base import Launch
from hitui.adapters.executors.locks import lock_gpus, release
from hitui.adapters.processes import JOB_VARIABLE, boot_id
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Ending, Job, JobRequest, Queued
from hitui.domain.placement import GpuHistory, Placement, never_enough, place
from hitui.errors import HituiError, LaunchError, SettingsError
from hitui.paths import RuntimePaths, gpu_lock_home
from hitui.supervisor.keeper import STOP_GRACE, Keeper
from hitui.supervisor.launches import Launches, UnreadableResults
from hitui.supervisor.store import End, Store
from hitui.supervisor.trouble import note_error

NOTHING_TO_DO = "nothing to do: no task of it is pending"


class Scheduler:
    """The queue's motor. `wake` it after anything that could let a job start."""

    def __init__(
        self,
        store: Store,
        launches: Launches,
        keeper: Keeper,
        paths: RuntimePaths,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._launches = launches
        self._keeper = keeper
        self._paths = paths
        self._changed = changed
        self._wake = asyncio.Event()
        self._seen = asyncio.Event()
        self._history = GpuHistory()
        self._snapshot: GpuSnapshot | None = None
        self.waits: dict[int, str] = {}
        """What each queued job waits for, by id."""

    def wake(self) -> None:
        self._wake.set()

    def observe(self, snapshot: GpuSnapshot) -> None:
        """Takes note of a reading of the GPUs."""
        self._snapshot = snapshot
        self._history = self._history.observe(snapshot, self._hold())
        self._seen.set()
        self.wake()

    def forget(self) -> None:
        """The GPUs are not read any more; the next reading begins a new history."""
        self._snapshot = None
        self._history = GpuHistory()
        self._seen.clear()

    async def check(self, request: JobRequest, timeout: float = 3.0) -> None:
        """Raises LaunchError when no waiting can give this request its GPUs.

        Waits for the first reading of the GPUs; where none comes in time, the job will wait for it.
        """
        needed = await asyncio.to_thread(self._launches.needed_bytes, request)
        if needed == 0 and not request.gpus:
            return
        try:
            await asyncio.wait_for(self._seen.wait(), timeout)
        except asyncio.TimeoutError:
            return
        if self._snapshot is not None:
            reason = never_enough(self._snapshot, needed, self._launches.rules(), request.gpus)
            if reason:
                raise LaunchError(f"{request.config}: {reason}")

    async def run(self) -> None:
        """Starts jobs for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._start_what_can()
            except Exception:  # noqa: BLE001 - nothing may end the queue's motor
                note_error()

    async def _start_what_can(self) -> None:
        queued = [job for job in self._store.active() if isinstance(job.state, Queued)]
        waits: dict[int, str] = {}
        locked: set[str] = set()
        for job in queued:
            try:
                waits[job.id] = await self._start(job, locked)
            except SettingsError as error:
                waits[job.id] = f"a mended hitui.toml: {error}"
            except UnreadableResults as error:
                # It may be half written by another program at this very moment.
                waits[job.id] = f"results that can be read: {error}"
            except HituiError as error:
                self._end(job, End(Ending.NOT_STARTED, str(error)))
            except (OSError, sqlite3.Error) as error:
                waits[job.id] = f"the disk: {getattr(error, 'filename', None) or self._paths.state}: {error}"
            except Exception:  # noqa: BLE001 - one job that cannot be started must not hold up the others
                note_error()
                waits[job.id] = (
                    f"a look by a person: an error that is described in {self._paths.supervisor_log}"
                )
        waits = {job_id: text for job_id, text in waits.items() if text}
        if waits != self.waits:
            self.waits = waits
            self._changed()

    async def _start(self, job: Job, locked: set[str]) -> str:
        """Starts one job, or returns what it waits for. Raises LaunchError when it can never start."""
        request = job.request
        needed = await asyncio.to_thread(self._launches.needed_bytes, request)
        waits_for = self._place(request, needed, locked).waits_for
        if waits_for:
            return waits_for
        ids = await asyncio.to_thread(self._launches.pending, request)
        if ids == ():
            self._end(job, End(Ending.SUCCEEDED, NOTHING_TO_DO))
            return ""
        while True:
            placement = self._place(request, needed, locked)
            if placement.waits_for:
                return placement.waits_for
            locks, taken = lock_gpus(gpu_lock_home(), placement.gpus)
            if taken is not None:
                # Someone else's hitui was faster; their lock counts until the next look.
                locked.add(taken)
                continue
            try:
                await self._launch(job, ids, placement.gpus, locks)
            finally:
                release(locks)
            return ""

    def _place(self, request: JobRequest, needed: int, locked: set[str]) -> Placement:
        if needed == 0 and not request.gpus:
            return Placement()
        if self._snapshot is None:
            return Placement(waits_for="the GPUs: they are being read")
        rules = self._launches.rules()
        hopeless = never_enough(self._snapshot, needed, rules, request.gpus)
        if hopeless:
            raise LaunchError(hopeless)
        return place(self._snapshot, needed, rules, self._store.claims(), request.gpus, self._history, locked)

    async def _launch(
        self, job: Job, ids: tuple[int | str, ...] | None, gpus: tuple[str, ...], locks: list[int]
    ) -> None:
        folder = self._paths.job(job.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ids_file = folder / "ids.json"
        if ids is not None:
            _write_ids(ids_file, ids)
        command = await asyncio.to_thread(
            self._launches.command, job.request, ids, ids_file, gpus, self._store.environment(job.id)
        )
        log, events = folder / "log", folder / "events.jsonl"
        marker = self._keeper.marker(job.id)
        launch = Launch(
            folder=folder,
            marker=marker,
            argv=command.argv,
            environment=command.environment | {JOB_VARIABLE: marker, "HITUI_EVENTS": str(events)},
            cwd=command.cwd,
            log=log,
            grace=STOP_GRACE,
        )
        if not isinstance(self._store.job(job.id).state, Queued):
            # It was stopped while its command was made.
            return
        started = self._store.start(
            job.id, gpus, boot_id(), log=log, events=events, task_count=None if ids is None else len(ids)
        )
        self._keeper.launch(started, launch, locks)
        self._changed()

    def _end(self, job: Job, end: End) -> None:
        self._store.end(job.id, end)
        self._changed()

    def _hold(self) -> float:
        try:
            return self._launches.rules().hold
        except SettingsError:
            return 0.0


def _write_ids(path: Path, ids: tuple[int | str, ...]) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps({"ids": list(ids)}), encoding="utf-8")
    beside.replace(path)
