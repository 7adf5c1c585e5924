"""Results on disk: reading them tolerantly, and which of two counts.

A result is an object with `id`, `FileName`, `QuestionType`, `SubQType`, `Question`, `Reference`, `Prediction`,
`Metrics`, `ProcessingTime`; ours carry `Recovery` where something was changed, `Engine`, and `Settings`: the id of
the run that made it, of those in `run_settings.json` beside it. It is an error
when its `Prediction` starts with `[ERROR`. A success is never replaced by an error; otherwise the later result
wins. Nothing here trusts `processed_ids`: files of other tools list the failed ids there too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from hitui_runners.realhitbench.recovery import tried_rung

Result = dict[str, Any]
TaskId = int | str

RESULT_NAME = re.compile(r"(checkpoint(_\w+)?\.json|results.*\.jsonl?)")
"""Files of results, as a whole match; the dashboard counts the same ones."""
_BEGINS = re.compile(r'(\{\s*("|\Z)|\Z)')
"""How a line of a journal begins, however soon it ends."""
MARK = {"written_by": "hitui"}
"""In every checkpoint that we wrote."""
MAX_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8
"""Of a larger file the bytes, their text and the answers in it, which are there at once, could take half of the machine."""


class Unreadable(Exception):
    """A result file of no use; the message says why, without the file's name."""


def is_error(result: Result) -> bool:
    prediction = result.get("Prediction")
    return isinstance(prediction, str) and prediction.startswith("[ERROR")


def plain_id(task: TaskId) -> TaskId:
    """The id as the question list has it: the number where a program wrote that as text."""
    return _number(task) if isinstance(task, str) else task


def _number(text: str) -> TaskId:
    """The number that a text is; itself where it is none. Python makes no number of thousands of digits."""
    if len(text) > 100 or not (text.isascii() and text.isdecimal()) or str(int(text)) != text:
        return text
    return int(text)


def result_files(folders: Iterable[Path]) -> tuple[Path, ...]:
    """The files and journals of results in `folders`, oldest first, of one age by their paths."""
    files = {path for folder in folders for path in folder.glob("*") if RESULT_NAME.fullmatch(path.name)}
    return tuple(sorted(files, key=lambda path: (age_of(path), str(path))))


def rungs_tried(result: Result) -> tuple[int, int]:
    """On how many GPUs, and how far up the recovery ladder on these, a result was made."""
    recovery = result.get("Recovery")
    tried = tried_rung(recovery if isinstance(recovery, dict) else {})
    return tried.gpus, tried.number


def age_of(path: Path) -> int:
    """When it was last written, in ns since the epoch."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        # A link to nowhere, or a file that has just gone: whoever reads it says so.
        return 0


@dataclass(frozen=True)
class Content:
    """Whatever stands in a file or journal of results."""

    entries: list[Any]
    """Those that are no results too."""
    beside: dict[str, Any]
    """What stands beside the list of them; empty for a journal and for a bare list."""
    torn: bool
    """Whether the last line of a journal was torn; it is not among the entries."""


def load_results(path: Path, warn: Callable[[str], None]) -> tuple[list[Result], bool]:
    """The results in a file or journal, and whether it is a checkpoint with our mark. Raises Unreadable."""
    content = load_content(path, warn)
    return [entry for entry in content.entries if is_result(entry)], MARK.items() <= content.beside.items()


def load_content(path: Path, warn: Callable[[str], None]) -> Content:
    """All that stands in a file or journal; broken lines of a journal are named. Raises Unreadable."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # A pipe would be waited for without an end.
            raise Unreadable("is no regular file")
        if path.suffix == ".jsonl":
            data = path.read_bytes()
            entries, whole = _journal_entries(data, lambda line: warn(f"{path}: {line}"))
            return Content(entries, {}, torn=whole < len(data))
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise Unreadable(
                f"is too large for the memory of this machine ({size // 1024**2} MiB): split it, or move it away"
            )
        if not size:
            raise Unreadable("is empty")
        data = _parse(path.read_bytes())
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is half written or no JSON: {error}") from error
    results = data.get("results") if isinstance(data, dict) else data
    if not isinstance(results, list):
        raise Unreadable("holds no list of results")
    beside = {key: value for key, value in data.items() if key != "results"} if isinstance(data, dict) else {}
    return Content(results, beside, torn=False)


def is_result(value: object) -> TypeGuard[Result]:
    """An object with an id that can be one, and a `Prediction`."""
    return isinstance(value, dict) and task_id(value) is not None and "Prediction" in value


def task_id(entry: Result) -> TaskId | None:
    """The id of a result or question, 5 where 5.0 is written; None when there is none that can be one."""
    identifier = entry.get("id")
    if isinstance(identifier, float) and identifier.is_integer():
        return int(identifier)
    return identifier if isinstance(identifier, (int, str)) and not isinstance(identifier, bool) else None


def parse_journal(data: bytes, warn: Callable[[str], None]) -> tuple[list[Result], int]:
    """The results in a journal, and how many of its bytes are whole lines.

    A last line without its end was torn by a kill and is not counted, unless it is complete JSON. A broken
    line further up is named and passed over.
    """
    entries, end = _journal_entries(data, warn)
    return [entry for entry in entries if is_result(entry)], end


def _parse(content: bytes) -> Any:
    """What stands in JSON text. Raises ValueError and RecursionError.

    A byte that is no UTF-8, or a number of more digits than Python reads, costs no answer, unless it stands in it.
    """
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        try:
            data = json.loads(content.decode("utf-8-sig", "surrogateescape"), parse_int=_whole_number)
        except ValueError:
            raise error from None
        if any(_is_damaged(entry.get(key)) for entry in _entries(data) for key in ("id", "Prediction")):
            raise
        return data
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(content, parse_int=_whole_number)


def _entries(data: Any) -> list[Result]:
    """The objects of a list of results, in an object too, or the one of a line."""
    results = data.get("results", [data]) if isinstance(data, dict) else data
    return [entry for entry in results if isinstance(entry, dict)] if isinstance(results, list) else []


def _is_damaged(value: object) -> bool:
    return isinstance(value, str) and any("\udc80" <= letter <= "\udcff" for letter in value)


def _whole_number(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _journal_entries(data: bytes, warn: Callable[[str], None]) -> tuple[list[Any], int]:
    entries: list[Any] = []
    end = 0
    # A carriage return ends no line: it may stand between the words of one.
    for number, line in enumerate(io.BytesIO(data), start=1):
        try:
            if line.strip():
                entries.append(_parse(line))
        except (ValueError, RecursionError):
            if not line.endswith(b"\n"):
                return entries, end
            warn(f"line {number} is no JSON and is passed over")
        end += len(line)
    return entries, end


def is_torn(tail: bytes) -> bool:
    """Whether what stands behind a journal's last line end is the beginning of one line, as a kill leaves it, or nothing;
    else there may be more than one result in it."""
    text = tail.decode("utf-8", errors="replace").strip("\0\ufeff \t\r\n")
    if not _BEGINS.match(text) or "\0" in text:
        return False
    try:
        with contextlib.suppress(RecursionError):
            json.JSONDecoder().raw_decode(text)
    except ValueError:
        return True
    return False


def encode(value: object, indent: int | None = None) -> bytes:
    """JSON in UTF-8; what UTF-8 cannot hold (half of a surrogate pair) is escaped, not lost."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent).encode()
