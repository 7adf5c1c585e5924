"""Files that are replaced whole, and what tells one file from another."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

Identity = tuple[int, int, int]
"""Inode, size, and time of the last change in ns."""


def replace_file(path: Path, partial: Path, content: bytes) -> None:
    """Puts `content` in the place of a file, whole or not at all; `partial` beside it is written meanwhile."""
    try:
        with os.fdopen(open_new(partial), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_new(partial: Path, mode: int = 0o666) -> int:
    """A descriptor of a new file in the place of whatever a killed run left there. Raises OSError.

    Where others may write too it may as well be a link of theirs to a file of this user's, or a pipe, which would be
    waited for.
    """
    partial.unlink(missing_ok=True)
    return os.open(partial, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def open_journal(path: Path) -> int:
    """A descriptor of a journal, which is made where there is none. Raises OSError, for a link of another user's too.

    Where others may write one of theirs may lead to any file of this user's, which lines would be added to.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    if path.lstat().st_uid not in (os.getuid(), 0):
        raise PermissionError(errno.EPERM, "it is a link that another user laid there", str(path))
    return os.open(path, flags, 0o644)


def sync_folder(folder: Path) -> None:
    """Puts the names in it on the disk too. Some file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def identity_of(path: Path) -> Identity:
    """Raises OSError."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def same_content(one: Path, other: Path) -> bool:
    """Raises OSError."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(1024 * 1024):
            if block != second.read(1024 * 1024):
                return False
    return True
