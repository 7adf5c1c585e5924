"""One file with the results of a config that lie in several: shards, reruns, journals.

The file is a `checkpoint_merged.json` in `<output>_merged/`, as the benchmark's own merged runs have it: an object
with `results` in the order of the question list and `processed_ids`, those of the answered ones. Which result of a
task counts is decided as everywhere: an answer is never replaced by an error, else the later one counts. Each
result is taken as it stands, with all its keys; with which settings they were made is written beside them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from hitui.adapters.checkpoints.reading import Reading
from hitui.adapters.files.atomic import keep_copy_once, write_atomically
from hitui.adapters.files.look import is_file
from hitui.domain.configs import Config
from hitui.domain.tasks import TaskId, TaskStatus
from hitui.errors import WorkspaceError
from hitui.services.results import is_error, listed_ids, results_that_count, sources_of
from hitui.services.rollback import is_ours
from hitui.services.run_records import RUN, carry_over

NAME = "checkpoint_merged.json"
MARK = {"written_by": "hitui"}
"""At the end of every file of results that we wrote."""


class Merge(msgspec.Struct, frozen=True):
    """What one merge came to."""

    config: str
    path: Path
    written: bool
    """False: the file was there with the same content."""
    copy: Path | None
    """Where the file that stood there before is kept; None: there was none, or it was ours."""
    total: int | None
    """Of the question list; None: there is none."""
    answered: int
    """Of the question list; without one, of all."""
    errors: tuple[TaskId, ...]
    missing: tuple[TaskId, ...]
    blocked: tuple[TaskId, ...]
    unknown: tuple[TaskId, ...]
    """With a result, but not in the question list: at the end of the file."""
    sources: tuple[Path, ...]


def merged_path(config: Config) -> Path:
    """Where the merged file of a config lies unless another place is asked for."""
    output = Path(config.output)
    return output.with_name(f"{output.name}_merged") / NAME


def merge_results(reading: Reading, path: Path | None = None) -> Merge:
    """Writes the merged file of a config. Raises WorkspaceError, and then no result was written.

    A file at that place that hitui did not write is copied first.
    """
    state, config = reading.state, reading.state.config
    if state.unit != "tasks":
        raise WorkspaceError(f"{config.name}: counts {state.unit}, not tasks: it has no results to merge")
    if state.hides_answers:
        why = state.problems[0] if state.problems else "a file of its results cannot be read"
        raise WorkspaceError(
            f"{config.name}: nothing merged, there may be answers that cannot be read: {why}"
        )
    tasks = reading.tasks
    path = merged_path(config) if path is None else path
    sources, listed = sources_of(config), listed_ids(reading)
    found = results_that_count(sources, listed)
    if not found:
        raise WorkspaceError(f"{config.name}: there are no results to merge")
    ordered, unknown = _in_order(found, listed)
    results = [*ordered.values(), *unknown.values()]
    processed = [result["id"] for result in results if not is_error(result)]
    content = _encode({"results": results, "processed_ids": processed, **MARK})
    written = not _is_there(path, content)
    # First, as runs do it: no result is there whose settings are on record nowhere.
    made_by = {str(result.get(RUN)) for result in results}
    carry_over({source.parent for source in sources}, path.parent, made_by)
    copy = _write(path, content) if written else None
    if written:
        _date_as_newest(path, sources)
    blocked = tuple(task.id for task in tasks if task.status is TaskStatus.BLOCKED)
    failed = [task for task, result in ordered.items() if is_error(result)]
    return Merge(
        config.name,
        path,
        written,
        copy,
        state.total,
        len(ordered) - len(failed),
        tuple(task for task in failed if task not in blocked),
        tuple(task.id for task in tasks if task.status is TaskStatus.MISSING),
        blocked,
        tuple(unknown),
        sources,
    )


def _in_order(
    found: dict[TaskId, dict[str, Any]], listed: Collection[TaskId]
) -> tuple[dict[TaskId, dict[str, Any]], dict[TaskId, dict[str, Any]]]:
    """The results by the ids of the question list, in its order, and those with other ids.

    Without a list all are sorted by id.
    """
    if not listed:
        ids = sorted(found, key=lambda task: (isinstance(task, str), task))
        return {task: found[task] for task in ids}, {}
    ordered = {task: found[task] for task in listed if task in found}
    return ordered, {task: result for task, result in found.items() if task not in ordered}


def _encode(value: object) -> bytes:
    """As the benchmark's programs write it; what UTF-8 cannot hold (half of a surrogate pair) is escaped."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=2).encode()


def _is_there(path: Path, content: bytes) -> bool:
    """Whether the file has this content already; its folder is made where there is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not is_file(path):
            raise WorkspaceError(
                f"{path}: is no regular file; move it away, or give another place by --output"
            )
        return path.exists() and path.read_bytes() == content
    except OSError as error:
        raise WorkspaceError(
            f"{path}: cannot be written: {error.strerror}; nothing was changed, give another place by --output"
        ) from error


def _write(path: Path, content: bytes) -> Path | None:
    """The copy of what stood there before."""
    copy = keep_copy_once(path) if path.exists() and not is_ours(path) else None
    write_atomically(path, content)
    return copy


def _date_as_newest(path: Path, sources: Iterable[Path]) -> None:
    """Makes the file as old as the newest of what it holds: no result and no score is older for it."""
    # Where that cannot be they are scored again, which costs a call at most.
    with contextlib.suppress(OSError, ValueError):
        newest = max(source.stat().st_mtime_ns for source in sources if source != path)
        os.utime(path, ns=(newest, newest))
