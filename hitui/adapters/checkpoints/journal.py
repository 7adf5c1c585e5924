"""Reads a results journal (`results.jsonl`: one result a line, appended) from where it stopped before.

A last line without its newline is being written, or was torn by a kill: its task is pending, unless the line
is a whole result already. A file that shrank, was replaced or does not continue what was read is read anew.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
from pathlib import Path
from typing import BinaryIO

import msgspec

from hitui.adapters.checkpoints.python_json import python_json
from hitui.adapters.checkpoints.reading import FileReading, UnreadableFile
from hitui.adapters.checkpoints.results_file import NO_RECOVERY, id_of, rung_in, seconds_of
from hitui.decoding import json_decoder
from hitui.domain.recovery import rung_of
from hitui.domain.tasks import ERROR_PREFIX, TaskId
from hitui.domain.units import counted

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes; a longer line is no result, and is skipped without being kept in memory."""
_TAIL = 256
_BEGINS = re.compile(r'(\{\s*("|\Z)|\Z)')
"""How a line begins, however soon it ends."""
_MOST_NAMED = 5
"""Lines of no use that are named one by one."""

_Result = tuple[TaskId, str, float | None, int]
"""Id, `Prediction`, `ProcessingTime` in seconds, rung of the recovery ladder of a failed one."""
_NO_JSON = "is no JSON: not counted; its task runs again"
_STRANGE = "is no result and no torn one: not counted; put each result on a line of its own"


class _Line(msgspec.Struct, gc=False):
    id: TaskId
    Prediction: str
    ProcessingTime: float | None = None
    Recovery: msgspec.Raw = NO_RECOVERY


_decode_line = json_decoder(_Line)


class Journal:
    """One journal. `read` may be called again and again; each call reads only what was added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start_anew(None)

    def _start_anew(self, inode: int | None) -> None:
        self._inode = inode
        self._offset = 0
        self._tail = b""
        self._contents = _Contents()

    def read(self) -> FileReading:
        """All results so far. Raises UnreadableFile, with a line that does not name the file."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or not self._continues(file, status.st_size):
                    self._start_anew(status.st_ino)
                file.seek(self._offset)
                last_line = self._read_added(file)
        except OSError as error:
            raise UnreadableFile(f"cannot be read: {error.strerror}") from error
        contents = self._contents.copy()
        # It is read again at the next call: what is appended may still belong to it.
        if last_line and _parse(last_line) != _NO_JSON:
            contents.add(last_line)
        elif last_line and not _is_torn(last_line):
            contents.add_strange(last_line)
        return contents.reading()

    def _continues(self, file: BinaryIO, size: int) -> bool:
        if size < self._offset:
            return False
        file.seek(self._offset - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _read_added(self, file: BinaryIO) -> bytes:
        """Takes in the lines that have an end; returns the last one where it has none."""
        while True:
            line = file.readline(LONGEST_LINE)
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                length, ended = self._skip_line(file)
                if not ended:
                    return b""
                self._contents.add_too_long(length)
                self._offset, self._tail = file.tell(), b"\n"
                continue
            if not line.endswith(b"\n"):
                return line
            self._contents.add(line)
            self._offset += len(line)
            self._tail = (self._tail + line)[-_TAIL:]

    @staticmethod
    def _skip_line(file: BinaryIO) -> tuple[int, bool]:
        length = LONGEST_LINE
        while part := file.readline(1024 * 1024):
            length += len(part)
            if part.endswith(b"\n"):
                return length, True
        return length, False


class _Contents:
    """What the lines of a journal say, taken in one after the other."""

    def __init__(self) -> None:
        self._lines = self._results = self._useless = 0
        self._begins_useless = False
        self._answered: dict[TaskId, float | None] = {}
        self._errors: dict[TaskId, str] = {}
        self._rungs: dict[TaskId, int] = {}
        self._repeated: dict[TaskId, None] = {}
        self._problems: list[str] = []

    def copy(self) -> _Contents:
        other = copy.copy(self)
        other._answered, other._errors = dict(self._answered), dict(self._errors)
        other._repeated, other._problems = dict(self._repeated), list(self._problems)
        other._rungs = dict(self._rungs)
        return other

    def add(self, line: bytes) -> None:
        self._lines += 1
        if not line.strip():
            return
        result = _parse(line)
        if isinstance(result, str):
            self._reject(result)
            return
        self._results += 1
        task, prediction, seconds, rung = result
        if prediction.startswith(ERROR_PREFIX):
            self._errors[task] = prediction
            self._rungs.pop(task, None)
            if rung:
                self._rungs[task] = rung
            return
        if task in self._answered:
            self._repeated[task] = None
        self._answered[task] = seconds

    def add_too_long(self, length: int) -> None:
        """A line of so many bytes that is not kept."""
        self._lines += 1
        self._reject(f"is no result ({counted(length, 'byte')}): not counted")

    def add_strange(self, line: bytes) -> None:
        """A last line that is no result and not the beginning of one."""
        self._lines += 1
        self._reject(_NO_JSON if b"\0" in line else _STRANGE)

    def _reject(self, wrong: str) -> None:
        if not self._results and not self._useless:
            self._begins_useless = True
        self._useless += 1
        if self._useless <= _MOST_NAMED:
            self._problems.append(f"line {self._lines} {wrong}")

    def reading(self) -> FileReading:
        """Raises UnreadableFile where the lines are those of something else, such as a JSON text with indents."""
        if self._begins_useless and self._useless > self._results:
            few = f"{self._useless} of its {self._lines} lines are no results"
            useless = "its one line is no result" if self._lines == 1 else few
            raise UnreadableFile(
                f"is no journal, {useless}: "
                "rename it to .json if it is one JSON text, else put a copy back, or move it away"
            )
        more = self._useless - len(self._problems)
        problems = (
            *self._problems,
            f"{more} more {'line is no result' if more == 1 else 'lines are no results'}: not counted",
        )
        said = problems if more else problems[:-1]
        return FileReading(self._answered, self._errors, tuple(self._repeated), said, self._rungs)


def _is_torn(line: bytes) -> bool:
    """Whether a last line that is no JSON is the beginning of one: else there may be more than one result in it."""
    text = line.decode("utf-8", errors="replace").strip("\0\ufeff \t\r\n")
    if not _BEGINS.match(text) or "\0" in text:
        return False
    try:
        with contextlib.suppress(RecursionError):
            json.JSONDecoder().raw_decode(text)
    except ValueError:
        return True
    return False


def _parse(line: bytes) -> _Result | str:
    """The result in a line, or what is wrong with the line."""
    try:
        result = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_tolerantly(line)
    return result.id, result.Prediction, result.ProcessingTime, rung_in(result.Recovery)


def _parse_tolerantly(line: bytes) -> _Result | str:
    """What Python writes beyond JSON (NaN), and results whose `Prediction` is no text."""
    try:
        entry = python_json(line)
    except (ValueError, RecursionError):
        return _NO_JSON
    task = id_of(entry)
    if task is None or "Prediction" not in entry:
        return f"is a result without {'an id' if task is None else 'Prediction'}: not counted"
    prediction = entry["Prediction"]
    text = prediction if isinstance(prediction, str) else ""
    return task, text, seconds_of(entry), rung_of(entry.get("Recovery"))
