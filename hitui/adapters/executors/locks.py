"""Locks that stand for as long as a process lives: on a job, and on a GPU for everyone on this machine.

They are `flock`s on inherited descriptors, so the kernel itself releases them with the last process that
holds one, whatever killed it. The GPU locks lie in one folder that all users share.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path

from hitui.errors import LaunchError

JOB_LOCK = "lock"


def try_lock(path: Path, mode: int = 0o600) -> int | None:
    """A descriptor that holds the lock, or None when another process holds it. Raises OSError."""
    descriptor = _open(path, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether someone holds it. False when there is no such file."""
    if not path.exists():
        return False
    descriptor = try_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def lock_gpus(home: Path, uuids: tuple[str, ...]) -> tuple[list[int], str | None]:
    """Locks all of these GPUs, or none: the descriptors, and the UUID that someone else has locked.

    Raises LaunchError when the folder of the locks cannot be used.
    """
    held: list[int] = []
    if not uuids:
        return held, None
    try:
        _shared_folder(home)
        for uuid in sorted(uuids):
            descriptor = try_lock(home / (re.sub(r"[^\w.-]", "_", uuid) + ".lock"), 0o666)
            if descriptor is None:
                release(held)
                return [], uuid
            held.append(descriptor)
    except OSError as error:
        release(held)
        raise LaunchError(
            f"{error.filename or home}: GPUs cannot be locked: {error.strerror}; "
            "set HITUI_GPU_LOCKS to a folder that all users of this machine can write"
        ) from error
    return held, None


def release(descriptors: list[int]) -> None:
    """Closes descriptors; a lock stands on while another process holds a copy."""
    for descriptor in descriptors:
        os.close(descriptor)


def _open(path: Path, mode: int) -> int:
    # Not to wait for a writer, where someone laid a pipe into the folder that all users share.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        # Not O_CREAT alone: a kernel with protected_regular refuses that on another user's file.
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
            os.fchmod(descriptor, mode)
            return descriptor
        return os.open(path, flags)


def _shared_folder(home: Path) -> None:
    try:
        home.mkdir(parents=True)
    except FileExistsError:
        return
    home.chmod(0o1777)
