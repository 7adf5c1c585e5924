"""Reads one JSON file of results: `checkpoint.json`, `results_20260203.json` and their like.

The format is that of the RealHiTBench programs: an object with a list `results` of objects with `id`,
`Prediction` and `ProcessingTime` (seconds), among others; a bare list of them is read as well. Python writes
NaN and Infinity, which are no JSON: such files, and those with entries of another shape, are read by the
`json` module, an entry at a time. `processed_ids` is not looked at: real files list failed ids there.

Run as a program it reads one huge file in a process of its own, so that neither the memory nor the
interpreter lock of the caller is taken: `python -m hitui.adapters.checkpoints.results_file FILE`.
"""

from __future__ import annotations

import io
import json
import marshal
import mmap
import os
import re
import resource
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from hitui.adapters.checkpoints.python_json import python_json
from hitui.adapters.checkpoints.reading import FileReading, UnreadableFile, listed
from hitui.decoding import json_decoder
from hitui.domain.recovery import rung_of
from hitui.domain.tasks import ERROR_PREFIX, TaskId

LARGE = 64 * 1024 * 1024
"""Bytes above which a file is read in a process of its own."""

_REFUSED = 3
"""Exit status of the process of its own when the file is of no use; Python ends with 1 when it breaks."""

_MOST_KEPT = 16 * 1024 * 1024
"""Bytes of the buffer that each thread keeps for the next file."""

_MOST_DIGITS = 100
"""Of an id that is a number; a longer text is only a text."""

LONGEST_SECONDS = 1e9
"""More than any task takes; a `ProcessingTime` beyond it says nothing."""

_kept = threading.local()

_MEND = "it is cut off or still being written; if that stays, put a copy back or move it away"

_MEND_DAMAGED = "it is damaged or something else; put a copy back, or move it away"

_PLACE = re.compile(r"\(byte (\d+)\)")
"""In the messages of msgspec about malformed JSON; it says none where the text is only cut off."""


NO_RECOVERY = msgspec.Raw(b"null")


class _Result(msgspec.Struct, gc=False):
    id: TaskId
    Prediction: str
    ProcessingTime: float | None = None
    Recovery: msgspec.Raw = NO_RECOVERY
    """As it stands there: of answers nobody asks."""


class _Results(msgspec.Struct, gc=False):
    results: list[_Result]


_decode_object = json_decoder(_Results)
_decode_list = json_decoder(list[_Result])
_skip_value = json_decoder(msgspec.Raw)


