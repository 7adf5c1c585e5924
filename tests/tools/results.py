"""Writes results, question lists and datasets of a test's own making, in the layouts of the real ones."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hitui.adapters.checkpoints.catalogue import Catalogue, Reading
from hitui.domain.configs import ConfigState
from hitui.domain.tasks import Task, TaskStatus
from hitui.settings import Settings

REPORT: dict[str, Any] = {
    "metadata": {"modality": "mix", "format": "html"},
    "statistics": {"total_tasks": 10, "completed": 8, "success": 7, "error": 1, "missing": 2},
    "skip_ids": [4, 5],
    "error_ids": [6],
    "skip_reasons": {"4": "Missing source file(s): table4.html", "5": "Incomplete run"},
    "categorized": {"file_dependency_issues": [4], "incomplete_runs": [5]},
}
"""A `skip_ids.json` of ten tasks."""

TOO_LARGE = "[ERROR] OOM: Text too large (99999 tokens)"
NO_ANSWER = "[ERROR] Failed to get proper final answer"


def answer(task: int | str, text: str = "[Final Answer]: 7", seconds: float = 2.0) -> dict[str, Any]:
    return {
        "id": task,
        "FileName": f"table{task}",
        "QuestionType": "Fact Checking",
        "Question": "?",
        "Reference": "7",
        "Prediction": text,
        "Metrics": {"F1": 100.0},
        "ProcessingTime": seconds,
    }


def failure(task: int | str, text: str = TOO_LARGE) -> dict[str, Any]:
    return {**answer(task, text), "Metrics": {}, "ProcessingTime": 0}


def write_results(
    path: Path, results: Iterable[Mapping[str, Any]], at: float | None = None, **top: Any
) -> Path:
    """A result file; `at` sets its modification time (seconds)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**top, "results": list(results)}, indent=2), encoding="utf-8")
    if at is not None:
        os.utime(path, (at, at))
    return path


def append_lines(path: Path, results: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(result) + "\n" for result in results)
    return path


def write_questions(path: Path, ids: Iterable[int | str], types: Mapping[Any, str] | None = None) -> Path:
    """A question list; question N is about the table `tableN`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    queries = [
        {
            "id": task,
            "FileName": f"table{task}",
            "Question": "How many?",
            "QuestionType": (types or {}).get(task, "Fact Checking"),
        }
        for task in ids
    ]
    path.write_text(json.dumps({"queries": queries}), encoding="utf-8")
    return path


def write_dataset(folder: Path, names: Iterable[str]) -> Path:
    """Empty files for every table, in every subfolder."""
    endings = {"html": "html", "csv": "csv", "latex": "txt", "markdown": "md", "json": "json"}
    for subfolder, ending in {**endings, "image": "png", "tables": "xlsx"}.items():
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / subfolder / f"{name}.{ending}").touch()
    return folder


def write_workspace(root: Path) -> Path:
    """Eight questions and two configs below `result/g`: `image` is whole, `text_html` is not.

    Of that 1 and 2 are answered, 3, 4 and 5 failed, 6 and 7 are missing; 8 lacks its table.
    """
    write_questions(root / "data" / "questions.json", range(1, 9))
    write_dataset(root / "data", [f"table{number}" for number in range(1, 9)])
    (root / "data" / "html" / "table8.html").unlink()
    write_results(
        root / "result" / "g" / "text_html" / "results.json",
        [answer(1), answer(2), failure(3), failure(4), failure(5, NO_ANSWER)],
        config={"modality": "text", "format": "html"},
    )
    write_results(root / "result" / "g" / "image" / "results.json", [answer(task) for task in range(1, 9)])
    return root


def write_trainer_checkpoint(folder: Path, step: int, of: int = 100) -> Path:
    """A `checkpoint-N` that a run can resume from: whole files in the real formats, next to nothing in them."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    write_safetensors(checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(checkpoint / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    write_trainer_state(checkpoint, step, of)
    return checkpoint


def write_trainer_state(folder: Path, step: int, of: int = 100) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = {"global_step": step, "max_steps": of, "log_history": []}
    (folder / "trainer_state.json").write_text(json.dumps(state))


def write_safetensors(path: Path) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))


def read(workspace: Path, name: str = "g/mix_html") -> Reading:
    catalogue = Catalogue(Settings(root=workspace))
    return catalogue.read(catalogue.find(name))


def counts(state: ConfigState) -> tuple[int, int, int, int]:
    return state.done, state.errors, state.missing, state.blocked


def with_status(tasks: tuple[Task, ...], status: TaskStatus) -> list[object]:
    return [task.id for task in tasks if task.status is status]
