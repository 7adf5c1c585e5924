"""Reading what a runner writes while it runs: its event lines, and the end of its log.

A runner that finds HITUI_EVENTS in its environment appends JSON lines to that file. Anything else in the
file, a torn last line too, counts for nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from hitui.domain.progress import EventTally

_CHUNK = 1 << 20
_LONGEST_LINE = 1 << 16
"""Bytes; a longer line is no event line."""
_LINE_END = re.compile(rb"[\r\n]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


class EventFile:
    """One file of event lines, read from where the last reading ended."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self._inode = 0
        self.tally = EventTally()

    def read(self) -> EventTally:
        """The tally of all lines so far. A file that is not there (yet) adds nothing."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
        except OSError:
            return self.tally
        try:
            status = os.fstat(descriptor)
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._offset, self._inode, self.tally = 0, status.st_ino, EventTally()
            while chunk := os.pread(descriptor, _CHUNK, self._offset):
                whole = chunk.rfind(b"\n") + 1
                if whole == 0 and len(chunk) < _LONGEST_LINE:
                    break
                self._offset += whole or len(chunk)
                self.tally = self.tally.add(_events(chunk[:whole]))
                if len(chunk) < _CHUNK:
                    break
        except OSError:
            return self.tally
        finally:
            os.close(descriptor)
        return self.tally


def _events(lines: bytes) -> list[dict[str, object]]:
    found = []
    for line in lines.splitlines():
        try:
            event = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def read_tail(path: Path | str, size: int = 8192) -> str:
    """The end of a file as text without escape sequences; empty when it cannot be read.

    The last `size` bytes, from where a line begins in them, if one does.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        end = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, size, max(0, end - size))
        if end > size and (torn := _LINE_END.search(tail, 0, len(tail) - 1)):
            tail = tail[torn.end() :]
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return _ESCAPES.sub("", tail.decode("utf-8", "replace"))
