"""Processes of this machine, from /proc: who is who beyond a reused pid, what belongs to a job, how to end it.

Only the standard library: the launcher of a job runs this without hitui's dependencies. A zombie counts as
gone, since nothing of it runs any more.
"""

from __future__ import annotations

import os
import pwd
import signal
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

JOB_VARIABLE = "HITUI_JOB"
"""Environment variable that marks every process of a job; its value names workspace and job."""


class Process(NamedTuple):
    """A process, told apart from a later one with the same pid by when it started."""

    pid: int
    start_time: int
    """Field 22 of /proc/PID/stat: clock ticks since boot."""


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    start_time: int
    threads: int
    resident_pages: int

    @property
    def gone(self) -> bool:
        """A zombie whose other threads still end has not given up its locks and its GPU yet."""
        return self.state in "ZX" and self.threads <= 1


def boot_id() -> str:
    """Changes with every start of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        return file.read().strip()


def place() -> str:
    """Where pids mean what they mean here: this start of the machine, and this container. Empty where that is not told."""
    try:
        return f"{boot_id()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""


def user_name(number: int) -> str:
    """The name of a user; the number, where nobody has it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def find_process(pid: int) -> Process | None:
    """The process that has this pid now; None: none, or a zombie."""
    stat = _read_stat(pid)
    return None if stat is None or stat.gone else Process(pid, stat.start_time)


def alive(process: Process) -> bool:
    return find_process(process.pid) == process


def send(process: Process, number: int) -> bool:
    """Signals exactly this process, never a later one with its pid. False: it is gone or not ours."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except (OSError, AttributeError):
        # A kernel before 5.3, or a Python that was built for one, as conda's: the moment between the look and the
        # signal stays open.
        if not alive(process):
            return False
        try:
            os.kill(process.pid, number)
        except OSError:
            return False
        return True
    try:
        # The descriptor is bound to whoever has the pid; only now does the look decide.
        if not alive(process):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def members(marker: str | None, roots: Iterable[Process] = (), sessions: Iterable[int] = ()) -> set[Process]:
    """Every living process of a job except this one.

    That is: what carries `HITUI_JOB=marker` in the environment it was started with (where a marker is known), what
    descends from one of `roots`, and what is in one of `sessions`. The roots themselves count only by marker or session.
    """
    root_pids = {root.pid for root in roots if alive(root)}
    session_ids = set(sessions)
    stats = {pid: stat for pid in _pids() if (stat := _read_stat(pid)) is not None}
    own = os.getpid()
    found = set()
    for pid, stat in stats.items():
        if pid == own or stat.gone:
            continue
        if stat.session in session_ids or _descends(pid, root_pids, stats) or belongs_to(pid, marker):
            found.add(Process(pid, stat.start_time))
    return found


def end_all(
    find: Callable[[], set[Process]],
    grace: float,
    pause: Callable[[float], object] = time.sleep,
    hurry: Callable[[], bool] = lambda: False,
) -> int:
    """Ends what `find` names: SIGTERM, `grace` seconds, SIGKILL. Returns how many would not die.

    `find` is asked again and again, since a process that ends may have started another. As soon as `hurry`
    says so the grace is over.
    """
    asked: set[Process] = set()
    delay = 0.02
    deadline = time.monotonic() + grace
    while (living := find()) and time.monotonic() < deadline and not hurry():
        for process in living - asked:
            send(process, signal.SIGTERM)
        asked |= living
        pause(delay)
        # A look through all of /proc costs more the more processes there are.
        delay = min(delay * 1.5, 0.25)
    deadline = time.monotonic() + 5.0
    while (living := find()) and time.monotonic() < deadline:
        for process in living:
            send(process, signal.SIGKILL)
        pause(0.05)
    return len(living)


def resident_bytes(root: int) -> int:
    """Main memory of a process and its descendants, in bytes; shared pages count once for each."""
    total = 0
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        stat = _read_stat(pid)
        if stat is None:
            continue
        total += stat.resident_pages
        waiting += children(pid)
    return total * os.sysconf("SC_PAGE_SIZE")


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def _read_stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses itself; the last one closes it.
    fields = text[text.rindex(b")") + 2 :].split()
    return _Stat(
        fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]), int(fields[17]), int(fields[21])
    )


def _descends(pid: int, roots: set[int], stats: dict[int, _Stat]) -> bool:
    seen = {pid}
    parent = stats[pid].parent
    while parent in stats and parent not in seen:
        if parent in roots:
            return True
        seen.add(parent)
        parent = stats[parent].parent
    return False


def belongs_to(pid: int, marker: str | None) -> bool:
    """Whether a process carries `HITUI_JOB=marker` in the environment it was started with; None carries nothing."""
    return marker is not None and f"{JOB_VARIABLE}={marker}".encode() in _environment(pid)


def _environment(pid: int) -> list[bytes]:
    """Entries of the environment a process was started with; empty where it is another user's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read().split(b"\0")
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """Pids of the children, zombies included; empty where the kernel does not list them."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except OSError:
        pass
    return found
