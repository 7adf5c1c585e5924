"""Locks that stand for as long as a process lives: on a job, and on a GPU for everyone on this machine.

They are `flock`s on inherited descriptors, so the kernel itself releases them with the last process that
holds one, whatever killed it. The GPU locks lie in one folder that all users share.

    UUID.lock            held by every job on the GPU: exclusively, or, by jobs that share, as a shared lock
    UUID.SHARERS.lock    held by the jobs that share the GPU; SHARERS are a user's jobs of one workspace
    sharing.lock         held while a job finds out whether it may share

Sharing goes no further than one user's one workspace, whose supervisor alone knows what its jobs are still to
take: whoever does not find the second lock held by its own needs the first one for itself. So the second must never
outlive the first, and a kernel closes what a process that ends had open either in the order of its numbers or the
other way round: a job that shares holds the first lock twice, by descriptors before and behind that of the second.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable
from pathlib import Path

from hitui.errors import LaunchError

JOB_LOCK = "lock"
# Not to wait for a writer, where someone laid a pipe into the folder that all users share.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_TRIES = 10
"""Some file systems give a file another number each time."""


def try_lock(path: Path, mode: int = 0o600, *, shared: bool = False) -> int | None:
    """A descriptor that holds the lock, or None when another process holds it. Raises OSError."""
    for tries_left in reversed(range(_TRIES)):
        descriptor = _open(path, mode)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if _is_at(path, descriptor) or not tries_left:
                # What clears old files out of /tmp goes by their times, and may not ask whether one is locked.
                with contextlib.suppress(OSError):
                    os.utime(descriptor)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # It was removed in between: whoever comes next locks another file of that name.
        os.close(descriptor)
    raise AssertionError("the last try always returns")


def is_locked(path: Path) -> bool:
    """Whether someone holds it. False when there is no such file, and then none is made: it would be this user's alone,
    and lock everybody else out."""
    try:
        descriptor = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def lock_gpus(home: Path, uuids: tuple[str, ...], sharers: str | None = None) -> tuple[list[int], str | None]:
    """Locks all of these GPUs, or none: the descriptors, and the UUID that someone else has locked.

    With the name of its `sharers` (letters, digits and dashes) a job shares them with those; None: with nobody.
    Raises LaunchError when the folder of the locks cannot be used.
    """
    held: list[int] = []
    if not uuids:
        return held, None
    try:
        _shared_folder(home)
        for uuid in sorted(uuids):
            file = _gpu_lock(home, uuid)
            if sharers is None:
                descriptor = try_lock(file, 0o666)
                taken = [] if descriptor is None else [descriptor]
            else:
                taken = _share(file, sharers)
            if not taken:
                release(held)
                return [], uuid
            held += taken
    except OSError as error:
        release(held)
        raise LaunchError(_unusable(home, error)) from error
    return held, None


def locked_gpus(home: Path, uuids: Iterable[str]) -> set[str]:
    """Those on which any lock stands at this moment. Raises LaunchError when the folder cannot be used."""
    try:
        return {uuid for uuid in uuids if is_locked(_gpu_lock(home, uuid))}
    except OSError as error:
        raise LaunchError(_unusable(home, error)) from error


def lock_takers(home: Path, uuids: Iterable[str], proc: Path = Path("/proc")) -> dict[str, int]:
    """GPUs on which a lock stands, each with the pid that took it, which may be gone. Takes no lock itself, so that it
    stands in nobody's way; what it cannot see, as in some containers and on some file systems, is left out."""
    files = {}
    for uuid in uuids:
        with contextlib.suppress(OSError):
            status = _gpu_lock(home, uuid).stat()
            device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
            files[f"{device}:{status.st_ino}"] = uuid
    takers: dict[str, int] = {}
    if files:
        with contextlib.suppress(OSError):
            for line in (proc / "locks").read_text().splitlines():
                # `3: FLOCK  ADVISORY  WRITE 4711 fe:00:3033580 0 EOF`; one that waits for it has an arrow.
                words = line.split()
                if len(words) == 8 and words[1] == "FLOCK" and words[5] in files:
                    takers.setdefault(files[words[5]], int(words[4]))
    return takers


def release(descriptors: list[int]) -> None:
    """Closes descriptors; a lock stands on while another process holds a copy."""
    for descriptor in descriptors:
        os.close(descriptor)


def _share(file: Path, sharers: str) -> list[int]:
    """Descriptors that hold the GPU together with jobs of the same sharers; none: someone else holds it."""
    # One at a time in all: making an exclusive lock a shared one gives it up for a moment.
    turn = try_lock(file.with_name("sharing.lock"), 0o666)
    if turn is None:
        return []
    taken: list[int] = []
    try:
        own = file.with_name(f"{file.stem}.{sharers}.lock")
        for path, mode, shared in ((file, 0o666, is_locked(own)), (own, 0o600, True), (file, 0o666, True)):
            descriptor = try_lock(path, mode, shared=shared)
            if descriptor is None:
                release(taken)
                return []
            taken.append(_above(max(taken, default=-1), descriptor))
            # At once: held exclusively it would keep out the lock on it that is still to come.
            fcntl.flock(taken[0], fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        release(taken)
        return []
    except BaseException:
        release(taken)
        raise
    finally:
        os.close(turn)
    return taken


def _above(other: int, descriptor: int) -> int:
    """The descriptor, under a number above that of the other."""
    if other < descriptor:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, other + 1)
    finally:
        os.close(descriptor)


def _gpu_lock(home: Path, uuid: str) -> Path:
    return home / (re.sub(r"[^\w.-]", "_", uuid) + ".lock")


def _unusable(home: Path, error: OSError) -> str:
    return (
        f"{error.filename or home}: GPUs cannot be locked: {error.strerror}; "
        "set HITUI_GPU_LOCKS to a folder that all users of this machine can write"
    )


def _open(path: Path, mode: int) -> int:
    try:
        return os.open(path, _FLAGS)
    except FileNotFoundError:
        # Not O_CREAT alone: a kernel with protected_regular refuses that on another user's file.
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, mode)
            os.fchmod(descriptor, mode)
            return descriptor
        return os.open(path, _FLAGS)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _shared_folder(home: Path) -> None:
    try:
        home.mkdir(parents=True)
    except FileExistsError:
        return
    home.chmod(0o1777)
