"""The real workspace, from end to end: a rerun runs exactly what is pending and changes nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tools.real_data import real_data
from tests.tools.sandbox import Sandbox
from tests.tools.workspaces import copy_real

SOURCE = real_data()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent"),
]

NAME = "qwen3vl_text/text_html"
SETTINGS = """
[workspace]
results = ["result"]
questions = "data/QA_final_sc_filled.json"
data = "data"

[gpus]
hold = "0s"

[runner.demo]
engine = "demo"

[runner.tiny]
engine = "transformers"
model = "{model}"
max_input_tokens = 1500
max_new_tokens = 8

[[config]]
name = "qwen3vl_text/text_html"
runner = "{runner}"
modality = "text"
format = "html"
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    assert SOURCE is not None
    return copy_real(tmp_path / "workspace", SOURCE)


def results_of(path: Path) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))["results"]}


def row_of(sandbox: Sandbox) -> dict[str, Any]:
    return next(row for row in sandbox.json("ls") if row["name"] == NAME)


def check_rerun(sandbox: Sandbox, engine: str, *some: int) -> None:
    """Reruns `some` of what failed, by default all."""
    folder = sandbox.workspace / "result" / "complied" / "qwen3vl_text" / "text_html"
    failed = set(json.loads((folder / "skip_ids.json").read_text())["error_ids"])
    before = {path: path.read_bytes() for path in (sandbox.workspace / "result").rglob("*") if path.is_file()}
    row = row_of(sandbox)
    assert (row["total"], row["done"], row["errors"], row["missing"], row["blocked"]) == (
        3071,
        3046,
        17,
        0,
        8,
    )

    words = ("run", NAME, "--ids", ",".join(map(str, some))) if some else ("rerun", NAME)
    run = sandbox.hitui(*words, "--wait")
    rerun = set(some) or failed
    assert rerun <= failed

    assert {path: path.read_bytes() for path in before} == before
    journal = [
        json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(result["id"] for result in journal) == sorted(rerun)
    assert {result["Engine"] for result in journal} == {engine}
    snapshot, original = results_of(folder / "checkpoint.json"), results_of(folder / "results.json")
    assert set(snapshot) == set(original)
    assert {number: row for number, row in snapshot.items() if number not in rerun} == {
        number: row for number, row in original.items() if number not in rerun
    }
    # A model of random weights hardly ever finds the wanted form; what it did is what must be counted.
    still = sum(result["Prediction"].startswith("[ERROR") for result in journal)
    assert run.returncode == (1 if still else 0), run.stdout + run.stderr
    row = row_of(sandbox)
    errors = len(failed) - len(rerun) + still
    assert (row["done"], row["errors"], row["missing"], row["blocked"]) == (3063 - errors, errors, 0, 8)
    assert row["pending"] == errors


def test_the_demo_engine_reruns_the_seventeen(workspace: Path, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "box", workspace) as sandbox:
        sandbox.settings(SETTINGS.format(runner="demo", model="unused"))
        check_rerun(sandbox, "demo")
        assert row_of(sandbox)["state"] == "whole"
        folder = workspace / "result" / "complied" / "qwen3vl_text" / "text_html"
        journal = (folder / "results.jsonl").read_bytes()
        assert sandbox.hitui("rerun", NAME, "--wait").returncode == 0
        assert (folder / "results.jsonl").read_bytes() == journal


@pytest.mark.model
def test_a_tiny_model_runs_some_of_the_seventeen(workspace: Path, tmp_path: Path, tiny_model: Path) -> None:
    """Not all: to tell how much is cut off its tables of megabytes takes its tokenizer longer than all else."""
    with Sandbox(tmp_path / "box", workspace) as sandbox:
        sandbox.settings(SETTINGS.format(runner="tiny", model=tiny_model))
        check_rerun(sandbox, "transformers", 2747, 2748)


def test_rolled_back_it_is_as_it_was(workspace: Path, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "box", workspace) as sandbox:
        sandbox.settings(SETTINGS.format(runner="demo", model="unused"))
        before = row_of(sandbox)
        assert sandbox.hitui("rerun", NAME, "--wait").returncode == 0
        assert sandbox.hitui("rollback", NAME).returncode == 0
        after = row_of(sandbox)
        assert {key: after[key] for key in ("done", "errors", "missing", "blocked", "updated")} == {
            key: before[key] for key in ("done", "errors", "missing", "blocked", "updated")
        }
