"""Of a task that failed in several folders counts the try that went furthest: a shard's file changes with its others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.store import ResultStore

from hitui.domain.recovery import EXHAUSTED, exhausted_on
from tests.tools.results import NO_ANSWER, TOO_LARGE, append_lines, failure, read, write_workspace

TASK = 7


def tried(rung: int, text: str = TOO_LARGE, gpus: int = 1) -> dict[str, Any]:
    recovery = {"gpus": gpus} if gpus > 1 else {}
    return {**failure(TASK, text), "Recovery": recovery | ({"rung": rung} if rung else {})}


def shards(root: Path, *results: dict[str, Any]) -> list[Path]:
    """A journal for each result, the last one changed last."""
    output = write_workspace(root) / "result" / "g" / "text_html"
    folders = []
    for number, result in enumerate(results):
        folders.append(output.with_name(f"{output.name}_shard{number}"))
        path = append_lines(folders[-1] / "results.jsonl", [result])
        os.utime(path, (2e9 + number, 2e9 + number))
    return folders


@pytest.mark.parametrize(
    ("results", "rung", "gpus"),
    [
        ([tried(4, TOO_LARGE + EXHAUSTED), tried(0)], 4, 1),
        ([tried(4, TOO_LARGE + EXHAUSTED), tried(2), tried(0)], 4, 1),
        ([tried(0), tried(4, TOO_LARGE + EXHAUSTED)], 4, 1),
        (
            [tried(3, TOO_LARGE + EXHAUSTED + " on 2 GPUs", 2), tried(4, TOO_LARGE + EXHAUSTED), tried(0)],
            3,
            2,
        ),
        ([tried(3), tried(2)], 3, None),
        # Whatever it was tried at, it failed otherwise since then.
        ([tried(4, TOO_LARGE + EXHAUSTED), tried(0, NO_ANSWER)], 0, None),
    ],
)
def test_the_try_that_went_furthest_counts(
    tmp_path: Path, results: list[dict[str, Any]], rung: int, gpus: int | None
) -> None:
    shards(tmp_path, *results)
    reading = read(tmp_path, "g/text_html")
    (task,) = (task for task in reading.tasks if task.id == TASK)
    assert (task.rung, exhausted_on(task)) == (rung, gpus)
    assert reading.state.exhausted == (() if gpus is None else ((gpus, 1),))


def test_a_runner_goes_on_above_it_whichever_folder_is_its_own(tmp_path: Path) -> None:
    folders = shards(tmp_path, tried(4, TOO_LARGE + EXHAUSTED), tried(2), tried(0))
    for own in (*folders, tmp_path / "new"):
        store = ResultStore(own, print, [folder for folder in folders if folder != own])
        result = store.result(TASK)
        store.close()
        assert result is not None
        assert result["Recovery"] == {"rung": 4}
