"""A growing text file read by position: `pread`, nothing kept but the place of one very long line.

A line is found from its byte offset, backwards or forwards, so a file of any size opens at once, at its end
as well as at its start, and no index has to be built first. What is read of one line is bounded however
long the line is. Not promised: lines of a file that someone rewrites in place while it is read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

CHUNK = 1024 * 1024
"""Bytes a read while newlines are looked for."""
LINE_LIMIT = 16 * 1024
"""Bytes that are read of one line; of a longer one its head and its tail."""
HEAD = 4 * 1024
FIRST_CHUNK = 64 * 1024


class RawLine(msgspec.Struct, frozen=True):
    """One line of a file, without its newline."""

    start: int
    """Byte offset of its first byte."""
    end: int
    """Byte offset behind its last byte (of the newline, where there is one)."""
    data: bytes
    """All of it; of a line longer than LINE_LIMIT its first HEAD bytes."""
    tail: bytes = b""
    """The last LINE_LIMIT bytes of a line longer than that; empty for the others."""

    @property
    def length(self) -> int:
        return self.end - self.start


class LogFile:
    """One file, opened for reading. Raises OSError where it is absent, unreadable or no regular file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Without O_NONBLOCK a FIFO that happens to be called *.log would hold the reader for ever.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._descriptor)
            raise OSError(errno.EINVAL, "is not a regular file")
        self.identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self._gap = (0, 0)
        """Start of a line, and an offset up to which that line is known to hold no newline."""

    def close(self) -> None:
        os.close(self._descriptor)

    def refresh(self) -> bool:
        """Looks at the size again; False when the path is now another file, or this one was cut shorter."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            # Deleted or being replaced: what is open can still be read.
            return True
        if (status.st_dev, status.st_ino) != self.identity or status.st_size < self.size:
            return False
        self.size = status.st_size
        return True

    def read(self, start: int, end: int) -> bytes:
        return os.pread(self._descriptor, max(0, end - start), start)

    def line_start(self, offset: int) -> int:
        """Offset of the first byte of the line that holds the byte before `offset` or starts at it."""
        position = offset
        chunk = FIRST_CHUNK
        while position > 0:
            known_start, known_end = self._gap
            if known_start < position <= known_end:
                self._remember(known_start, offset)
                return known_start
            begin = max(0, position - chunk)
            found = self.read(begin, position).rfind(b"\n")
            if found >= 0:
                self._remember(begin + found + 1, offset)
                return begin + found + 1
            position = begin
            chunk = CHUNK
        self._remember(0, offset)
        return 0

    def line_end(self, start: int) -> int:
        """Offset behind the newline of the line that starts at `start`; the size where there is none."""
        position = start
        chunk = FIRST_CHUNK
        while position < self.size:
            known_start, known_end = self._gap
            if known_start <= position < known_end:
                position = known_end
                continue
            data = self.read(position, min(self.size, position + chunk))
            if not data:
                break
            found = data.find(b"\n")
            if found >= 0:
                self._remember(start, position + found)
                return position + found + 1
            position += len(data)
            chunk = CHUNK
        self._remember(start, position)
        return position

    def _remember(self, start: int, end: int) -> None:
        """Keeps the longest stretch without newline, so that a line of 200 MB is searched through once."""
        known_start, known_end = self._gap
        if end - start > max(CHUNK, known_end - known_start) or (start == known_start and end > known_end):
            self._gap = (start, end)

    def line(self, start: int, end: int) -> RawLine:
        """The line from `start` up to and including its newline at `end` - 1, if it has one."""
        if end - start <= LINE_LIMIT:
            return RawLine(start, end, _without_newline(self.read(start, end)))
        head = self.read(start, start + HEAD)
        return RawLine(start, end, head, _without_newline(self.read(end - LINE_LIMIT, end)))

    def lines_from(self, start: int, count: int) -> list[RawLine]:
        """Up to `count` lines from `start` on, which is the start of a line."""
        lines: list[RawLine] = []
        while len(lines) < count and start < self.size:
            end = self.line_end(start)
            lines.append(self.line(start, end))
            start = end
        return lines

    def lines_before(self, end: int, count: int) -> list[RawLine]:
        """Up to `count` lines that end at or before `end`, in the order of the file."""
        lines: list[RawLine] = []
        while len(lines) < count and end > 0:
            # The newline at `end` - 1 belongs to the line that is looked for.
            start = self.line_start(end - 1)
            lines.append(self.line(start, end))
            end = start
        return lines[::-1]

    def count_newlines(self, start: int, end: int) -> int:
        return self.read(start, end).count(b"\n")

    def find(self, needle: bytes, start: int, fold: bool, stop: Callable[[], bool]) -> int | None:
        """Place of the first `needle` at or behind `start`; None when there is none, or `stop()` says so.

        With `fold`, ASCII letters of either case are the same, and `needle` is in lower case.
        """
        for offset, data in self._blocks(start):
            found = (data.lower() if fold else data).find(needle)
            if found >= 0:
                return offset + found
            if stop():
                return None
        return None

    def find_before(self, needle: bytes, end: int, fold: bool, stop: Callable[[], bool]) -> int | None:
        """Place of the last `needle` that begins before `end`, as `find` otherwise."""
        while end > 0:
            begin = max(0, end - CHUNK)
            data = self.read(begin, min(self.size, end + len(needle) - 1))
            found = (data.lower() if fold else data).rfind(needle)
            if found >= 0:
                return begin + found
            if stop():
                return None
            end = begin
        return None

    def _blocks(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Blocks that overlap by more than a search text, so that no match falls between two."""
        while start < self.size:
            data = self.read(start, min(self.size, start + CHUNK + OVERLAP))
            if not data:
                return
            yield start, data
            start += CHUNK


OVERLAP = 1024
"""Longest search text, in bytes."""


def _without_newline(data: bytes) -> bytes:
    return data[:-1] if data.endswith(b"\n") else data
