"""The report `skip_ids.json` that lies beside results: read where it is all there is, and written.

Its keys are `metadata`, `statistics`, `skip_ids` (no result at all), `error_ids`, `skip_reasons` (id as
text → reason) and `categorized` (`file_dependency_issues`: an input is absent, `incomplete_runs`: the rest).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from hitui.adapters.checkpoints.reading import UnreadableFile
from hitui.adapters.files.atomic import keep_copy_once, write_atomically
from hitui.adapters.files.look import identity_of, is_file
from hitui.decoding import convert, json_decoder
from hitui.domain.configs import Config, ConfigState
from hitui.domain.tasks import INPUT_ABSENT, ErrorClass, Task, TaskId, TaskStatus
from hitui.errors import WorkspaceError

NAME = "skip_ids.json"
INCOMPLETE = "Incomplete run or processing error (files exist but task not processed)"
ABSENT = "Missing source file(s): "


class Statistics(msgspec.Struct):
    total_tasks: int = 0
    completed: int = 0
    """Tasks with a result, failed ones included."""
    success: int = 0
    error: int = 0
    missing: int = 0
    """Tasks without any result, those with an absent input included."""
    file_dependency_issues: int = 0
    incomplete_runs: int = 0


class Categories(msgspec.Struct):
    file_dependency_issues: list[TaskId] = []
    incomplete_runs: list[TaskId] = []


class Metadata(msgspec.Struct):
    result_file: str | None = None
    config: str | None = None
    modality: str | None = None
    format: str | None = None
    analysis_time: str = ""
    master_task_list: str | None = None


class SkipReport(msgspec.Struct):
    metadata: Metadata
    statistics: Statistics
    skip_ids: list[TaskId]
    error_ids: list[TaskId] = []
    skip_reasons: dict[str, str] = {}
    categorized: Categories = msgspec.field(default_factory=Categories)


_decode = json_decoder(SkipReport)


def read_report(path: Path) -> SkipReport:
    """Raises UnreadableFile, with a line that does not name the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # A byte order mark, NaN and lone surrogates are no JSON; Python's module reads them all the same.
        return convert(json.loads(content), SkipReport)
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        raise UnreadableFile(
            f"is no report of missing tasks ({error}): write it anew with `hitui analyze --write`"
        ) from error


def make_report(tasks: Sequence[Task], metadata: Metadata) -> SkipReport:
    """The report on one config. `error_ids` lists failed tasks also where an input is absent."""
    error_ids = [task.id for task in tasks if task.error is not None and task.status is not TaskStatus.DONE]
    skipped = [
        task
        for task in tasks
        if task.error is None and task.status in (TaskStatus.MISSING, TaskStatus.BLOCKED)
    ]
    absent = [task.id for task in skipped if task.status is TaskStatus.BLOCKED]
    incomplete = [task.id for task in skipped if task.status is TaskStatus.MISSING]
    done = sum(task.status is TaskStatus.DONE for task in tasks)
    return SkipReport(
        metadata=metadata,
        statistics=Statistics(
            total_tasks=len(tasks),
            completed=done + len(error_ids),
            success=done,
            error=len(error_ids),
            missing=len(skipped),
            file_dependency_issues=len(absent),
            incomplete_runs=len(incomplete),
        ),
        skip_ids=[task.id for task in skipped],
        error_ids=error_ids,
        skip_reasons={str(task.id): _reason(task) for task in skipped},
        categorized=Categories(absent, incomplete),
    )


def _reason(task: Task) -> str:
    if task.status is TaskStatus.BLOCKED:
        return ABSENT + task.reason.removeprefix(INPUT_ABSENT)
    return INCOMPLETE


def tasks_of(report: SkipReport) -> tuple[Task, ...]:
    """The tasks that a report names: those without an answer. The answered ones are only counted in it."""
    absent = set(report.categorized.file_dependency_issues)
    tasks = []
    for task in report.skip_ids:
        reason = report.skip_reasons.get(str(task), "")
        if task in absent:
            blocked = INPUT_ABSENT + reason.removeprefix(ABSENT)
            tasks.append(Task(task, TaskStatus.BLOCKED, None, blocked))
        else:
            tasks.append(Task(task, TaskStatus.MISSING, None, reason))
    listed = "listed in skip_ids.json"
    tasks += [Task(task, TaskStatus.ERROR, ErrorClass.OTHER, listed) for task in report.error_ids]
    return tuple(tasks)


def state_of(report: SkipReport, config: Config) -> ConfigState:
    """The config by a report alone, where no question list says which tasks there are."""
    absent = set(report.categorized.file_dependency_issues)
    missing = sum(task not in absent for task in report.skip_ids)
    return ConfigState(
        config,
        scanned=True,
        total=report.statistics.total_tasks,
        done=report.statistics.success,
        errors=len(report.error_ids),
        missing=missing,
        blocked=len(report.skip_ids) - missing,
        error_classes=((ErrorClass.OTHER, len(report.error_ids)),) if report.error_ids else (),
    )


def write_report(path: Path, report: SkipReport) -> Path | None:
    """Writes it atomically; a report that hitui did not write is kept once as a copy, which is returned.

    Raises WorkspaceError when the disk is full or read-only, or when what has the report's name is something else
    or cannot be read.
    """
    copy = None
    if identity_of(path) is not None:
        if not is_file(path):
            raise WorkspaceError(f"{path}: is no file, so no report was written; move it away")
        if not _is_ours(path):
            copy = keep_copy_once(path)
    write_atomically(path, _text(msgspec.to_builtins(report)))
    return copy


def _text(data: Any) -> bytes:
    # What UTF-8 cannot say, a lone surrogate, is escaped in Python as it is in JSON.
    return json.dumps(data, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _is_ours(path: Path) -> bool:
    """Ours say the time with its offset and read back byte for byte; any doubt means another's."""
    try:
        content = path.read_bytes()
        data = json.loads(content)
        time = datetime.fromisoformat(data["metadata"]["analysis_time"])
        return time.tzinfo is not None and _text(data) == content
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
