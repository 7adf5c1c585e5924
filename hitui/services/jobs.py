"""The jobs, for screens and commands: what runs, what a request would do, and the requests themselves."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from hitui.adapters.own_code import code_at_first
from hitui.domain.configs import ConfigState
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Job, JobRequest, JobsSnapshot
from hitui.domain.launches import LaunchPlan
from hitui.domain.records import JobRecord
from hitui.domain.schedule import Schedule
from hitui.errors import HituiError, LaunchError, NoSuchName, SupervisorError
from hitui.paths import RuntimePaths
from hitui.services.planning import plan_launches
from hitui.settings import Settings
from hitui.supervisor.client import SupervisorClient, Watch
from hitui.supervisor.other_versions import other_code

RETRY_SECONDS = 2.0
"""How soon it is looked again whether a supervisor answers: another command may have started one."""
TOGETHER = 500
"""How many requests are put to the supervisor at once: one at a time, each would wait while the jobs before it start."""
REVIVE_SECONDS = (5.0, 15.0, 30.0, 60.0)
"""How long one that dies as soon as it is started is left alone, the last one for ever."""


class Workspace(Protocol):
    """What a plan must know of the configs: `services.workspace.WorkspaceSnapshot` is one."""

    @property
    def configs(self) -> tuple[ConfigState, ...]: ...


class JobsService:
    """Follows the supervisor's jobs in a thread, and starts a supervisor where one is needed.

    None is needed as long as nothing was ever asked for. Where a job has not ended and no supervisor
    answers, one is started: it alone can find out what became of the job.
    """

    def __init__(self, settings: Settings, paths: RuntimePaths) -> None:
        self._settings = settings
        self._paths = paths
        self._client = SupervisorClient(paths)
        self._latest = JobsSnapshot()
        self._closed = threading.Event()
        self._nudge = threading.Event()
        self._watch: Watch | None = None
        self._told = False
        self._revived_at = -REVIVE_SECONDS[-1]
        self._revivals = 0
        self._thread: threading.Thread | None = None

    def use(self, settings: Settings) -> None:
        """From now on plans are made by these settings."""
        self._settings = settings

    @property
    def client(self) -> SupervisorClient:
        return self._client

    @property
    def latest(self) -> JobsSnapshot:
        """The newest snapshot; empty before the first."""
        return self._latest

    def start(self, publish: Callable[[JobsSnapshot], None]) -> None:
        """Begins to follow; `publish` gets every snapshot, from a thread."""
        self._thread = threading.Thread(target=self._follow, args=(publish,), name="jobs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._nudge.set()
        watch = self._watch
        if watch is not None:
            watch.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def read_once(self, *, every: bool = False) -> JobsSnapshot:
        """The jobs now, for commands: from the supervisor, or as the store holds them where none runs.

        With `every`, all that there ever were; else the active ones and the latest others.
        """
        try:
            self._latest = self._client.jobs(every=every)
        except SupervisorError:
            self._latest = self._client.last_known(None if every else 200)
        return self._latest

    def records(self, job_ids: Collection[int]) -> Mapping[int, JobRecord]:
        """What came of these jobs, as far as it is on record; of one that ended a moment ago it may not be yet.

        Raises SupervisorError when the store cannot be read.
        """
        # Who starts the screen need not wait for what reads it.
        from hitui.services.history import HistoryService

        return HistoryService(self._paths).records(job_ids)

    def foremost_once(self) -> dict[str, tuple[Job, ...]]:
        """Config → the job that is on it now, or the shards that are, else the first that waits for it; from where
        `read_once` reads."""
        try:
            return self._client.foremost()
        except SupervisorError:
            return self._client.last_known_foremost()

    def ensure_supervisor(self) -> int:
        """Starts a supervisor where none runs; returns its pid. Raises SupervisorError."""
        pid = self._client.start(self._settings.root)
        self._nudge.set()
        return pid

    def submit(
        self,
        requests: Sequence[JobRequest],
        schedule: Schedule = Schedule(),  # noqa: B008 - a frozen value
    ) -> tuple[Job, ...]:
        """Queues all of the requests or none; they run in the environment of this process.

        Raises LaunchError, NoSuchName or SupervisorError with the reason.
        """
        self.ensure_supervisor()
        return self._client.submit(requests, _environment(), schedule)

    def submit_each(
        self,
        requests: Sequence[JobRequest],
        schedule: Schedule = Schedule(),  # noqa: B008 - a frozen value
    ) -> tuple[tuple[Job, ...], tuple[str, ...]]:
        """Queues the requests that can be: their jobs, and a line for each that was refused.

        Raises SupervisorError when there is no one to ask.
        """
        jobs: list[Job] = []
        refusals = []
        waiting = deque(requests[first : first + TOGETHER] for first in range(0, len(requests), TOGETHER))
        while waiting:
            together = waiting.popleft()
            try:
                jobs += self.submit(together, schedule)
            except (LaunchError, NoSuchName) as error:
                # One that is refused keeps those beside it from being queued: it is looked for by halves.
                if len(together) == 1:
                    refusals.append(str(error))
                else:
                    half = len(together) // 2
                    waiting.extendleft((together[half:], together[:half]))
        return tuple(jobs), tuple(refusals)

    def stop(self, job_ids: Sequence[int]) -> tuple[Job, ...]:
        """Asks jobs to stop; a second time, without grace. Raises NoSuchName or SupervisorError."""
        self.ensure_supervisor()
        return self._client.stop(job_ids)

    def change_queue(self, verb: str, **what: object) -> tuple[Job, ...]:
        """What `SupervisorClient.change_queue` says."""
        self.ensure_supervisor()
        return self._client.change_queue(verb, **what)

    def plan(self, requests: Sequence[JobRequest], workspace: Workspace, gpus: GpuSnapshot) -> LaunchPlan:
        """What the requests would do now, in the environment of this process.

        Looks at nothing but what it is given, the latest jobs, and whether what the settings name is there.
        """
        states = {state.name: state for state in workspace.configs}
        return plan_launches(self._settings, self._latest, requests, states, gpus, _environment())

    def _follow(self, publish: Callable[[JobsSnapshot], None]) -> None:
        # Before an upgrade may replace the files.
        code_at_first()
        while not self._closed.is_set():
            self._nudge.clear()
            heard = False
            try:
                self._watch = self._client.open_watch()
                notice = None
                for snapshot in self._watch:
                    heard = True
                    self._revivals = 0
                    if notice is None and snapshot.supervisor_pid is not None:
                        notice = other_code(snapshot.supervisor_pid, snapshot.supervisor_code) or ""
                    self._publish(publish, replace(snapshot, notice=notice or ""))
            except (OSError, ValueError, HituiError):
                # Nobody answers, or one of a version that speaks another way: it may be replaced.
                heard = False
            self._watch = None
            if self._closed.is_set():
                return
            if not heard and not self._revive(publish):
                self._nudge.wait(RETRY_SECONDS)

    def _revive(self, publish: Callable[[JobsSnapshot], None]) -> bool:
        """No supervisor answers: shows what the store holds, and starts one if a job has not ended."""
        try:
            known = self._client.last_known()
            if known != self._latest or not self._told:
                self._publish(publish, known)
            active = any(job.active for job in known.jobs)
            # One that dies as soon as it is started is not started again and again.
            patience = REVIVE_SECONDS[min(self._revivals, len(REVIVE_SECONDS) - 1)]
            if not active or time.monotonic() - self._revived_at < patience:
                return False
            self._revived_at = time.monotonic()
            self._revivals += 1
            self._client.start(self._settings.root)
        except HituiError:
            # It is tried again; commands say what is wrong.
            return False
        return True

    def _publish(self, publish: Callable[[JobsSnapshot], None], snapshot: JobsSnapshot) -> None:
        self._latest = snapshot
        self._told = True
        if not self._closed.is_set():
            publish(snapshot)


def _environment() -> dict[str, str]:
    """Ours, without variables that are no UTF-8 text: JSON cannot carry them."""
    found = {}
    for name, value in os.environ.items():
        with contextlib.suppress(UnicodeEncodeError):
            f"{name}={value}".encode()
            found[name] = value
    return found
