"""Writes that a reader sees whole or not at all, and copies that are kept of what others wrote."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from hitui.errors import WorkspaceError

COPY_SUFFIX = ".before-hitui"


def write_atomically(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replaces `path` by `content`: written beside, flushed to the disk, renamed. Keeps the file's mode, unless one is
    given.

    Raises WorkspaceError with file and mend when the disk is full or read-only; `path` is then as before.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _mode_for(path) if mode is None else mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise _refusal(path, error) from error
    _flush_folder(path.parent)


def keep_copy_once(path: Path) -> Path | None:
    """Copies `path` beside itself as NAME.before-hitui, with its times, unless such a copy exists.

    Another copy of the same content is not made; where the copy differs, the next free of
    NAME.before-hitui-2, -3, … is taken. Returns the copy, or None when it was there already.

    Raises WorkspaceError when it cannot be read or written.
    """
    content = _read(path)
    number = 1
    while True:
        copy = path.with_name(path.name + COPY_SUFFIX + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(copy):
            break
        if _read(copy) == content:
            return None
        number += 1
    # What only its owner may read is not for a moment open to others.
    write_atomically(copy, content, _mode_for(path))
    with contextlib.suppress(OSError):
        shutil.copystat(path, copy)
    return copy


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WorkspaceError(
            f"{path}: cannot be read: {error.strerror}; nothing was changed, make it readable or move it away"
        ) from error


def _mode_for(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o7777
    except OSError:
        return 0o666 & ~_umask()


def _umask() -> int:
    """Of this process, as proc(5) tells it: `os.umask` cannot look without changing it for all threads."""
    try:
        for line in Path("/proc/self/status").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key == "Umask":
                return int(value, 8)
    except (OSError, ValueError):
        pass
    # Kernels before 4.7 do not tell: nobody else gets the file then.
    return 0o077


def _flush_folder(folder: Path) -> None:
    # Without this a power cut may bring the old name back; some file systems do not support it.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refusal(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{path}: cannot be written: {error.strerror}; nothing was changed, make room or make {path.parent} writable"
    )
