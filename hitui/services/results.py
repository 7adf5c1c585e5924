"""The results of a config one by one, as they stand in its files: of each task the one that counts."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from hitui.adapters.checkpoints.python_json import python_json
from hitui.adapters.checkpoints.reading import Reading
from hitui.adapters.checkpoints.result_listing import is_result_file, list_files
from hitui.adapters.checkpoints.results_file import id_of, twin_of
from hitui.domain.configs import Config
from hitui.domain.tasks import ERROR_PREFIX, Task, TaskId, TaskStatus
from hitui.errors import WorkspaceError


class Result(msgspec.Struct, frozen=True):
    """What is known of one task."""

    id: TaskId
    task: Task | None
    """None: it is not in the question list."""
    content: Mapping[str, Any] | None
    """As it stands in its file; None: there is none."""


def read_results(reading: Reading) -> dict[str, Result]:
    """Every task of a config and everything that has a result, by the id as text.

    Raises WorkspaceError where a file cannot be read, and for what counts no tasks.
    """
    if reading.state.unit != "tasks":
        unit = reading.state.unit
        raise WorkspaceError(f"{reading.state.name}: counts {unit}, not tasks: it has no results to show")
    contents = results_that_count(sources_of(reading.state.config), listed_ids(reading))
    tasks = {task.id: task for task in reading.tasks}
    return {str(id): Result(id, tasks.get(id), contents.get(id)) for id in {**tasks, **contents}}


def facts_of(result: Result) -> list[tuple[str, str]]:
    """Label and text of all that is on record: the keys by their own names, as other programs may write more."""
    facts = [("id", str(result.id)), ("state", _state(result.task))]
    for key, value in (result.content or {}).items():
        if key != "id":
            facts.append((key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return facts


def _state(task: Task | None) -> str:
    if task is None:
        return "not in the question list"
    # The error's text is the prediction.
    told = "" if task.status in (TaskStatus.DONE, TaskStatus.ERROR) else f": {task.reason}"
    error = f", {task.error.value.replace('_', ' ')}" if task.error is not None else ""
    return f"{task.status.value}{error}{told}"


def sources_of(config: Config) -> tuple[Path, ...]:
    """Its files of results, in the order in which they count."""
    return tuple(Path(file) for file, _ in list_files(config.folders, is_result_file).files)


def listed_ids(reading: Reading) -> dict[TaskId, None]:
    """The ids of the question list, in its order; none where there is no list."""
    return {task.id: None for task in reading.tasks} if reading.state.total is not None else {}


def results_that_count(sources: Iterable[Path], listed: Collection[TaskId]) -> dict[TaskId, dict[str, Any]]:
    """By id the result that counts, of files in the order in which they count.

    Some programs write an id as text that the list has as a number. Raises WorkspaceError where a file cannot be read.
    """
    found: dict[TaskId, dict[str, Any]] = {}
    for result in chain.from_iterable(map(_results_in, sources)):
        task = _task(result)
        twin = twin_of(task)
        if (
            task not in listed
            and twin is not None
            and (twin in listed or (not listed and isinstance(twin, int)))
        ):
            task = twin
        before = found.get(task)
        if before is None or is_error(before) or not is_error(result):
            found[task] = result
    return found


def is_error(result: dict[str, Any]) -> bool:
    prediction = result["Prediction"]
    return isinstance(prediction, str) and prediction.startswith(ERROR_PREFIX)


def _results_in(path: Path) -> Iterator[dict[str, Any]]:
    """Whatever of a file is a result. Raises WorkspaceError where it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot be read: {error.strerror}; make it readable") from error
    entries: Any
    if path.suffix == ".jsonl":
        entries = [_line(line) for line in io.BytesIO(content)]
    else:
        try:
            data = python_json(content)
        except (ValueError, RecursionError) as error:
            raise WorkspaceError(f"{path}: is no JSON: {error}; put a whole copy there") from error
        entries = data.get("results") if isinstance(data, dict) else data
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and id_of(entry) is not None and "Prediction" in entry:
            yield entry


def _line(line: bytes) -> object:
    """None for a line that is no JSON: torn, or of something else."""
    try:
        return python_json(line)
    except (ValueError, RecursionError):
        return None


def _task(result: dict[str, Any]) -> TaskId:
    task = id_of(result)
    assert task is not None
    return task
