"""Minds one process with everything below it: how long it may take, how much memory all of it may hold, how much of
its output is kept. At the end nothing of it is left.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OVERTIME = "time"
STOPPED = "stopped"
"""What stands for a limit where it was asked to stop."""
_LOOK_SECONDS = 0.05
_STATUS_SECONDS = 5.0
_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Ended:
    """How it went."""

    status: int
    """As Popen has it."""
    result: bytes
    printed: bytes
    complaints: bytes
    overrun: str | None
    """The limit for which it was ended; None: it ended by itself."""


def mind(
    words: Sequence[str],
    *,
    job: bytes,
    environment: Mapping[str, str],
    folder: str,
    result: int,
    handed: Sequence[int],
    seconds: float,
    memory: int,
    processes: int,
    files: int,
    keep: Mapping[str, int],
    stop: threading.Event,
    tell: Callable[[int], None] = lambda group: None,
) -> Ended:
    """Runs a command to its end, or to a limit's, or until `stop` is set.

    It gets the job once it has written something to `result`: by then it ends with this process, however that ends.
    `tell` gets the number of its group of processes before that, and 0 when the group has ended.
    `seconds`: on the clock; `memory`: bytes in all its processes together; `files`: so many in the `/tmp` that it has to
    itself, if it has one; `keep`: how many bytes of `result`,
    `printed` and `complaints` are kept, the rest is read and thrown away. `result`: the read end of a pipe;
    `handed`: descriptors that the command inherits. All of these are closed.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=folder,
            pass_fds=handed,
            start_new_session=True,
        )
    except BaseException:
        os.close(result)
        raise
    finally:
        for descriptor in handed:
            os.close(descriptor)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {"result": bytearray(), "printed": bytearray(), "complaints": bytearray()}
    overrun: str | None = None
    inside: list[int] = []
    scratch: int | None = None
    end = time.monotonic() + seconds
    try:
        tell(process.pid)
        with selectors.DefaultSelector() as selector:
            for name, descriptor in (
                ("result", result),
                ("printed", process.stdout.fileno()),
                ("complaints", process.stderr.fileno()),
            ):
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ, name)
            os.set_blocking(process.stdin.fileno(), False)
            left: memoryview | None = None
            looked = 0.0
            while selector.get_map():
                # Asked first: of one that has ended everything it wrote is there to be read.
                has_ended = _has_ended(process.pid)
                ready = selector.select(0 if has_ended else _LOOK_SECONDS)
                for key, _ in ready:
                    if key.data == "job" and left is not None:
                        left = _write(key.fd, left)
                        if not left:
                            selector.unregister(key.fd)
                            process.stdin.close()
                    elif not _read(key.fd, kept[key.data], keep[key.data]):
                        selector.unregister(key.fd)
                if left is None and kept["result"]:
                    below = _tree(process.pid)[1:]
                    inside, scratch = _opened(below), _scratch(below)
                    left = memoryview(job)
                    selector.register(process.stdin.fileno(), selectors.EVENT_WRITE, "job")
                now = time.monotonic()
                if stop.is_set():
                    overrun = STOPPED
                elif now > end:
                    overrun = OVERTIME
                elif now - looked > _LOOK_SECONDS:
                    looked = now
                    overrun = _overrun(process.pid, memory, processes)
                    if overrun is None and scratch is not None and _files(scratch) > files:
                        overrun = "files"
                if overrun is not None or (has_ended and not ready):
                    break
            if overrun is not None:
                # What it wrote before it broke the limit may have come after the last look at the pipe.
                _read(result, kept["result"], keep["result"])
            # The last of its output may come before its status does.
            patience = time.monotonic() + _STATUS_SECONDS
            while overrun is None and not _has_ended(process.pid) and time.monotonic() < patience:
                time.sleep(0.002)
    finally:
        _end(process, tell)
        _wait_for(inside)
        if scratch is not None:
            os.close(scratch)
        os.close(result)
        process.stdout.close()
        process.stderr.close()
        with contextlib.suppress(OSError):
            process.stdin.close()
    return Ended(
        process.returncode, bytes(kept["result"]), bytes(kept["printed"]), bytes(kept["complaints"]), overrun
    )


def _write(descriptor: int, data: memoryview) -> memoryview:
    try:
        return data[os.write(descriptor, data[:_CHUNK]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _read(descriptor: int, into: bytearray, keep: int) -> bool:
    """False at the end."""
    try:
        data = os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return True
    into += data[: keep - len(into)]
    return bool(data)


def _end(process: subprocess.Popen[bytes], tell: Callable[[int], None]) -> None:
    """Ends it and all that is below it. In a process namespace all end with the first; without one they are its group,
    which keeps its number for as long as the first is not waited for."""
    below = _tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    for pid in below[1:]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 9)
    # Before its number may be another's.
    with contextlib.suppress(OSError):
        tell(0)
    process.wait()


def _opened(pids: Sequence[int]) -> list[int]:
    """Descriptors of those that are still there; of none before Linux 5.3, or where Python was built for one older than
    that, as conda's."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError, AttributeError):
            found.append(os.pidfd_open(pid))
    return found


def _wait_for(processes: Sequence[int]) -> None:
    """Until they have ended, which what builds walls does not wait for: the first of a process namespace takes all
    others along when it ends."""
    patience = time.monotonic() + _STATUS_SECONDS
    for descriptor in processes:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(1000 * max(0.0, patience - time.monotonic()))
        os.close(descriptor)


def _has_ended(pid: int) -> bool:
    """Without taking its status away."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _overrun(pid: int, memory: int, processes: int) -> str | None:
    """The limit that all processes from `pid` down break together."""
    pids = _tree(pid)
    # Those that build the walls are not the program's.
    if len(pids) > processes + 4:
        return "processes"
    return "memory" if sum(map(_memory, pids)) > memory else None


def _tree(pid: int) -> list[int]:
    """A process and all below it, as far as they can be seen."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with contextlib.suppress(OSError):
                    found += map(int, (task / "children").read_bytes().split())
    return found


def _scratch(pids: Sequence[int]) -> int | None:
    """The `/tmp` of the last process, if it has another root than this one; None too where that cannot be seen."""
    with contextlib.suppress(OSError):
        if pids and not Path(f"/proc/{pids[-1]}/root").samefile("/"):
            return os.open(f"/proc/{pids[-1]}/root/tmp", os.O_PATH | os.O_DIRECTORY)
    return None


def _files(folder: int) -> int:
    """How many there are in the file system of a folder."""
    found = os.fstatvfs(folder)
    return found.f_files - found.f_ffree


def _memory(pid: int) -> int:
    """Bytes that are its own, or shared with its children; what is read from files does not count."""
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith(("RssAnon:", "RssShmem:", "VmSwap:")):
                total += int(line.split()[1]) * 1024
    return total
