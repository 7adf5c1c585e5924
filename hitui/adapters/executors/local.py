"""Jobs on this machine: one launcher a job, known again by what it wrote and by the locks that it holds."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from hitui.adapters import processes
from hitui.adapters.executors.base import ExitRecord, Launch, RunnerRecord, Standing
from hitui.adapters.executors.locks import JOB_LOCK, is_locked, try_lock
from hitui.adapters.files.look import is_file
from hitui.adapters.processes import Process
from hitui.decoding import json_decoder
from hitui.errors import LaunchError

_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""What a machine says, or a limit of the user, that has no room for one more process or file at this moment."""
_LOOK_SECONDS = 1.0
"""How often it is looked whether a job still lives that was launched in another container."""
LAUNCHER = Path(__file__).parents[2] / "supervisor" / "launcher.py"


class _LauncherFile(msgspec.Struct):
    pid: int
    start_time: int
    place: str = ""


class _RunnerFile(msgspec.Struct):
    pid: int
    start_time: int
    started: float


class _ExitFile(msgspec.Struct):
    status: int | None
    signal: int | None
    error: str | None
    ended: float
    swept: bool
    left: int
    outlived: int = 0
    peak_memory: int | None = None
    ran: float | None = None
    out_of_memory: bool = False


class _Specification(msgspec.Struct):
    marker: str


class LocalExecutor:
    """Starts launchers. Everything that must outlive the supervisor lies in the job's folder."""

    def start(self, launch: Launch, locks: Sequence[int]) -> LocalJob:
        lock = None
        if not is_file(LAUNCHER):
            # An upgrade is replacing it at this moment: whatever was started now would die at once.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(LAUNCHER))
        try:
            lock = try_lock(launch.folder / JOB_LOCK)
            if lock is None:
                raise LaunchError(f"{launch.folder}: something of this job still lives")
            for stale in ("launcher.json", "runner.json", "exit.json"):
                (launch.folder / stale).unlink(missing_ok=True)
            _write_specification(launch)
            with launch.log.open("ab") as log:
                launcher = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(LAUNCHER), str(launch.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd="/",
                    pass_fds=(lock, *locks),
                    start_new_session=True,
                )
        except OSError as error:
            if error.errno in _PASSING:
                raise
            raise LaunchError(f"{error.filename or launch.folder}: {error.strerror}") from error
        finally:
            # The launcher has its own copy by now; it alone must decide how long the lock stands.
            if lock is not None:
                os.close(lock)
        return LocalJob(launch.folder, launch.marker, launch.grace, launcher)

    def standing(self, folder: Path) -> Standing:
        if is_locked(folder / JOB_LOCK):
            return Standing.LIVES
        if (folder / "exit.json").exists() or (folder / "runner.json").exists():
            return Standing.GONE
        return Standing.NEVER_RAN

    def recorded(self, folder: Path) -> ExitRecord | None:
        exit_file = _read(folder / "exit.json", _ExitFile)
        return _record(exit_file) if exit_file is not None else None

    def attach(self, folder: Path, grace: float) -> LocalJob:
        specification = _read(folder / "spec.json", _Specification)
        return LocalJob(folder, None if specification is None else specification.marker, grace, None)


