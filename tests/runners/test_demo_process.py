"""The evaluation program with the demo engine, as real processes: what it writes and how it ends."""

from __future__ import annotations

import ast
import json
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.errors import SetupError

from tests.runners.conftest import RUNNERS, Runner, environment
from tests.tools.benchmark import harbours, png_head
from tests.tools.eventually import eventually
from tests.tools.plain_python import PLAIN_PYTHON

KEYS = ["id", "FileName", "QuestionType", "SubQType", "Question", "Reference", "Prediction", "Metrics"]
KEYS += ["ProcessingTime", "Engine", "Settings"]


@pytest.mark.usefixtures("with_libraries")
def test_every_task_gets_a_result_in_the_real_format(runner: Runner) -> None:
    ended = runner.run()

    assert ended.returncode == 0, ended.stderr
    assert [list(result) for result in runner.journal] == [KEYS] * 6
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]
    assert {result["Engine"] for result in runner.journal} == {"demo"}
    assert runner.journal[2]["Prediction"] == "63"
    assert runner.journal[2]["Metrics"] == {"F1": 100.0, "EM": 100.0, "ROUGE-L": 100.0, "SacreBLEU": 0.0}
    assert runner.snapshot == {
        "results": runner.journal,
        "processed_ids": [1, 2, 3, 4, 5, 6],
        "written_by": "hitui",
    }


def test_event_lines_tell_how_far_it_is(runner: Runner) -> None:
    runner.run("--demo-failure-rate", "1")

    told = [(event["event"], event.get("phase")) for event in runner.events]
    assert told[:4] == [("start", None), ("phase", "loading"), ("phase", "running"), ("progress", None)]
    assert runner.events[0]["versions"] == {"python": platform.python_version()}
    tasks = [event for event in runner.events if event["event"] == "task"]
    assert [task["id"] for task in tasks] == [1, 2, 3, 4, 5, 6]
    assert {task["status"] for task in tasks} == {"error"}
    assert all(task["input_tokens"] > 0 and task["seconds"] >= 0 for task in tasks)
    progress = [event for event in runner.events if event["event"] == "progress"]
    assert [(event["done"], event["errors"]) for event in progress] == [(n, n) for n in range(7)]
    assert {event["total"] for event in progress} == {6}
    assert {**runner.events[-1], "time": 0} == {"time": 0, "event": "end", "done": 6, "errors": 6, "exit": 0}
    times = [event["time"] for event in runner.events]
    assert times == sorted(times)


@pytest.mark.parametrize("table", ["html", "csv", "latex", "markdown", "json"])
def test_the_answer_is_found_in_every_format_without_any_library(runner: Runner, table: str) -> None:
    ended = runner.run("--ids", "1,2,4", table=table)

    assert ended.returncode == 0, ended.stderr
    assert [result["Prediction"] for result in runner.journal] == ["41", "17", "8"]
    assert list(runner.journal[0]["Metrics"]) == ["F1", "EM"]
    assert "warning: ROUGE-L (No module named 'rouge_score') and SacreBLEU (No module named 'sacrebleu')" in (
        ended.stderr
    )


def test_the_folder_hides_no_module_and_needs_no_name(runner: Runner, tmp_path: Path) -> None:
    elsewhere = tmp_path / "some where else"
    elsewhere.symlink_to(RUNNERS)
    program = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    print(end.code, [m for m in sys.modules if 'evaluate' in m], sys.path[0])"
    )
    ended = subprocess.run(
        [*PLAIN_PYTHON, "-c", program, str(elsewhere), *runner.words()],
        capture_output=True,
        text=True,
        env=environment(),
    )

    assert ended.stdout.splitlines()[-1].startswith("0 ['hitui_runners.realhitbench.evaluate'] "), (
        ended.stderr
    )
    assert str(RUNNERS) not in ended.stdout.splitlines()[-1]


