"""One supervisor's life: the lock, the socket, the signals, the loop."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import time
from pathlib import Path

from hitui.adapters import checkpoints, executors, gpus
from hitui.adapters.executors.locks import try_lock
from hitui.adapters.own_code import code_at_first
from hitui.errors import HituiError, SupervisorError
from hitui.loading import import_all
from hitui.paths import RuntimePaths
from hitui.supervisor.client import SupervisorClient
from hitui.supervisor.folders import private_folder
from hitui.supervisor.launches import Launches
from hitui.supervisor.listening import SupervisorSocket
from hitui.supervisor.server import Server
from hitui.supervisor.store import Store
from hitui.supervisor.trouble import disk_trouble

PATIENCE_SECONDS = 15.0
"""How long one that finds the lock held waits for its holder to answer or to end; less than whoever
started it waits."""


def run(workspace: str) -> int:
    """Supervises until it is told to end. Returns the exit status."""
    # Another one may ask for the socket before there is a loop to hear it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    paths = RuntimePaths.of(Path(workspace))
    try:
        workspace.encode()
    except UnicodeEncodeError:
        return _refuse(f"{workspace}: the folder's name is no UTF-8 text; rename it to run anything in it")
    try:
        private_folder(paths.state, "XDG_STATE_HOME")
        lock = _lock_or_reach(paths)
        if lock is None:
            return 0
        _write_pid(paths.supervisor_lock)
        _write_errors_to(paths.supervisor_log)
        # A library that crashes would take it along without a word.
        faulthandler.enable()
        store = Store(paths.database)
        own_socket = SupervisorSocket(paths)
        listener = own_socket.open()
    except HituiError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(disk_trouble(paths.state, error))
    try:
        asyncio.run(_serve(Server(Launches(Path(workspace)), paths, store), own_socket, listener))
    finally:
        own_socket.remove()
        store.close()
        os.close(lock)
    return 0


async def _serve(server: Server, own_socket: SupervisorSocket, listener: socket.socket) -> None:
    # Before an upgrade may replace the files.
    code_at_first()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.shut_down)
    reopening: set[asyncio.Task[None]] = set()

    def reopen() -> None:
        if not own_socket.is_there():
            task = asyncio.create_task(server.listen(own_socket.open()))
            reopening.add(task)
            task.add_done_callback(reopening.discard)

    loop.add_signal_handler(signal.SIGHUP, reopen)
    _say(f"ready {os.getpid()}")
    loading = asyncio.create_task(asyncio.to_thread(import_all, imported_later()))
    try:
        await server.serve(listener)
    finally:
        await loading


def imported_later() -> tuple[str, ...]:
    """What the supervisor imports when it is first asked for."""
    of_gpus = ("hitui.adapters.gpus.locked", gpus.KINDS[gpus.chosen_kind()])
    return (*executors.EXECUTORS.values(), *checkpoints.KINDS.values(), *of_gpus)


def _lock_or_reach(paths: RuntimePaths) -> int | None:
    """The lock, or None once another one that holds it answers, which is then said.

    One that does not answer is asked to open its socket anew. Raises SupervisorError when it neither does
    that nor ends.
    """
    client = SupervisorClient(paths)
    deadline = time.monotonic() + PATIENCE_SECONDS
    asked = False
    while (lock := try_lock(paths.supervisor_lock)) is None:
        with contextlib.suppress(SupervisorError):
            _say(f"ready {client.status()['pid']}")
            return None
        pid = _holder(paths.supervisor_lock)
        if time.monotonic() > deadline:
            raise SupervisorError(f"{paths.supervisor_lock}: {_unreached(pid)}")
        if not asked and pid is not None and not paths.socket.exists():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGHUP)
            asked = True
        time.sleep(0.05)
    return lock


def _write_errors_to(path: Path) -> None:
    """Standard error is the supervisor's log, whoever started it: systemd and cron know nothing of that."""
    with path.open("ab") as log:
        if not os.path.samestat(os.fstat(log.fileno()), os.fstat(2)):
            os.dup2(log.fileno(), 2)


def _write_pid(path: Path) -> None:
    path.write_text(f"{os.getpid()}\n", encoding="ascii")


def _holder(lock: Path) -> int | None:
    """The supervisor that has written its pid there; None where that process is not it. On a disk that machines share, or
    that containers do, the pid may be that of any other process here."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(lock.read_text(encoding="ascii"))
        file = lock.stat()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(descriptor.stat(), file):
                    return pid
    return None


def _unreached(holder: int | None) -> str:
    if holder is None:
        return (
            "a supervisor on another machine, or in another container, holds it; "
            "set XDG_STATE_HOME to a folder that this one has alone"
        )
    return f"another supervisor holds it and does not answer; end process {holder}, the jobs go on"


def _refuse(reason: str) -> int:
    _say(f"refused {reason}")
    return 1


def _say(line: str) -> None:
    """One line to whoever started this; standard output is closed then, so that nobody waits for more."""
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(f"{line}\n".encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
