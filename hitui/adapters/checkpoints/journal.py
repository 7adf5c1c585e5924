"""Reads a results journal (`results.jsonl`: one result a line, appended) from where it stopped before.

The last line counts once its newline is there: until then it is being written, or was torn by a kill, and
its task is pending. A file that shrank, was replaced or does not continue what was read is read anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from hitui.adapters.checkpoints.reading import FileReading, UnreadableFile
from hitui.adapters.checkpoints.results_file import id_of, seconds_of
from hitui.domain.tasks import ERROR_PREFIX, TaskId

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes; a longer line is no result, and is skipped without being kept in memory."""
_TAIL = 256


class _Line(msgspec.Struct, gc=False):
    id: TaskId
    Prediction: str
    ProcessingTime: float | None = None


_decode_line = msgspec.json.Decoder(_Line).decode


class Journal:
    """One journal. `read` may be called again and again; each call reads only what was added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start_anew()

    def _start_anew(self) -> None:
        self._inode: int | None = None
        self._offset = 0
        self._line = 0
        self._tail = b""
        self._answered: dict[TaskId, float | None] = {}
        self._errors: dict[TaskId, str] = {}
        self._repeated: dict[TaskId, None] = {}
        self._problems: list[str] = []

    def read(self) -> FileReading:
        """All results so far. Raises UnreadableFile, with a line that does not name the file."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or not self._continues(file, status.st_size):
                    self._start_anew()
                    self._inode = status.st_ino
                file.seek(self._offset)
                self._read_added(file)
        except OSError as error:
            raise UnreadableFile(f"cannot be read: {error.strerror}") from error
        return FileReading(
            dict(self._answered), dict(self._errors), tuple(self._repeated), tuple(self._problems)
        )

    def _continues(self, file: BinaryIO, size: int) -> bool:
        if size < self._offset:
            return False
        file.seek(self._offset - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _read_added(self, file: BinaryIO) -> None:
        while True:
            line = file.readline(LONGEST_LINE)
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                length, ended = self._skip_line(file)
                if not ended:
                    return
                self._line += 1
                self._problems.append(f"line {self._line} is no result ({length} bytes): not counted")
                self._offset, self._tail = file.tell(), b"\n"
                continue
            if not line.endswith(b"\n"):
                return
            self._line += 1
            self._offset += len(line)
            self._tail = (self._tail + line)[-_TAIL:]
            if line.strip():
                self._add(line)

    @staticmethod
    def _skip_line(file: BinaryIO) -> tuple[int, bool]:
        length = LONGEST_LINE
        while part := file.readline(1024 * 1024):
            length += len(part)
            if part.endswith(b"\n"):
                return length, True
        return length, False

    def _add(self, line: bytes) -> None:
        try:
            result = _decode_line(line)
            task, prediction, seconds = result.id, result.Prediction, result.ProcessingTime
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            tolerated = self._read_tolerantly(line)
            if tolerated is None:
                return
            task, prediction, seconds = tolerated
        if prediction.startswith(ERROR_PREFIX):
            self._errors[task] = prediction
            return
        if task in self._answered:
            self._repeated[task] = None
        self._answered[task] = seconds

    def _read_tolerantly(self, line: bytes) -> tuple[TaskId, str, float | None] | None:
        """What Python writes beyond JSON (NaN), and results whose `Prediction` is no text."""
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            self._problems.append(f"line {self._line} is no JSON: not counted; its task runs again")
            return None
        task = id_of(entry)
        if task is None or "Prediction" not in entry:
            lacking = "an id" if task is None else "Prediction"
            self._problems.append(f"line {self._line} is a result without {lacking}: not counted")
            return None
        prediction = entry["Prediction"]
        return task, prediction if isinstance(prediction, str) else "", seconds_of(entry)