class LocalJob:
    """One launched job, through its launcher while that lives, else by the runner's own processes."""

    def __init__(
        self, folder: Path, marker: str | None, grace: float, launcher: subprocess.Popen[bytes] | None
    ) -> None:
        self._folder = folder
        self.marker = marker
        self._grace = grace
        self._child = launcher
        self._told_to_stop: float | None = None
        """With how many seconds of grace the launcher was; None: it was not."""

    async def begun(self) -> RunnerRecord | None:
        if self._child is not None and self._child.stdout is not None and not self._child.stdout.closed:
            # End of file: the runner is being executed, or the launcher is gone.
            await _readable(self._child.stdout.fileno())
            self._child.stdout.close()
        return await self._known_runner()

    async def ended(self) -> ExitRecord | None:
        launcher = await self._launcher()
        while self._is_elsewhere() and self._holds_lock():  # noqa: ASYNC110
            # Not by its pids, which are nobody's here or somebody else's: it would be taken for gone while it runs.
            await asyncio.sleep(_LOOK_SECONDS)
        if launcher is not None:
            await _gone(launcher)
        if self._child is not None:
            self._child.wait()
        runner = await self._known_runner()
        if runner is not None:
            if self._told_to_stop is not None and processes.alive(runner.process):
                # Its launcher was killed before it had done it.
                await self._end_members(self._told_to_stop)
            await _gone(runner.process)
        exit_file = _read(self._folder / "exit.json", _ExitFile)
        if exit_file is None or not exit_file.swept:
            # Nobody has cleared up behind this runner; what it left may still hold a GPU.
            await self._end_members()
        return _record(exit_file) if exit_file is not None else None

    async def give_way(self) -> bool:
        runner = self._runner()
        return runner is not None and processes.send(runner.process, signal.SIGUSR1)

    async def stop(self, *, now: bool = False) -> None:
        launcher = await self._launcher()
        number = signal.SIGINT if now else signal.SIGTERM
        grace = 0.0 if now else self._grace
        if launcher is not None and processes.send(launcher, number):
            self._told_to_stop = grace
        else:
            await self._end_members(grace)

    async def _end_members(self, grace: float = 3.0) -> int:
        runner = self._runner()

        def find() -> set[Process]:
            # A session id is the runner's pid, which may be someone else's once the runner is gone.
            if runner is not None and processes.alive(runner.process):
                return processes.members(self.marker, [runner.process], [runner.process.pid])
            return processes.members(self.marker)

        return await asyncio.to_thread(processes.end_all, find, grace)

    async def _launcher(self) -> Process | None:
        """None: it is gone."""
        if self._child is not None:
            return processes.find_process(self._child.pid) if self._child.returncode is None else None
        path = self._folder / "launcher.json"
        while (written := _read(path, _LauncherFile)) is None and self._holds_lock():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return Process(written.pid, written.start_time) if written is not None else None

    async def _known_runner(self) -> RunnerRecord | None:
        """The runner as soon as it has written who it is; None once nothing lives that could."""
        while (runner := self._runner()) is None and self._holds_lock():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return runner or self._runner()

    def _runner(self) -> RunnerRecord | None:
        written = _read(self._folder / "runner.json", _RunnerFile)
        if written is None:
            return None
        return RunnerRecord(Process(written.pid, written.start_time), written.started)

    def _is_elsewhere(self) -> bool:
        """Whether it was launched in another container, or on another machine that has the same state folder."""
        written = _read(self._folder / "launcher.json", _LauncherFile)
        here = processes.place()
        return written is not None and "" not in (written.place, here) and written.place != here

    def _holds_lock(self) -> bool:
        return is_locked(self._folder / JOB_LOCK)


async def _gone(process: Process) -> None:
    """Returns when the process is gone (a zombie is)."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (OSError, AttributeError):
        # As in `processes.send`.
        descriptor = -1
    try:
        while processes.alive(process):
            if descriptor >= 0:
                await _readable(descriptor)
                break
            await asyncio.sleep(0.5)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


_T = TypeVar("_T")


def _read(path: Path, kind: type[_T]) -> _T | None:
    """None: there is no such file, or it is not what a launcher writes."""
    try:
        return json_decoder(kind)(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _record(exit_file: _ExitFile) -> ExitRecord:
    return ExitRecord(
        status=exit_file.status,
        signal=exit_file.signal,
        error=exit_file.error,
        ended_at=exit_file.ended,
        peak_memory=exit_file.peak_memory,
        outlived=exit_file.outlived,
        left=exit_file.left,
        ran_seconds=exit_file.ran,
        out_of_memory=exit_file.out_of_memory,
    )


def _write_specification(launch: Launch) -> None:
    """Readable by its owner alone: the environment may hold secrets."""
    specification = {
        "argv": launch.argv,
        "environment": dict(launch.environment),
        "cwd": str(launch.cwd),
        "log": str(launch.log),
        "marker": launch.marker,
        "grace": launch.grace,
    }
    path = launch.folder / "spec.json"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(msgspec.json.encode(specification))
