"""Keeps on disk what was read of results files, so that no later process parses an unchanged file again.

One small file for each results file, in a folder of the user's own. What is kept counts only for exactly the
file that it was read from (device, inode, size, times of content and status) and the program that read it;
anything else is read anew. Nothing depends on it: a folder that cannot be used costs time and no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

import msgspec

from hitui import __version__
from hitui.adapters.checkpoints import results_file
from hitui.adapters.checkpoints.reading import FileReading, signature_of
from hitui.decoding import msgpack_decoder

LEAST_BYTES = 256 * 1024
"""Smaller files are parsed as fast as what was kept of them."""
SETTLED_SECONDS = 10.0
"""A file that changed within so long is not kept: the next change may leave the same times."""
FORGOTTEN_SECONDS = 30 * 86400.0
"""What was kept longer ago is removed."""

_PROGRAM = signature_of(results_file.__file__)
"""Another version of what reads them may see more in the same file. As it is when it is imported: an upgrade may replace
it under a supervisor, whose readings are still those of the one before."""

_Key = tuple[int, int, int, int, int]
"""Device, inode, size, times of the last change of content and of status in ns."""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    program: str
    path: bytes
    key: _Key
    reading: FileReading


_encode = msgspec.msgpack.Encoder().encode
_decode = msgpack_decoder(_Kept)


class KeptReadings:
    """Reads results files, from `folder` where they did not change. Threads and processes may share it.

    Without a folder it reads and keeps nothing.
    """

    def __init__(self, folder: Path | None, settled_seconds: float = SETTLED_SECONDS) -> None:
        self._folder = folder
        self._settled = settled_seconds
        self._tidied = False
        self._program = f"{__version__} {_PROGRAM}"

    def read(self, path: Path | str) -> FileReading:
        """The results in `path`. Raises UnreadableFile, with a line that does not name the file."""
        key = _key_of(path) if self._folder is not None else None
        if self._folder is None or key is None or key[2] < LEAST_BYTES:
            return results_file.read_results_file(path)
        place = self._folder / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        kept = self._find(place, path, key)
        if kept is not None:
            return kept
        reading = results_file.read_results_file(path)
        if time.time() - max(key[3:]) / 1e9 >= self._settled and _key_of(path) == key:
            # Numbers above 64 bits and text that is none (lone surrogates) cannot be kept.
            with contextlib.suppress(OSError, OverflowError, UnicodeError):
                self._keep(place, _Kept(self._program, os.fsencode(path), key, reading))
        return reading

    def _find(self, place: Path, path: Path | str, key: _Key) -> FileReading | None:
        try:
            kept = _decode(place.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        same = (kept.program, kept.path, kept.key) == (self._program, os.fsencode(path), key)
        return kept.reading if same else None

    def _keep(self, place: Path, kept: _Kept) -> None:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=".", dir=place.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_encode(kept))
            Path(beside).replace(place)
        except BaseException:
            Path(beside).unlink()
            raise
        if not self._tidied:
            self._tidied = True
            _forget_old(place.parent)


def _forget_old(folder: Path) -> None:
    oldest = time.time() - FORGOTTEN_SECONDS
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            if entry.stat().st_mtime < oldest:
                Path(entry.path).unlink()


def _key_of(path: Path | str) -> _Key | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - half as dear, and asked of every file
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
