"""score as a user runs it: by file, folder and config, in the environment of the config's runner."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runners.charts import PLOT, chart_result, running, stub_python
from tests.tools.eventually import eventually
from tests.tools.results import answer, failure, write_results, write_trainer_checkpoint, write_workspace
from tests.tools.sandbox import Sandbox

__all__ = ["stub_python"]

PLAIN = str(Path(sys.base_prefix) / "bin" / "python3")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "workspace")


@pytest.fixture
def sandbox(tmp_path: Path, workspace: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path, workspace) as sandbox:
        yield sandbox


def settings(runners: str, runner: str = "ours") -> str:
    return f"""
    {runners}
    [[config]]
    name = "g/text_html"
    runner = "{runner}"
    modality = "text"
    format = "html"
    """


def python_that_tells(folder: Path, name: str) -> Path:
    """This Python, by another name, which notes that it was asked to score."""
    program = folder / name
    note = f'case "$*" in *" score "*) echo "{name}" >> "{folder}/asked";; esac'
    program.write_text(f'#!/bin/sh\n{note}\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    return program


def asked(folder: Path) -> list[str]:
    path = folder / "asked"
    return path.read_text().split() if path.exists() else []


def test_a_config_is_scored_with_all_its_folders(sandbox: Sandbox, workspace: Path) -> None:
    folder = workspace / "result" / "g"
    write_results(folder / "text_html_shard1" / "results.json", [answer(3, "7"), failure(1)])
    before = sandbox.json("ls")
    (report,) = sandbox.json("score", "text_html")
    assert (report["name"], report["scores_file"]) == ("g/text_html", str(folder / "text_html/scores.json"))
    counts = report["counts"]["Overall"]
    # 1, 2 and 3 are answered, 4 and 5 failed.
    assert (counts["results"], counts["failed"]) == (5, 2)
    assert report["aggregate_metrics"]["overall"]["EM"] == 20.0
    assert sandbox.json("ls") == before
    written = json.loads((folder / "text_html" / "scores.json").read_bytes())
    assert written["sources"] == ["results.json", "../text_html_shard1/results.json"]


def test_a_path_is_that_file_or_folder_alone(sandbox: Sandbox, workspace: Path) -> None:
    folder = workspace / "result" / "g"
    run = sandbox.hitui("score", str(folder), str(folder / "image" / "results.json"))
    assert run.returncode == 0, run.stderr
    heads = [line for line in run.stdout.splitlines() if not line.startswith(" ")]
    assert heads == [
        f"{folder}/image: 8 results, 0 failed (each counts as 0)",
        f"{folder}/text_html: 5 results, 3 failed (each counts as 0)",
        f"{folder}/image/results.json: 8 results, 0 failed (each counts as 0)",
    ]
    assert sorted(path.name for path in folder.rglob("scores*")) == [
        "scores.json",
        "scores.json",
        "scores_results.json",
    ]


def test_checked_nothing_is_written_and_a_difference_is_a_failure(sandbox: Sandbox, workspace: Path) -> None:
    run = sandbox.hitui("score", "--check", "image")
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    assert lines[0].endswith("image/results.json: 8 results; 0 of 8 stored scores equal")
    # `[Final Answer]: 7` stands there, and 7 was wanted.
    assert lines[1] == "  task 1: F1 is stored as 100.0, right is 50.00"
    checks: list[dict[str, Any]] = json.loads(sandbox.hitui("score", "--check", "image", "--json").stdout)
    assert [(check["compared"], check["equal"], check["passed"]) for check in checks] == [(8, 0, False)]
    assert list((workspace / "result").rglob("scores*")) == []


def test_the_python_is_that_of_the_configs_runner(sandbox: Sandbox, workspace: Path, tmp_path: Path) -> None:
    ours, other = python_that_tells(tmp_path, "ours"), python_that_tells(tmp_path, "other")
    runners = f"""
    [runner.other]
    engine = "demo"
    python = "{other}"
    [runner.ours]
    engine = "demo"
    python = "{ours}"
    [runner.theirs]
    command = ["true"]
    """
    sandbox.settings(settings(runners))
    assert sandbox.hitui("score", "text_html").returncode == 0
    assert asked(tmp_path) == ["ours"]
    assert sandbox.hitui("score", "text_html", "--runner", "other").returncode == 0
    assert asked(tmp_path) == ["ours", "other"]

    for words in (("image",), (str(workspace / "result"),)):
        run = sandbox.hitui("score", *words)
        assert run.returncode == 1
        assert run.stderr == (
            "hitui: hitui.toml: several runners have a Python of their own; say by --runner which one is to "
            "score: other, ours\n"
        )
    reports = sandbox.json("score", "text_html", "image", "--runner", "ours")
    assert [report["name"] for report in reports] == ["g/text_html", "g/image"]
    run = sandbox.hitui("score", "image", "--runner", "ourz")
    assert run.stderr.startswith("hitui: --runner ourz: there is no such runner")

    sandbox.settings(settings(runners.replace(str(other), str(ours)), "theirs"))
    assert sandbox.hitui("score", "text_html").returncode == 0
    assert asked(tmp_path)[-2:] == ["ours", "ours"]


def test_a_python_without_the_libraries_says_which_and_where(sandbox: Sandbox, workspace: Path) -> None:
    runner = f'[runner.ours]\nengine = "demo"\npython = "{PLAIN}"'
    sandbox.settings(settings(runner))
    run = sandbox.hitui("score", "text_html", env={"PYTHONPATH": "", "PYTHONNOUSERSITE": "1"})
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert PLAIN in line
    assert "SacreBLEU (No module named 'sacrebleu')" in line
    assert list((workspace / "result").rglob("scores*")) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, ": No such file or directory; correct the path"),
        ("exit 1", " is no Python; name one"),
        ("echo something", " is no Python; name one"),
        ("echo python 3.9", " is Python 3.9, and 3.10 is needed; name a newer one"),
    ],
)
def test_what_is_no_python_is_one_line(
    script: str | None, said: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    sandbox.settings(settings(f'[runner.ours]\nengine = "demo"\npython = "{python}"'))
    for options in ((), ("--json",)):
        run = sandbox.hitui("score", "text_html", *options)
        assert run.returncode == 1
        assert run.stderr == f"hitui: hitui.toml: [runner.ours] python: {python}{said}\n"


def test_what_there_is_not_is_one_line(sandbox: Sandbox, workspace: Path) -> None:
    run = sandbox.hitui("score", "text_htm")
    assert run.returncode == 3
    assert run.stderr == (
        "hitui: text_htm: no such config; did you mean g/text_html?; nor is it a file or folder\n"
    )
    write_trainer_checkpoint(workspace / "result" / "run", 10)
    run = sandbox.hitui("score", "run")
    assert run.returncode == 1
    assert "is of the kind hf_trainer, which has no answers to score" in run.stderr
    run = sandbox.hitui("score", str(workspace / "data"))
    assert run.returncode == 1
    assert "holds no results" in run.stderr
    assert sandbox.hitui("score").returncode == 2


class TestCharts:
    DRAW = f"{PLOT}plt.plot([41, 63, 7])\nplt.show()"

    @pytest.fixture(autouse=True)
    def prepare(self, sandbox: Sandbox, workspace: Path, tmp_path: Path, stub_python: str) -> None:
        (workspace / "data" / "tables" / "table1.xlsx").write_bytes(b"PK")
        sandbox.settings(f'[charts]\npython = "{stub_python}"')
        sandbox.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")

    def store(self, workspace: Path, *programs: str) -> Path:
        """Charts of which no scores are stored, as a run leaves them; table1 has a workbook."""
        results = [
            chart_result(task, program, None, None, FileName="table1", Metrics={})
            for task, program in enumerate(programs, start=1)
        ]
        return write_results(workspace / "result" / "g" / "image" / "results.json", results)

    def test_they_run_on_their_own_python_with_the_datasets_workbooks(
        self, sandbox: Sandbox, workspace: Path, tmp_path: Path
    ) -> None:
        self.store(workspace, self.DRAW)
        (report,) = sandbox.json("score", "image", "--no-charts")
        assert report["counts"]["Overall"]["charts_unscored"] == 1
        assert report["aggregate_metrics"]["overall"] == {}
        (report,) = sandbox.json("score", "image", "--chart-jobs", "2")
        assert report["aggregate_metrics"]["overall"] == {"Pass": 100.0, "ECR": 100.0}
        assert report["chart_libraries"]["matplotlib"] == "3.9.4"
        assert len((tmp_path / "cache" / "hitui" / "charts.jsonl").read_text().splitlines()) == 1
        sandbox.settings('[charts]\npython = "nowhere/python"')
        run = sandbox.hitui("score", "image", "--charts")
        assert run.returncode == 1
        nowhere = workspace / "nowhere" / "python"
        assert run.stderr.startswith(
            f"error: charts are not run: no Python for charts: {nowhere}: No such file or directory; install"
        )
        assert sandbox.hitui("score", "image", "--chart-jobs", "0").returncode == 2

    def test_whatever_ends_the_command_ends_them(self, sandbox: Sandbox, workspace: Path) -> None:
        word = f"1000.{uuid.uuid4().int}"
        self.store(workspace, f"{PLOT}import os\nos.execv('/usr/bin/sleep', ['sleep', '{word}'])\nplt.show()")
        command = [sys.executable, "-m", "hitui", "-w", str(workspace), "score", "image"]
        ends = (
            (signal.SIGINT, os.killpg, 130),
            (signal.SIGTERM, os.kill, 143),
            (signal.SIGKILL, os.kill, -signal.SIGKILL),
        )
        for number, end, status in ends:
            process = subprocess.Popen(
                command, env=sandbox.env, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
            try:
                eventually(lambda: running(word))
                end(process.pid, number)
                _, said = process.communicate(timeout=60)
            finally:
                process.kill()
            assert (process.returncode, said) == (status, "")
            eventually(lambda: not running(word) and not running(str(workspace / "data" / "tables")))
        assert list((workspace / "result").rglob("scores*")) == []