def read_results_file(path: Path | str) -> FileReading:
    """The results in `path`. Raises UnreadableFile, with a line that does not name the file."""
    try:
        with io.FileIO(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGE:
                return _read_apart(path)
            if size > _MOST_KEPT:
                return parse_results(file.read())
            return parse_results(_read_into_kept_buffer(file, size))
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error


def _read_into_kept_buffer(file: io.FileIO, size: int) -> memoryview:
    """The whole file. Fresh memory for each file costs more (page faults) than the reading itself."""
    buffer: bytearray = getattr(_kept, "buffer", None) or bytearray()
    if len(buffer) <= size:
        buffer = _kept.buffer = bytearray(size + size // 4 + 1)
    view = memoryview(buffer)
    length = 0
    while count := file.readinto(view[length:]):
        length += count
        if length == len(buffer):
            # It grew while it was read.
            return memoryview(bytes(view) + file.read())
    return view[:length]


def parse_results(content: bytes | memoryview | mmap.mmap) -> FileReading:
    """The results in the text of a file. Raises UnreadableFile."""
    start = bytes(content[:64]).lstrip()
    if not start and not bytes(content).strip():
        raise UnreadableFile(f"is empty: {_MEND}")
    try:
        if start[:1] == b"[":
            return _reduce(_decode_list(content))
        return _reduce(_decode_object(content).results)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if bytes(content[-64:]).rstrip()[-1:] not in (b"}", b"]") and not _is_wide(start):
            # The usual case of a file that is being written; the tolerant way is slow on a huge one.
            raise _refuse_without_end(content) from None
        return _parse_tolerantly(bytes(content))


def _refuse_without_end(content: bytes | memoryview | mmap.mmap) -> UnreadableFile:
    """What is wrong with a text that does not end as an object or a list does: one pass, nothing built."""
    try:
        _skip_value(content)
    except UnicodeDecodeError as error:
        return UnreadableFile(f"is not UTF-8 text (byte {error.start}): {_MEND_DAMAGED}")
    except msgspec.DecodeError as error:
        found = _PLACE.search(str(error))
        place = int(found[1]) if found else None
        if place is not None and not _is_python_number(bytes(content[place : place + len("Infinity")])):
            return UnreadableFile(f"is not JSON text at byte {place}: {_MEND_DAMAGED}")
    except RecursionError:
        pass
    else:
        return UnreadableFile(f"is JSON, but no object or list of results: {_MEND_DAMAGED}")
    return UnreadableFile(f"is not whole JSON (it has no end): {_MEND}")


def _is_wide(start: bytes) -> bool:
    """Whether a text begins as JSON in UTF-16 or UTF-32 does: a program on Windows may have written it."""
    encoding = json.detect_encoding(start)
    text = start.decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
    return not encoding.startswith("utf-8") and text[:1] in ("{", "[")


def _is_python_number(text: bytes) -> bool:
    """Whether NaN or Infinity, or what a cut left of them, stands there: only Python's JSON has them."""
    return any(text.startswith(word) or word.startswith(text) for word in (b"NaN", b"Infinity"))


def _reduce(results: list[_Result]) -> FileReading:
    # Comprehensions over all results cost as much as a fifth of the parsing: two, where ids are unique.
    answered = {result.id: result.ProcessingTime for result in results}
    failed = [result for result in results if result.Prediction.startswith(ERROR_PREFIX)]
    errors = {result.id: result.Prediction for result in failed}
    rungs = {result.id: rung_in(result.Recovery) for result in failed}
    rungs = {task: rung for task, rung in rungs.items() if rung}
    if len(answered) == len(results):
        for task in errors:
            del answered[task]
        return FileReading(answered, errors, rungs=rungs)
    answered = {
        result.id: result.ProcessingTime
        for result in results
        if not result.Prediction.startswith(ERROR_PREFIX)
    }
    counts = Counter(result.id for result in results)
    repeated = tuple(task for task, count in counts.items() if count > 1)
    return FileReading(answered, errors, repeated, rungs=rungs)


def _parse_tolerantly(content: bytes) -> FileReading:
    try:
        data = python_json(content)
    except json.JSONDecodeError as error:
        raise UnreadableFile(f"is not whole JSON (line {error.lineno}: {error.msg}): {_MEND}") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"is not UTF-8 text (byte {error.start}): {_MEND_DAMAGED}") from error
    except (RecursionError, ValueError) as error:
        raise UnreadableFile(f"holds JSON that cannot be read ({error}): {_MEND}") from error
    entries = data.get("results") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise UnreadableFile("has no list `results`: it is no file of results; move it away or rename it")
    return reduce_entries(entries)


def reduce_entries(entries: list[Any]) -> FileReading:
    """Results of any shape, an entry at a time; what cannot be used is counted in the problems."""
    answered: dict[TaskId, float | None] = {}
    errors: dict[TaskId, str] = {}
    rungs: dict[TaskId, int] = {}
    counts: Counter[TaskId] = Counter()
    without_id: list[int] = []
    without_prediction: list[TaskId] = []
    for position, entry in enumerate(entries, start=1):
        task = id_of(entry)
        if task is None:
            without_id.append(position)
            continue
        if "Prediction" not in entry:
            without_prediction.append(task)
            continue
        counts[task] += 1
        prediction = entry["Prediction"]
        if isinstance(prediction, str) and prediction.startswith(ERROR_PREFIX):
            errors[task] = prediction
            rungs[task] = rung_of(entry.get("Recovery"))
        else:
            answered[task] = seconds_of(entry)
    problems = []
    if without_id:
        problems.append(f"{_some('entry', 'entries', without_id)} without an id: not counted")
    if without_prediction:
        problems.append(
            f"{_some('result', 'results', without_prediction, 'id')} without Prediction: not counted"
        )
    return FileReading(
        answered,
        errors,
        tuple(task for task, count in counts.items() if count > 1),
        tuple(problems),
        {task: rung for task, rung in rungs.items() if rung},
    )


def rung_in(recovery: msgspec.Raw) -> int:
    """The rung that the text of a `Recovery` names; 0 where it names none."""
    if recovery is NO_RECOVERY:
        return 0
    try:
        return rung_of(msgspec.json.decode(recovery))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # It was passed over unread so far, and may hold what is no text, or a number that no float can hold.
        return 0


def id_of(entry: object) -> TaskId | None:
    """The id of one result; None when it has none that could be one."""
    task = entry.get("id") if isinstance(entry, dict) else None
    if isinstance(task, float) and task.is_integer():
        return int(task)
    return task if isinstance(task, (int, str)) and not isinstance(task, bool) else None


def twin_of(task: TaskId) -> TaskId | None:
    """The same number as text, or the number that a text is; None for other texts."""
    if isinstance(task, int):
        return str(task)
    # Python refuses to make a number of thousands of digits.
    if len(task) > _MOST_DIGITS or not (task.isascii() and task.isdecimal()):
        return None
    number = int(task)
    return number if str(number) == task else None


def seconds_of(entry: dict[str, Any]) -> float | None:
    seconds = entry.get("ProcessingTime")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return None
    # A whole number of hundreds of digits is no float, and NaN is below nothing.
    return float(seconds) if abs(seconds) < LONGEST_SECONDS else None


def _some(one: str, many: str, where: list[Any], what: str = "number") -> str:
    return f"{len(where)} {one if len(where) == 1 else many} ({what} {listed(where)})"


def _read_apart(path: Path | str) -> FileReading:
    command = [sys.executable, "-m", "hitui.adapters.checkpoints.results_file", str(Path(path).absolute())]
    try:
        # Python takes modules from the folder that it is started in first, and whose that is nobody knows.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", check=False)
    except OSError as error:
        raise UnreadableFile(
            f"is huge, and no process to read it could be started: {error.strerror}"
        ) from error
    if done.returncode == 0:
        try:
            return FileReading(*marshal.loads(done.stdout))
        except (TypeError, ValueError, EOFError) as error:
            raise UnreadableFile(
                "is huge, and the process that read it is of another version of hitui than this; start this one again"
            ) from error
    if done.returncode == _REFUSED:
        # Above it Python may have put warnings.
        raise UnreadableFile(done.stderr.decode(errors="replace").splitlines()[-1])
    raise UnreadableFile(
        f"is huge, and the process that read it ended with status {done.returncode}: "
        "it was changed meanwhile or memory ran out; it is tried again when the file changes"
    )


def _main(path: Path) -> int:
    # Half of the machine: a file that needs more is refused in one line rather than by the kernel's killer.
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    resource.setrlimit(resource.RLIMIT_AS, (half, half))
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            reading = parse_results(content)
            # Unlike JSON and msgpack it knows numbers above 64 bits and text that is none (lone surrogates).
            found = marshal.dumps(msgspec.structs.astuple(reading))
    except OSError as error:
        return _refuse(f"cannot be read: {error.strerror}")
    except UnreadableFile as error:
        return _refuse(str(error))
    except MemoryError:
        return _refuse("is too large for the memory of this machine: split it, or move it away")
    sys.stdout.buffer.write(found)
    return 0


def _refuse(line: str) -> int:
    sys.stderr.write(f"{line}\n")
    return _REFUSED


if __name__ == "__main__":
    raise SystemExit(_main(Path(sys.argv[1])))
