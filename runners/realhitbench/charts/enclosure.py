"""Builds the sandbox's file system inside new namespaces, and runs there what it is for.

    unshare … python enclosure.py PLAN      PLAN: JSON, see `Plan` in `walls`

For machines without bubblewrap. It runs as the first process of its process namespace, so that everything in there
ends with it, and imports nothing but the standard library. Needs Linux 5.12 for mounts that are read-only all the
way down.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTRIBUTES_READ_ONLY = 0x1 | 0x2
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_CAPBSET_DROP = 24
_LAST_CAPABILITY = 63
_SETGID, _SETUID = 6, 7
_DEVICES = ("null", "full", "random", "urandom")
"""Without `zero`, of which memory can be had that no process is charged for."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind, data)]
    _check(
        _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]),
        f"mount of {source} on {target}",
    )


def _bind(source: str, target: str) -> None:
    place = Path(target)
    if Path(source).is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(source, target, None, _MS_BIND | _MS_REC)


def _read_only(root: str) -> None:
    attributes = ctypes.create_string_buffer(struct.pack("=QQQQ", _ATTRIBUTES_READ_ONLY, 0, 0, 0), 32)
    _check(
        _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, root.encode(), _AT_RECURSIVE, attributes, 32),
        "mount_setattr",
    )


def _copy(descriptor: int, target: str) -> None:
    with os.fdopen(descriptor, "rb") as source, Path(target).open("wb") as copy:
        while data := source.read(2**20):
            copy.write(data)


def build(plan: dict[str, Any]) -> None:
    """Makes the plan's folder the root of everything that can be seen. Raises OSError."""
    root: str = plan["root"]
    size = 2**20 + sum(os.fstat(descriptor).st_size for descriptor in plan["files"].values())
    os.umask(0o022)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=755,size={size}")
    for path, points_to in plan["links"].items():
        Path(root + path).symlink_to(points_to)
    for folder in ("/tmp", "/proc", "/dev", "/chart", "/etc"):
        Path(root + folder).mkdir(exist_ok=True)
    in_scratch = [path for path in plan["folders"] if path.startswith("/tmp/")]
    for path in plan["folders"]:
        if path not in in_scratch:
            _bind(path, root + path)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}")
    for path, descriptor in plan["files"].items():
        _copy(descriptor, root + path)
    _read_only(root)
    _mount("proc", f"{root}/proc", "proc", _MS_NOSUID | _MS_NODEV)
    _mount("tmpfs", f"{root}/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=1777,size={plan['scratch']}")
    for path in in_scratch:
        _bind(path, root + path)
        _read_only(root + path)
    os.chdir(root)
    _check(_libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/tmp")


def drop_capabilities(keep: tuple[int, ...]) -> None:
    """None but `keep` can be had after the next exec."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in keep and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            # Past the last one that this kernel knows.
            break


def main() -> None:
    """Builds, starts the guest, and ends as it ends.

    The guest is a process of its own because this one ends with whoever started it, which the kernel forgets of one
    that becomes another user.
    """
    plan = json.loads(sys.argv[1])
    build(plan)
    guest = os.fork()
    if guest == 0:
        # Real root's guest becomes an ordinary user; who is root only in here was one before.
        drop_capabilities((_SETGID, _SETUID) if plan["root_outside"] else ())
        os.execve(plan["words"][0], plan["words"], plan["environment"])
    os.close(plan["result"])
    while True:
        pid, status = os.wait()
        if pid == guest:
            number = os.waitstatus_to_exitcode(status)
            os._exit(number if number >= 0 else 128 - number)


if __name__ == "__main__":
    main()
