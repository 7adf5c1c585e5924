"""The program `score` and the answers that are programs: run once, in a sandbox or not at all, and told as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.charts import remembered
from hitui_runners.realhitbench.charts.metrics import ChartAnswer
from hitui_runners.realhitbench.charts.remembered import Keys
from hitui_runners.realhitbench.charts.sandbox import Limits

from tests.runners.charts import PLOT, chart_result, running, stub_python
from tests.runners.conftest import RUNNERS, environment, json_lines
from tests.runners.scored import score
from tests.tools.eventually import eventually

__all__ = ["stub_python"]

DRAW = f"{PLOT}plt.plot([41, 63, 7])\nplt.show()"
OTHER = f"{PLOT}plt.plot([41])\nplt.show()"
FAIL = f"{PLOT}nothing\nplt.show()"


class Scores:
    """A folder of results and workbooks, and the program on it."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.remember = folder / "kept" / "hitui" / "charts.jsonl"
        self.words = ["--tables", str(folder / "tables"), "--chart-python", python]
        self.words += ["--remember", str(self.remember)]
        (folder / "tables").mkdir()
        (folder / "tables" / "harbours.xlsx").write_bytes(b"PK")
        self.without_walls = folder / "programs"
        """A folder of programs without those that make walls."""
        self.without_walls.mkdir()

    def store(self, *results: dict[str, Any], name: str = "results.json") -> None:
        (self.folder / name).write_text(json.dumps({"results": results}))

    def command(self, *words: str) -> list[str]:
        return [str(self.folder / "results.json"), *self.words, *words]

    def run(self, *words: str, walls: bool = True) -> subprocess.CompletedProcess[str]:
        return score(*self.command(*words), path=None if walls else str(self.without_walls))

    @property
    def scores(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "scores_results.json").read_bytes())
        return found

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What is remembered."""
        return json_lines(self.remember)


@pytest.fixture
def scores(tmp_path: Path, stub_python: str) -> Scores:
    return Scores(tmp_path, stub_python)


def test_charts_are_run_and_what_cannot_be_keeps_what_is_stored(scores: Scores) -> None:
    scores.store(
        chart_result(1, DRAW, False, "None"),
        chart_result(2, OTHER, True, False),
        chart_result(3, FAIL, False, False),
        chart_result(4, "No program.", None, None, Metrics={}),
        chart_result(5, DRAW, True, True, FileName="absent"),
        chart_result(6, "[ERROR] x", None, None, Metrics={}),
        chart_result(7, DRAW, None, None),
    )
    done = scores.run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    (told,) = [line for line in lines if line.startswith("5 of 7 charts run with python 3.")]
    assert "numpy 1.26.4, pandas 2.2.3, matplotlib 3.9.4, openpyxl 3.1.5" in told
    assert "charts whose stored ECR or Pass is another, which `--check` explains: 1 (1)" in lines
    where = scores.folder / "tables"
    assert (
        f"charts not run (no workbook in {where}: No such file or directory), kept as stored: 1 (5)" in lines
    )
    found = scores.scores
    assert [found["metrics"][str(task)] for task in range(1, 8)] == [
        {"ECR": True, "Pass": True},
        {"ECR": True, "Pass": False},
        {"ECR": False, "Pass": "None"},
        {"ECR": False, "Pass": "None"},
        {"ECR": True, "Pass": True},
        {"ECR": False, "Pass": "None"},
        {"ECR": True, "Pass": True},
    ]
    # Of the failed one too, as everywhere.
    assert found["aggregate_metrics"]["overall"] == {"Pass": 42.86, "ECR": 57.14}
    assert found["charts"] == {
        "2": "1 values are drawn instead of 3",
        "3": "NameError: name 'nothing' is not defined",
        "4": "no program in the answer",
    }
    assert found["chart_libraries"]["matplotlib"] == "3.9.4"
    # The same program is run once; one without a program, never.
    assert len(scores.runs) == 3


def test_what_was_run_once_is_not_run_again(scores: Scores) -> None:
    # Its workbook lies in their folder, whatever a result says.
    elsewhere = chart_result(2, FAIL, False, "None", FileName="../../elsewhere/harbours")
    scores.store(chart_result(1, DRAW, True, True), elsewhere)
    assert scores.run().returncode == 0
    before = scores.scores
    assert scores.remember.stat().st_mode & 0o777 == 0o600
    kept = scores.runs[0]
    with scores.remember.open("a") as file:
        file.writelines(
            json.dumps({**kept, **other}) + "\n" for other in ({"ECR": 1}, {"Pass": 0}, {"key": []})
        )
        file.write(f"{'[' * 100_000}\n")
        file.write('rubbish\n[1]\n{"key": 1}\n{"key": "')
    # Where there are no walls nothing could be run.
    done = scores.run("--charts", walls=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "as before in" in done.stdout
    checked = scores.run("--charts", "--check", walls=False)
    assert checked.returncode == 0
    assert "  charts: 2 equal" in checked.stdout.splitlines()
    assert "\ncharts run with python 3." in checked.stdout
    assert checked.stdout.endswith("; 2 of 2 charts equal\n")
    assert scores.scores == before

    # Another workbook, reference or program is another chart; the torn line spoils none of them.
    (scores.folder / "tables" / "harbours.xlsx").write_bytes(b"PK2")
    assert scores.run().returncode == 0
    scores.store(chart_result(1, DRAW, True, True, Reference="[1]"), chart_result(2, OTHER, False, "None"))
    assert scores.run().returncode == 0
    assert scores.scores["metrics"]["1"] == {"ECR": True, "Pass": False}
    lines = scores.remember.read_text().splitlines()
    assert len(lines) == 2 + 8 + 4
    assert all(json.loads(line)["walls"] is True for line in lines[10:])


def test_a_score_is_remembered_by_all_that_it_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    (tmp_path / "b.xlsx").write_bytes(b"PKb")
    drawn = ChartAnswer("LineChart Generation", DRAW, "[41]", tmp_path / "a.xlsx")
    versions, usual = {"numpy": "1.26.4"}, Limits()

    def key(answer: ChartAnswer = drawn, **more: Any) -> str:
        return Keys(more.pop("versions", versions)).of(answer, more.pop("limits", usual), **more)

    keys = [
        key(),
        key(versions={"numpy": "1.26.5"}),
        key(limits=replace(usual, cpu_seconds=16)),
        key(before=[drawn]),
        key(before=[replace(drawn, prediction=FAIL)]),
        key(before=[replace(drawn, workbook=tmp_path / "b.xlsx")]),
        key(first="import random"),
        key(replace(drawn, sub_type="BarChart Generation")),
        key(replace(drawn, prediction=OTHER)),
        key(replace(drawn, reference="[42]")),
        key(replace(drawn, workbook=tmp_path / "b.xlsx")),
    ]
    # The name alone of a workbook is nothing that a program sees, nor is what is written around it.
    (tmp_path / "b.xlsx").write_bytes(b"PK")
    assert key(replace(drawn, workbook=tmp_path / "b.xlsx", prediction=f"It is:\n{DRAW}\nDone.")) == key()

    # That the programs are run in another way is as good as another program.
    shutil.copytree(Path(remembered.__file__).parent, tmp_path / "charts")
    monkeypatch.setattr(remembered, "__file__", str(tmp_path / "charts" / "remembered.py"))
    assert key() == keys[0]
    for name in ("enclosure", "guest", "metrics", "sandbox", "scratch", "walls", "watching"):
        with (tmp_path / "charts" / f"{name}.py").open("a") as file:
            file.write("#")
        keys.append(key())
    assert len(set(keys)) == len(keys)


def test_without_a_sandbox_charts_stay_as_they_are_and_the_report_says_so(scores: Scores) -> None:
    scores.store(chart_result(1, DRAW, False, "None"), chart_result(2, DRAW, None, None, Metrics={}))
    why = (
        "no sandbox can be had here (bubblewrap: bwrap is not installed; namespaces: unshare is not installed); "
        "install bubblewrap 0.7 or newer"
    )
    done = scores.run(walls=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  charts not run ({why}), kept as stored: 1 (1)" in done.stdout.splitlines()
    assert (
        f"  charts not run ({why}), without ECR and Pass, which have no means then: 1 (2)"
        in done.stdout.splitlines()
    )
    assert scores.scores["metrics"] == {"1": {"ECR": False, "Pass": "None"}, "2": {}}
    assert scores.scores["aggregate_metrics"]["overall"] == {}
    # Where they must be run, it has failed.
    done = scores.run("--charts", walls=False)
    assert done.returncode == 1
    assert done.stderr == f"error: charts are not run: {why}\n"
    checked = scores.run("--check", walls=False)
    assert checked.returncode == 0
    assert f"  charts not run ({why}): 1 (1)" in checked.stdout.splitlines()
    assert scores.runs == []


def test_only_who_says_so_runs_charts_without_a_sandbox(scores: Scores) -> None:
    scores.store(chart_result(1, DRAW, False, "None"), chart_result(2, FAIL, False, "None"))
    done = scores.run("--run-charts-without-a-sandbox", walls=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  charts run without a sandbox, as allowed: 2 (1, 2)" in done.stdout.splitlines()
    assert scores.scores["metrics"]["1"] == {"ECR": True, "Pass": True}
    # What it gave counts only for who says so again.
    done = scores.run("--charts", walls=False)
    assert done.returncode == 1
    assert "no sandbox can be had here" in done.stderr
    assert scores.run().returncode == 0
    assert [entry["walls"] for entry in scores.runs] == [False, False, True, True]
    # One that was made within walls stays, whatever was made without any later.
    lines = scores.remember.read_text().splitlines(keepends=True)
    scores.remember.write_text("".join(lines[2:] + lines[:2]))
    known = remembered.Remembered(scores.remember, pytest.fail)
    assert known.get(scores.runs[0]["key"], without_walls=False) is not None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--no-charts"], "as asked for"),
        (
            ["--tables", "nowhere"],
            "nowhere, the folder of their workbooks, is not there, name it by --tables",
        ),
        (["--chart-python", "/bin/false"], None),
    ],
)
def test_why_charts_are_not_run_is_one_line(scores: Scores, words: list[str], why: str | None) -> None:
    scores.store(chart_result(1, DRAW, True, True), chart_result(2, DRAW, True, True, Reference="[1]"))
    if why is None:
        scores.words = scores.words[:2]
        why = (
            "no Python for charts: /bin/false: ends with 1; install numpy, pandas, matplotlib, openpyxl there, or "
            "name another ([charts] python)"
        )
    done = scores.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  charts not run ({why}), kept as stored: 2 (1, 2)" in done.stdout.splitlines()


@pytest.mark.parametrize("why", ["Not a directory", "is no regular file"])
def test_what_cannot_be_remembered_is_said_once(scores: Scores, why: str) -> None:
    if why == "Not a directory":
        scores.remember.parents[1].write_text("a file where the folder should be")
    else:
        scores.remember.parent.mkdir(parents=True)
        os.mkfifo(scores.remember)
    scores.store(chart_result(1, DRAW, True, True), chart_result(2, FAIL, False, "None"))
    done = scores.run()
    assert done.returncode == 0
    assert done.stderr == (
        f"warning: {scores.remember}: {why}; scores of charts are not kept for the next time\n"
    )
    assert scores.scores["metrics"]["1"] == {"ECR": True, "Pass": True}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_programs_and_what_was_scored_is_kept(
    scores: Scores, number: signal.Signals
) -> None:
    word = f"1000.{uuid.uuid4().int}"
    sleeps = f"{PLOT}import os\nos.execv('/usr/bin/sleep', ['sleep', '{word}'])\nplt.show()"
    scores.store(chart_result(1, DRAW, True, True), chart_result(2, sleeps, False, "None"))
    process = subprocess.Popen(
        [sys.executable, str(RUNNERS), "score", *scores.command("--chart-jobs", "2")],
        env=environment(),
        stderr=subprocess.PIPE,
    )
    try:
        eventually(lambda: running(word) and len(scores.runs) == 1)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said) == (128 + number, b"")
    eventually(lambda: not running(word))
    assert not (scores.folder / "scores_results.json").exists()
    assert [entry["Pass"] for entry in scores.runs] == [True]


def test_what_the_clock_ended_is_not_remembered(scores: Scores) -> None:
    killed = f"{PLOT}import os\nos.kill(os.getpid(), 9)\nplt.show()"
    scores.store(chart_result(1, killed, False, "None"))
    assert scores.run().returncode == 0
    assert scores.scores["metrics"]["1"] == {"ECR": False, "Pass": "None"}
    assert not os.path.lexists(scores.remember)
