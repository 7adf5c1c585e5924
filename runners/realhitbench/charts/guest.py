"""Runs one program inside the sandbox: `python guest.py FD`, with the job as JSON on stdin once it has asked for it.

Imports nothing but the standard library until it is confined, and nothing of this package ever: it is copied into
the sandbox as one file. The answer goes to the file descriptor FD, as one line that begins with the job's secret, so
that nothing which a program prints can be taken for it. What the program prints is its stdout.

A program shares this process, so it could send an answer of its own making; that is worth no more to it than
drawing the same chart would be, because the reference never comes in here.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import math
import os
import platform
import random
import resource
import struct
import sys
from pathlib import Path
from typing import Any

MAX_ANSWER = 2 * 2**20

_DENIED = {
    # The numbers of x86_64 and of aarch64.
    "socket": (41, 198),
    # A datagram from one of its ends can go to anybody's.
    "socketpair": (53, 199),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    # What leaves its group of processes might be overlooked at the end.
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # Memory that belongs to no process, and so to no limit.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # Of which there are so many for all processes of the machine.
    "io_setup": (206, 0),
    # The kernel's log.
    "syslog": (103, 116),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
}
_FOR_ITSELF = {
    # What a process may do to itself, by the first argument. Without walls others of the same user are in reach.
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
}
_MACHINES = {
    # name: (place in _DENIED, audit architecture, clone, clone3, mmap, prctl)
    "x86_64": (0, 0xC000003E, 56, 435, 9, 157),
    "aarch64": (1, 0xC00000B7, 220, 435, 222, 167),
}
_CLONE_FLAGS = 0x7E020080 | 0x8000
"""New namespaces, and a child that is not below its parent."""
_SHARED_ANONYMOUS = 0x21
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 4, 36, 38, 22


def filter_program(machine: str, own: int) -> bytes:
    """The seccomp filter (classic BPF) of the process `own`. Raises OSError for a machine whose system calls are not known
    here."""
    if machine not in _MACHINES:
        raise OSError(f"no list of system calls for {machine}")
    place, architecture, clone, clone3, mmap, prctl = _MACHINES[machine]
    load, equal, above, test, mask, back = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    steps = [
        step(load, 4),
        step(equal, architecture, 1, 0),
        step(back, _KILL),
        step(load, 0),
        # The numbers of x32 on x86_64; on no machine is there a call so high.
        step(above, 0x40000000, 0, 1),
        step(back, _KILL),
        # glibc tries `clone` where this one is not there.
        step(equal, clone3, 0, 1),
        step(back, _ENOSYS),
    ]
    for numbers in _DENIED.values():
        steps += [step(equal, numbers[place], 0, 1), step(back, _EPERM)]
    # The low half of an argument: of the first for these and `clone`, of the fourth for `mmap`.
    for name, numbers in _FOR_ITSELF.items():
        steps += [step(equal, numbers[place], 0, 5), step(load, 16)]
        # `prlimit64` says 0 for itself; for `kill` that is the group.
        steps += [step(equal, own, 2, 0), step(equal, 0, int(name == "prlimit64"), 0)]
        steps += [step(back, _EPERM), step(back, _ALLOW)]
    steps += [step(equal, prctl, 0, 4), step(load, 16)]
    steps += [step(equal, _PR_SET_CHILD_SUBREAPER, 0, 1), step(back, _EPERM), step(back, _ALLOW)]
    steps += [step(equal, clone, 0, 3), step(load, 16), step(test, _CLONE_FLAGS, 0, 6), step(back, _EPERM)]
    steps += [step(equal, mmap, 0, 4), step(load, 16 + 3 * 8), step(mask, _SHARED_ANONYMOUS)]
    steps += [step(equal, _SHARED_ANONYMOUS, 0, 1), step(back, _EPERM)]
    steps += [step(back, _ALLOW)]
    return b"".join(steps)


def confine(limits: dict[str, int], user: int | None, parent: int) -> None:
    """Becomes an ordinary user (where `user` is said), sets the limits, closes the system calls. No way back.

    `parent`: the process with which this one ends.
    """
    if user is not None:
        # The number of processes binds every user but root.
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    libc = ctypes.CDLL(None, use_errno=True)
    kinds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits["memory"],
        resource.RLIMIT_FSIZE: limits["file_size"],
        resource.RLIMIT_NOFILE: 128,
        resource.RLIMIT_NPROC: limits["processes"],
    }
    for kind, value in kinds.items():
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_seconds"], limits["cpu_seconds"] + 1))
    filters = ctypes.create_string_buffer(filter_program(platform.machine(), os.getpid()))
    program = ctypes.create_string_buffer(
        struct.pack("@HP", (len(filters) - 1) // 8, ctypes.addressof(filters))
    )
    for call in (
        # Without walls nothing else ends it with who started it. Becoming another user would undo this.
        (_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0),
        # Without walls a child that has lost its parent would be seen, and counted, no more.
        (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0),
        (_PR_SET_DUMPABLE, 0, 0, 0, 0),
    ):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({call[0]})")
    if os.getppid() != parent:
        # It ended before the kernel knew of this.
        os._exit(1)


def look_around() -> dict[str, Any]:
    """What the chart environment has."""
    found = versions()
    return {"versions": found, "fonts": font_cache() if found["matplotlib"] else {}}


def versions() -> dict[str, str | None]:
    """Of the libraries that chart programs use; None: absent or broken."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("numpy", "pandas", "matplotlib", "openpyxl"):
        try:
            found[name] = str(importlib.import_module(name).__version__)
        except Exception:  # noqa: BLE001 - a broken library raises anything
            found[name] = None
    return found


