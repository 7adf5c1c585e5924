"""Puts a config back as it was before the first rerun.

What our runs wrote into its output folder (journal, snapshot, later copies) moves into a hidden folder there,
and the copy of the `checkpoint.json` that stood there before takes its place again. Every step is a rename
within one folder: a rollback that was cut short is finished by the next one, and nothing is deleted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from hitui.adapters.files.atomic import COPY_SUFFIX
from hitui.adapters.files.look import is_file
from hitui.domain.configs import Config
from hitui.errors import WorkspaceError

JOURNAL = "results.jsonl"
SNAPSHOT = "checkpoint.json"
_MARK = b'"written_by": "hitui"'
_MARK_AT_MOST = 4096
"""The mark is the last key of a snapshot."""


class Rollback(msgspec.Struct, frozen=True):
    """What a rollback did."""

    kept_in: Path | None
    """Where the files of our runs lie now; None: there were none."""
    moved: tuple[str, ...]
    restored: str | None
    """Name of the file that was brought back; None: no copy of one was kept."""


def roll_back(config: Config) -> Rollback:
    """Raises WorkspaceError when a runner writes there now, or the folder cannot be written."""
    folder = Path(config.output)
    copy = folder / (SNAPSHOT + COPY_SUFFIX)
    with _no_runner(folder / JOURNAL):
        ours = [path for path in (folder / JOURNAL,) if is_file(path)]
        snapshot = folder / SNAPSHOT
        if is_file(snapshot) and (is_file(copy) or is_ours(snapshot)):
            ours.append(snapshot)
        ours += sorted(path for path in folder.glob(copy.name + "-*") if is_file(path))
        restores = is_file(copy)
        if not ours and not restores:
            return Rollback(None, (), None)
        kept_in = folder / time.strftime(".hitui-rolled-back-%Y%m%dT%H%M%SZ", time.gmtime())
        try:
            if ours:
                kept_in.mkdir(exist_ok=True)
            for path in ours:
                path.rename(_free_name(kept_in / path.name))
            if restores:
                copy.rename(snapshot)
        except OSError as error:
            raise WorkspaceError(
                f"{folder}: cannot be rolled back: {error.strerror}; make it writable and try again, "
                "nothing was lost"
            ) from error
    return Rollback(
        kept_in if ours else None, tuple(path.name for path in ours), SNAPSHOT if restores else None
    )


def is_ours(path: Path) -> bool:
    """Whether a snapshot carries the mark of our runs, which stands at its end."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MARK_AT_MOST))
            return _MARK in file.read(_MARK_AT_MOST)
    except OSError:
        return False


@contextmanager
def _no_runner(journal: Path) -> Iterator[None]:
    """Holds the lock that a runner holds while it writes."""
    try:
        handle = os.open(journal, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise WorkspaceError(f"{journal}: cannot be read: {error.strerror}; make it readable") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # A file system without locks cannot say; the jobs were asked before.
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise WorkspaceError(
                    f"{journal}: a runner is writing it; stop that first, then roll back"
                ) from error
        yield
    finally:
        os.close(handle)


def _free_name(path: Path) -> Path:
    number = 2
    free = path
    while free.exists():
        free = path.with_name(f"{path.name}-{number}")
        number += 1
    return free
