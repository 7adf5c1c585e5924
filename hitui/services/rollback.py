"""Puts a config back as it was before the first rerun.

What our runs and merges wrote into its folders (journals, settings, snapshots, merged files, later copies) and the
scores that were made of it move into a hidden folder beside it, and the copy of the file that stood there before takes
its place again. Every step is a rename within one folder: a rollback that was cut short is finished by the next one, and
nothing is deleted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from hitui.adapters.checkpoints.result_listing import is_result_file
from hitui.adapters.files.atomic import COPY_SUFFIX
from hitui.adapters.files.look import is_dir, is_file
from hitui.domain.configs import Config
from hitui.errors import WorkspaceError
from hitui.services import run_records, scores

JOURNAL = "results.jsonl"
_OF_RUNS = re.compile(rf"results(\.older-\d+)?\.jsonl|{re.escape(run_records.NAME)}")
"""What our own runner writes under no other name, as a whole match."""
_SCORES = re.compile(r"scores(_.+)?\.json")
_MARK = b'"written_by": "hitui"'
_MARK_AT_MOST = 4096
"""The mark is the last key of a snapshot."""


class Rollback(msgspec.Struct, frozen=True):
    """What a rollback did in one folder."""

    folder: Path
    kept_in: Path | None
    """Where the files of our runs lie now; None: there were none."""
    moved: tuple[str, ...]
    restored: tuple[str, ...]
    """Names of the files that were brought back."""


def roll_back(config: Config) -> tuple[Rollback, ...]:
    """What was done in each folder of the config where there was anything to do.

    Raises WorkspaceError when a runner writes into one now, and then nothing was changed, or when a folder cannot
    be written.
    """
    folders = [Path(folder) for folder in config.folders if is_dir(folder)]
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(_no_runner(folder / JOURNAL))
        ours = {folder: _written_by_us(folder) for folder in folders}
        moved = {Path(os.path.normpath(folder / name)) for folder, names in ours.items() for name in names}
        done = [_roll_back_folder(folder, names, moved) for folder, names in ours.items()]
    return tuple(rollback for rollback in done if rollback.moved or rollback.restored)


def _written_by_us(folder: Path) -> list[str]:
    """The results in a folder that came from our runs and merges, by name."""
    names = _names(folder)
    replaced = _replaced(names)
    snapshots = [
        name
        for name in names
        if name in replaced or (name.endswith(".json") and is_result_file(name) and is_ours(folder / name))
    ]
    later_copies = [
        name for name in names if name.rpartition(COPY_SUFFIX + "-")[0] in {*replaced, *snapshots}
    ]
    return [name for name in names if _OF_RUNS.fullmatch(name)] + snapshots + later_copies


def _roll_back_folder(folder: Path, ours: list[str], moved: Collection[Path]) -> Rollback:
    """`moved`: what goes away in any folder of the config."""
    names = _names(folder)
    replaced = _replaced(names)
    # They would be shown as those of the results that come back. First, since what they are made of tells that.
    moves = [
        name for name in names if _SCORES.fullmatch(name) and scores.is_made_of(folder / name, moved)
    ] + ours
    kept_in = folder / time.strftime(".hitui-rolled-back-%Y%m%dT%H%M%SZ", time.gmtime())
    try:
        if moves:
            kept_in.mkdir(exist_ok=True)
        for name in moves:
            (folder / name).rename(_free_name(kept_in / name))
        for name in sorted(replaced):
            (folder / (name + COPY_SUFFIX)).rename(folder / name)
    except OSError as error:
        raise _cannot_be(folder, error) from error
    return Rollback(folder, kept_in if moves else None, tuple(moves), tuple(sorted(replaced)))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if is_file(path))
    except OSError as error:
        raise _cannot_be(folder, error) from error


def _replaced(names: Iterable[str]) -> set[str]:
    """Of which results there is a copy from before the first rerun."""
    copies = {name.removesuffix(COPY_SUFFIX) for name in names if name.endswith(COPY_SUFFIX)}
    return {name for name in copies if is_result_file(name)}


def _cannot_be(folder: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(
        f"{folder}: cannot be rolled back: {error.strerror}; make it writable and try again, nothing was lost"
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
        # Not to wait for a writer, where it is a pipe.
        handle = os.open(journal, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
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