def font_cache() -> dict[str, str]:
    """What matplotlib found out about this system's fonts, by the name of its file; making it takes seconds."""
    # Looks for the fonts.
    importlib.import_module("matplotlib.pyplot")
    folder = Path(importlib.import_module("matplotlib").get_cachedir())
    return {file.name: file.read_text() for file in folder.glob("fontlist*.json")}


def run(code: str, kind: str, before: list[str]) -> dict[str, Any]:
    """Whether a program runs to its end, and what is then on its chart.

    `before`: programs that run first, and whose figures stay open, for comparison with runs that left them so.
    """
    _seed()
    _run_quietly(before)
    try:
        compiled = compile(code, "<chart>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"ran": False, "why": _words(error)}
    try:
        # Two dictionaries, as the benchmark's own runs have them.
        exec(compiled, {"__name__": "__main__"}, {})
    except BaseException as error:  # noqa: BLE001 - whatever a program raises, SystemExit too
        return {"ran": False, "why": _words(error)}
    try:
        return {"ran": True, "values": _plain(_drawn(kind))}
    except Exception as error:  # noqa: BLE001 - a chart can hold anything
        return {"ran": True, "why": _words(error)}


def _run_quietly(programs: list[str]) -> None:
    sys.stdout.flush()
    printed = os.dup(1)
    os.dup2(0, 1)
    for program in programs:
        # It failed then too: what it left open before that is all that is wanted.
        with contextlib.suppress(BaseException):
            exec(compile(program, "<earlier chart>", "exec"), {"__name__": "__main__"}, {})
    sys.stdout.flush()
    os.dup2(printed, 1)
    os.close(printed)


def _seed() -> None:
    random.seed(0)
    try:
        numpy = importlib.import_module("numpy")
    except ImportError:
        # A program that needs it says so itself.
        return
    numpy.random.seed(0)


def _drawn(kind: str) -> list[Any]:
    """The values on the current axes: of lines and points one list each, of bars and slices one for all."""
    axes = importlib.import_module("matplotlib.pyplot").gca()
    if kind == "line":
        return [list(line.get_ydata()) for line in axes.lines]
    if kind == "bar":
        return [patch.get_height() for patch in axes.patches]
    if kind == "scatter":
        return [[point[1] for point in collection.get_offsets()] for collection in axes.collections]
    return [round((wedge.theta2 - wedge.theta1) / 360.0, 2) for wedge in axes.patches]


def _plain(value: Any) -> Any:
    """As JSON has it: numpy's numbers become Python's. Raises TypeError and ValueError for what is none."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is drawn")
        return float(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item())
    raise TypeError(f"a {type(value).__name__} is drawn")


def _words(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except BaseException:  # noqa: BLE001 - a program may define errors of its own
        text = ""
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")


def main() -> None:
    """Asks for the job, does it, answers: a line when it begins, and one when it is done."""
    parent = os.getppid()
    os.write(int(sys.argv[1]), b"\n")
    # Whoever sends it had not ended when this process looked who that is.
    job = json.load(sys.stdin.buffer)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    secret, first = job["secret"], os.getpid()
    # Modules in the folder of this file must not hide others.
    del sys.path[0]
    confine(job["limits"], job["user"], parent)
    Path(os.environ["HOME"]).mkdir()
    cache = Path(os.environ["MPLCONFIGDIR"])
    cache.mkdir()
    for name, text in job["fonts"].items():
        (cache / Path(name).name).write_text(text)
    with os.fdopen(int(sys.argv[1]), "w") as result:
        result.write(f"{secret}{{}}\n")
        result.flush()
        answer = look_around() if job["code"] is None else run(job["code"], job["kind"], job["before"])
        with contextlib.suppress(BaseException):
            # The program may have put anything in its place.
            sys.stdout.flush()
        line = json.dumps(answer)
        if len(line) > MAX_ANSWER:
            line = json.dumps({"ran": True, "why": "more is drawn than is read"})
        if os.getpid() == first:
            result.write(f"{secret}{line}\n")
            result.flush()
        # A child that the program forked ends here too, and nothing that was registered for the end is called.
        os._exit(0)


if __name__ == "__main__":
    main()
