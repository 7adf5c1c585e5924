"""`hitui show`: one result as it stands in its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.results import (
    TOO_LARGE,
    answer,
    append_lines,
    failure,
    write_trainer_checkpoint,
    write_workspace,
)
from tests.tools.sandbox import Sandbox


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "workspace")


@pytest.fixture
def sandbox(tmp_path: Path, workspace: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path, workspace) as sandbox:
        yield sandbox


@pytest.fixture
def output(workspace: Path) -> Path:
    return workspace / "result" / "g" / "text_html"


def test_the_result_that_counts_is_shown_whole(sandbox: Sandbox, output: Path) -> None:
    rerun = {**answer(3, "one\n\n  two\x1b[2J", 0.5), "Recovery": {"rung": 2}, "Note": ""}
    append_lines(output / "results.jsonl", [rerun, failure(3), answer(99)])
    run = sandbox.hitui("show", "text_html", "3", "8")
    assert run.stdout.splitlines() == [
        "id              3",
        "state           done",
        "FileName        table3",
        "QuestionType    Fact Checking",
        "Question        ?",
        "Reference       7",
        "Prediction      one",
        "",
        "                  two␛[2J",
        'Metrics         {"F1": 100.0}',
        "ProcessingTime  0.5",
        'Recovery        {"rung": 2}',
        "Note",
        "",
        "id     8",
        "state  blocked: missing file: table8.html",
    ]
    shown, unlisted = sandbox.json("show", "text_html", "3", "99")
    assert shown == {"id": 3, "status": "done", "class": None, "reason": "", "result": rerun}
    assert unlisted == {"id": 99, "status": None, "class": None, "reason": "", "result": answer(99)}


def test_an_error_is_shown_with_its_class_and_told_once(sandbox: Sandbox) -> None:
    run = sandbox.hitui("show", "text_html", "3")
    assert "state           error, text too large\n" in run.stdout
    assert run.stdout.count(TOO_LARGE) == 1
    failed, missing, blocked = sandbox.json("show", "text_html", "3", "6", "8")
    assert (failed["status"], failed["class"]) == ("error", "text_too_large")
    assert (missing["status"], missing["result"]) == ("missing", None)
    assert blocked["reason"] == "missing file: table8.html"


def test_a_task_that_nobody_knows_and_what_has_no_tasks(sandbox: Sandbox, workspace: Path) -> None:
    run = sandbox.hitui("show", "text_html", "3", "77")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "hitui: g/text_html: no task 77, neither in a question list nor with a result\n"
    write_trainer_checkpoint(workspace / "runs" / "translator", 50)
    run = sandbox.hitui("show", "translator", "3")
    assert (run.returncode, run.stdout) == (1, "")
    assert "runs/translator: counts steps, not tasks" in run.stderr