def test_a_python_that_is_too_old_is_one_line(runner: Runner) -> None:
    """Such a one reads the first file alone."""
    program = (
        "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0); folder = sys.argv.pop(1); "
        "runpy.run_path(folder, run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(RUNNERS), *runner.words()], capture_output=True, text=True
    )
    assert ended.returncode == SetupError.exit_status
    assert (
        ended.stderr
        == f"error: {sys.executable}: is Python 3.9, and 3.10 is needed; name a newer one as python\n"
    )
    # Nothing in it is newer than Python 3.6.
    ast.parse((RUNNERS / "__main__.py").read_text(), feature_version=(3, 6))


def test_resume_runs_errors_and_missing_ones_only(runner: Runner) -> None:
    runner.run("--max-queries", "3", "--demo-failure-rate", "1")
    assert [result["Prediction"].startswith("[ERROR] ") for result in runner.journal] == [True] * 3
    assert runner.snapshot["processed_ids"] == []
    runner.run("--ids", "5")

    ended = runner.run("--resume", "--demo-failure-rate", "1")

    assert [result["id"] for result in runner.journal] == [1, 2, 3, 5, 4, 6, 1, 2, 3]
    # What had failed before does not fail again; what runs for the first time does.
    failed = [
        result["id"] for result in runner.snapshot["results"] if result["Prediction"].startswith("[ERROR")
    ]
    assert failed == [4, 6]
    assert "Resuming: 1 task answered already" in ended.stdout
    assert [result["id"] for result in runner.snapshot["results"]] == [1, 2, 3, 5, 4, 6]


def test_answers_to_a_question_that_is_another_now_are_named(runner: Runner) -> None:
    runner.run("--ids", "1,2,3")
    runner.benchmark.questions[1]["Question"] = "How many boats lie in Northmouth at night?"
    runner.benchmark.ask(7, "harbours", "How many harbours are there?", "4")

    ended = runner.run("--resume")
    assert (
        f"warning: {runner.benchmark.questions_file}: answered tasks whose question is another there now: 2; their "
        "answers stay, unless they are asked for by --ids without --resume\n"
    ) in ended.stderr
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6, 7]


def test_ids_from_a_file_and_unknown_ones_are_named(runner: Runner, tmp_path: Path) -> None:
    ids = tmp_path / "ids.json"
    ids.write_text('{"ids": [4, 2, 99]}')

    ended = runner.run("--ids-file", ids)

    assert ended.returncode == 0
    assert [result["id"] for result in runner.journal] == [2, 4]
    assert "no question has id 99; the others run" in ended.stderr


def test_blocked_tasks_get_no_result_unless_asked_for(runner: Runner) -> None:
    runner.benchmark.add_table("gone")
    runner.benchmark.ask(7, "gone", "How many boats?", "1")
    (runner.benchmark.data / "html" / "gone.html").unlink()

    everything = runner.run()
    assert "tasks without their input files are left out: 7" in everything.stderr
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]

    asked = runner.run("--ids", "7")
    assert asked.returncode == 0
    assert runner.journal[-1]["Prediction"] == "[ERROR] Input file not found: html/gone.html"


@pytest.mark.parametrize(
    ("modality", "needed"), [("mix", ["image", "html"]), ("image", ["image"]), ("text", ["html"])]
)
def test_what_a_chart_needs(runner: Runner, modality: str, needed: list[str]) -> None:
    runner.benchmark.ask(8, "harbours", "Draw the boats.", "[41, 17]", "Visualization", "BarChart Generation")
    assert runner.run("--ids", "8", modality=modality).returncode == 0
    assert runner.journal[0]["Prediction"].startswith("import pandas as pd\nimport matplotlib.pyplot as plt")
    assert runner.journal[0]["Metrics"] == {}

    for file in runner.benchmark.data.rglob("harbours.*"):
        file.unlink()
    runner.run("--ids", "8", modality=modality)

    ending = {"image": "png", "html": "html"}
    names = ", ".join([f"{kind}/harbours.{ending[kind]}" for kind in needed] + ["tables/harbours.xlsx"])
    assert runner.journal[1]["Prediction"] == f"[ERROR] Input file not found: {names}"
    assert runner.journal[1]["Metrics"] == {"ECR": False, "Pass": "None"}


