"""Sees every launched job through to its end, those too that a supervisor before this one launched.

What a restart makes of each state:

    queued      stays queued
    starting    nothing lives and no runner was executed: queued again; else as running
    running     something lives: followed to its end; nothing does: ended by what is on record
    stopping    as running, and asked to stop once more
    any, after the machine was restarted: ended by what is on record; interrupted by the machine, lost. What lives was
                 started by another machine that has the same state folder: as running
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial

from msgspec.structs import replace

from hitui.adapters import processes
from hitui.adapters.events import read_tail
from hitui.adapters.executors import open_executor
from hitui.adapters.executors.base import ExitRecord, Launch, LaunchedJob, Standing
from hitui.domain.jobs import Ending, Job, Queued, Running, Starting, Stopping, one_line
from hitui.domain.succession import END, RetryRules, StopAim, StopWish
from hitui.errors import LaunchError
from hitui.paths import RuntimePaths
from hitui.supervisor.conclusions import RESTARTED, Conclusions
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store
from hitui.supervisor.trouble import note, note_error

RECOVERY_SECONDS = 2.0
"""How long nobody is answered yet for what ended while no supervisor lived."""
STOP_GRACE = 10.0
"""Seconds a runner has between SIGTERM and SIGKILL."""
MOST_TRIES = 3
"""After how many launches in a row nothing is queued again whose launcher died before it executed the runner."""
RETRY_SECONDS = 5.0
"""How soon something is tried again that the disk refused; the first times sooner."""


def _no_rules(configs: Collection[str]) -> RetryRules:
    return RetryRules()


class Keeper:
    """The jobs that were launched and have not ended. `changed` is called after every change."""

    def __init__(
        self,
        store: Store,
        paths: RuntimePaths,
        changed: Callable[[], None],
        retry_rules: Callable[[Collection[str]], RetryRules] = _no_rules,
    ) -> None:
        self._store = store
        self._paths = paths
        self._conclusions = Conclusions(store, retry_rules)
        self._changed = changed
        self._launched: dict[int, LaunchedJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tries: dict[int, int] = {}
        self._unsaved_stops: dict[int, tuple[float, StopWish]] = {}
        """When and to what end a job was asked to stop, by id, for as long as the store could not take it down."""

    def new_marker(self, job_id: int) -> str:
        """Value of HITUI_JOB: the workspace's digest, the job, and what no other start has. Another job may have both of the
        former, of another user or of a state folder that was removed while it ran, and each ends what carries its own."""
        return f"{self._paths.runtime.name}:{job_id}:{os.urandom(4).hex()}"

    def marker(self, job_id: int) -> str | None:
        """What the processes of a job that was launched carry; None: that is not known."""
        launched = self._launched.get(job_id)
        return launched.marker if launched is not None else None

    async def recover(self) -> None:
        """Takes over what earlier supervisors left, as the table above says.

        Returns when what is over has been ended, so that nobody is told that it runs, or after a moment.
        """
        boot = processes.boot_id()
        gone: list[asyncio.Task[None]] = []
        for job in self._store.active():
            if isinstance(job.state, Queued):
                continue
            try:
                if (over := self._take_over(job, boot)) is not None:
                    gone.append(over)
            except (OSError, sqlite3.Error):
                # One job that cannot be taken over now must not keep the supervisor from the others.
                note_error()
                self._begin(self._surely(partial(self._take_over, job, boot)))
        if gone:
            await asyncio.wait(gone, timeout=RECOVERY_SECONDS)

    def _take_over(self, job: Job, boot: str) -> asyncio.Task[None] | None:
        """What ends the job, where it is over and only how is still to be found out."""
        try:
            executor = open_executor(job.request.executor)
        except LaunchError as error:
            self._store.end(job.id, End(Ending.LOST, str(error)))
            return None
        folder = self._paths.job(job.id)
        standing = executor.standing(folder)
        if self._store.boot(job.id) != boot and standing is not Standing.LIVES:
            self._end(job, executor.recorded(folder), RESTARTED)
        elif standing is not Standing.NEVER_RAN:
            followed = self._follow(job, executor.attach(folder, STOP_GRACE))
            if isinstance(job.state, Stopping):
                self._ask_to_stop(job.id, now=False)
            return followed if standing is Standing.GONE else None
        elif isinstance(job.state, Running):
            self._end(job, None, f"{folder}: every trace of it was removed")
        else:
            self._never_ran(job)
        return None

    def launch(self, job: Job, launch: Launch, locks: Sequence[int]) -> None:
        """Starts the runner of a job that is `starting` in the store; where it cannot be started, ends the job.

        Where there is no room for one more process it goes back into the queue, after a while.
        """
        try:
            launched = open_executor(job.request.executor).start(launch, locks)
        except LaunchError as error:
            end = End(Ending.NOT_STARTED, str(error))
            self._begin(self._surely(lambda: self._conclusions.conclude(job, end, self._asked(job))))
        except OSError as error:
            note(f"job {job.id} is not started yet: {error}")
            self._begin(self._put_back(job))
        except Exception:  # noqa: BLE001 - a job that nobody starts or follows would hold its GPUs for ever
            note_error()
            self._begin(self._put_back(job))
        else:
            self._follow(job, launched)

    async def _put_back(self, job: Job) -> None:
        # At once it would be started again at once.
        await asyncio.sleep(RETRY_SECONDS)
        await self._surely(lambda: self._never_ran(self._store.job(job.id)))

    def stop(self, job: Job, wish: StopWish = END) -> None:
        """Asks a launched job, as `shown`, to stop; one that stops for good already, without grace.

        What is to go on elsewhere is first asked to give way (SIGUSR1), and stopped when it has not after a while.
        """
        insists = isinstance(job.state, Stopping) and self._asked(job) == END
        try:
            self._store.stopping(job.id, wish)
            self._unsaved_stops.pop(job.id, None)
        except sqlite3.Error:
            # On a full disk it is done all the same, and remembered until the store can take it down.
            note_error()
            asked_at, _ = self._unsaved_stops.get(job.id, (time.time(), wish))
            self._unsaved_stops[job.id] = asked_at, wish
            self._begin(self._surely(partial(self._save_stop, job.id)))
        launched = self._launched.get(job.id)
        if wish.aim is StopAim.REQUEUE and launched is not None:
            self._begin(self._give_way(job.id, launched))
        else:
            self._ask_to_stop(job.id, now=insists)

    async def _give_way(self, job_id: int, launched: LaunchedJob) -> None:
        if await launched.give_way():
            await asyncio.sleep(STOP_GRACE)
        if self._launched.get(job_id) is launched:
            await launched.stop()

    def _save_stop(self, job_id: int) -> None:
        if job_id in self._unsaved_stops:
            self._store.stopping(job_id, self._unsaved_stops[job_id][1])
            del self._unsaved_stops[job_id]

    def shown(self, job: Job) -> Job:
        """A job of the store as it stands, with a stop that the store does not know of yet."""
        asked_at, _ = self._unsaved_stops.get(job.id, (None, END))
        match job.state:
            case Starting(gpus) if asked_at is not None:
                return replace(job, state=Stopping(gpus, None, None, asked_at))
            case Running(gpus, pid, started_at, _) if asked_at is not None:
                return replace(job, state=Stopping(gpus, pid, started_at, asked_at))
        return job

    async def close(self) -> None:
        """Follows nothing any more; the jobs go on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask_to_stop(self, job_id: int, *, now: bool) -> None:
        launched = self._launched.get(job_id)
        if launched is not None:
            self._begin(launched.stop(now=now))

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        # The loop itself holds tasks only weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _follow(self, job: Job, launched: LaunchedJob) -> asyncio.Task[None]:
        self._launched[job.id] = launched
        return self._begin(self._see_through(job, launched))

    async def _see_through(self, job: Job, launched: LaunchedJob) -> None:
        while True:
            try:
                await self._to_its_end(job, launched)
            except Exception:  # noqa: BLE001 - a job that nobody follows would hold its GPUs for ever
                note_error()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        self._launched.pop(job.id, None)
        self._unsaved_stops.pop(job.id, None)

    async def _to_its_end(self, job: Job, launched: LaunchedJob) -> None:
        runner = await launched.begun()
        if runner is not None:
            await self._surely(lambda: self._store.begun(job.id, runner.process.pid, runner.started_at))
        record = await launched.ended()
        current = self._store.job(job.id)
        if record is None and runner is None:
            self._tries[job.id] = self._tries.get(job.id, 0) + 1
            await self._surely(lambda: self._never_ran(current))
        else:
            await self._surely(lambda: self._end(current, record, "launcher and runner were killed"))

    async def _surely(self, change: Callable[[], object]) -> None:
        """Writes to the store, again and again while the disk is full."""
        delay = RETRY_SECONDS / 16
        while True:
            try:
                change()
            except (sqlite3.Error, OSError):
                note_error()
                await asyncio.sleep(delay)
                delay = min(2 * delay, RETRY_SECONDS)
            else:
                break
        self._changed()

    def _asked(self, job: Job) -> StopWish | None:
        """To what end it was asked to stop; None: nobody asked."""
        _, unsaved = self._unsaved_stops.get(job.id, (None, None))
        return unsaved or self._store.stop_wish(job.id)

    def _end(self, job: Job, record: ExitRecord | None, otherwise: str) -> None:
        self._conclusions.end(job, record, otherwise, self._asked(job))

    def _never_ran(self, job: Job) -> None:
        """Nothing was executed for this job: back into the queue, unless it was to stop or keeps failing."""
        tries = self._tries.get(job.id, 0)
        asked = self._asked(job)
        if asked is not None:
            self._conclusions.conclude(job, End(Ending.STOPPED, "on request, before it ran"), asked)
        elif tries >= MOST_TRIES:
            said = one_line(read_tail(self._paths.job(job.id) / "log"))
            reason = f"its launcher died {tries} times" + (f": {said}" if said else "")
            self._conclusions.conclude(job, End(Ending.NOT_STARTED, reason), asked)
        else:
            self._store.unstart(job.id)