def test_failures_are_those_of_real_runs(runner: Runner) -> None:
    runner.benchmark.questions.clear()
    for number in range(40):
        runner.benchmark.ask(number, "harbours", "How many boats?", "1")
    (runner.benchmark.data / "image" / "harbours.png").write_bytes(png_head(7448, 4353))

    runner.run("--demo-failure-rate", "1", modality="mix")

    assert {result["Prediction"] for result in runner.journal} == {
        "[ERROR] OOM: Image too large ((7448, 4353))",
        "[ERROR] Failed to get proper final answer format",
    }


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)]
)
def test_a_signal_stops_it_at_once_and_nothing_is_lost(runner: Runner, number: int, status: int) -> None:
    runner.benchmark = harbours(runner.benchmark.folder, 24)
    process = runner.start("--demo-seconds", "0.2")
    runner.wait_for_tasks(1)
    process.send_signal(number)
    process.communicate(timeout=60)

    assert process.returncode == status
    done = [event["id"] for event in runner.events if event["event"] == "task"]
    assert [result["id"] for result in runner.journal] == done
    assert runner.snapshot["processed_ids"] == done
    assert len(done) < 24
    assert runner.events[-1]["exit"] == status

    runner.run("--resume")
    assert [result["id"] for result in runner.journal] == list(range(1, 25))


def test_a_signal_while_loading_stops_it(runner: Runner) -> None:
    process = runner.start("--demo-seconds", "1")
    eventually(lambda: runner.events)
    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 143
    assert runner.journal == []


def test_killed_again_and_again_nothing_is_lost_and_nothing_runs_twice(runner: Runner) -> None:
    runner.benchmark.questions.clear()
    for number in range(1, 25):
        runner.benchmark.ask(number, "harbours", f"How many boats? {number}", "1")
    options = ("--resume", "--demo-seconds", "0.02", "--demo-failure-rate", "0.3")
    for _ in range(4):
        process = runner.start(*options)
        runner.wait_for_tasks(len(runner.journal) + 3)
        process.kill()
        process.wait()
        with (runner.output / "results.jsonl").open("ab") as journal:
            journal.write(b'{"id": 24, "FileName": "harb')
    for _ in range(2):
        ended = runner.run(*options)
        assert ended.returncode == 0, ended.stderr

    answered = [result["id"] for result in runner.journal if not result["Prediction"].startswith("[ERROR")]
    failed = [result["id"] for result in runner.journal if result["Prediction"].startswith("[ERROR")]
    assert sorted(answered) == list(range(1, 25))
    assert len(set(failed)) == len(failed) > 0
    assert sorted(runner.snapshot["processed_ids"]) == list(range(1, 25))


def test_empty_cells_are_no_answers(runner: Runner) -> None:
    table = "<table><tr><td>Quay</td><td>&nbsp;</td><td>\n</td></tr><tr><td>Ships</td><td>&nbsp;</td></tr></table>"
    (runner.benchmark.data / "html" / "harbours.html").write_text(table)

    assert runner.run("--ids", "1").returncode == 0
    assert runner.journal[0]["Prediction"] == "Quay"


def test_memory_is_claimed_on_the_gpu_that_was_given_and_given_back(runner: Runner, tmp_path: Path) -> None:
    gpus = tmp_path / "gpus"
    gpus.mkdir()
    every = [{"index": n, "uuid": f"GPU-{n}", "memory_total": 80 * 2**30} for n in range(2)]
    (gpus / "gpus.json").write_text(json.dumps({"driver": "simulated", "gpus": every}))
    runner.env = {"HITUI_SIMULATED_GPUS": str(gpus), "CUDA_VISIBLE_DEVICES": "GPU-1"}
    runner.benchmark = harbours(runner.benchmark.folder, 24)
    process = runner.start("--demo-seconds", "0.2")
    runner.wait_for_tasks(1)

    claim: dict[str, Any] = json.loads((gpus / "claims" / f"{process.pid}.json").read_text())
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    assert claim["pid"] == process.pid
    assert claim["start_time"] == int(stat[19])
    assert list(claim["memory"]) == ["GPU-1"]
    assert claim["memory"]["GPU-1"] > 2**30
    process.terminate()
    process.wait()
    assert list((gpus / "claims").iterdir()) == []
