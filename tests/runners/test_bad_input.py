"""Bad input and bad disks: one clear line, nothing lost, the rest goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runners.conftest import PLAIN_PYTHON, RUNNERS, Runner, environment
from tests.tools.benchmark import Benchmark
from tests.tools.eventually import eventually


def test_a_second_runner_is_refused(runner: Runner) -> None:
    first = runner.start("--demo-seconds", "1")
    eventually(lambda: runner.events)

    second = runner.run()

    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == (
        f"error: {runner.output}/results.jsonl: another runner is writing it; wait for that one, or stop it"
    )
    assert first.poll() is None


def test_a_full_disk_ends_it_with_one_line_and_whole_results(runner: Runner) -> None:
    runner.python = ("prlimit", "--fsize=900", sys.executable)
    ended = runner.run()
    runner.python = (sys.executable,)

    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "results.jsonl: the result of task" in line
    assert "all earlier results are kept" in line
    stored = [result["id"] for result in runner.journal]
    assert stored == [1, 2]
    assert (runner.output / "results.jsonl").read_bytes().endswith(b"}\n")
    runner.run("--resume")
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]


def test_a_full_disk_under_the_log_stops_nothing(runner: Runner) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, str(RUNNERS), *runner.words()],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=full,
            env=environment(HITUI_EVENTS="/dev/full"),
        )

    assert ended.returncode == 0
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]


def test_an_output_that_cannot_be_written_is_one_line(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner.output = tmp_path / "file" / "output"

    ended = runner.run()

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(
        f"error: {runner.output}/results.jsonl: cannot be written: Not a directory"
    )


def test_a_read_only_folder_is_one_line(runner: Runner) -> None:
    runner.output.mkdir(mode=0o555)
    if os.getuid() == 0:
        # What is read-only binds root only without its capabilities.
        runner.python = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable)

    ended = runner.run()

    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: {runner.output}/results.jsonl: cannot be written: Permission denied; "
        "give a folder that can be by --output\n"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the question list cannot be read: No such file or directory; give another by --questions"),
        (b"{half", "the question list is no JSON"),
        (b"[]", 'a question list is an object with a list "queries"'),
        (b'{"queries": [{"id": 1}]}', "the question list is empty"),
    ],
)
def test_an_unusable_question_list_is_one_line(runner: Runner, content: bytes | None, said: str) -> None:
    runner.benchmark.questions_file.unlink()
    if content is not None:
        runner.benchmark.questions_file.write_bytes(content)

    ended = runner.run()

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"error: {runner.benchmark.questions_file}: {said}")
    assert "Traceback" not in ended.stderr


def test_a_missing_data_folder_is_one_line(runner: Runner) -> None:
    runner.benchmark.data.rename(runner.benchmark.folder / "moved")

    ended = runner.run()

    assert ended.returncode == 1
    assert (
        ended.stderr == f"error: {runner.benchmark.data}: there is no such data folder; give it by --data\n"
    )


def test_an_id_that_stands_twice_is_named_and_runs_once(runner: Runner) -> None:
    runner.benchmark.ask(3, "harbours", "Another question?", "no")

    ended = runner.run()

    assert "id 3 stands twice; the second (entry 7) is left out" in ended.stderr
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "wrong", [["--ids", "1", "--ids-file", "x"], ["--max-queries", "0"], ["--engine", "dmeo"], ["--unknown"]]
)
def test_wrong_usage_is_status_2(runner: Runner, wrong: list[str]) -> None:
    ended = runner.run(*wrong)

    assert ended.returncode == 2
    assert not runner.output.exists()


def test_a_gpu_that_does_not_exist_is_one_line(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "gpus.json").write_text('{"gpus": []}')
    runner.env = {"HITUI_SIMULATED_GPUS": str(tmp_path), "CUDA_VISIBLE_DEVICES": "GPU-9"}

    ended = runner.run()

    assert ended.returncode == 1
    assert "there is no GPU 'GPU-9', which CUDA_VISIBLE_DEVICES names" in ended.stderr


def test_a_missing_model_folder_is_one_line(runner: Runner, tmp_path: Path) -> None:
    runner.python = PLAIN_PYTHON
    ended = runner.run("--model", tmp_path / "nowhere", engine="transformers")
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: {tmp_path}/nowhere: there is no such model folder; give the one that holds config.json by --model\n"
    )

    (tmp_path / "config.json").write_text("{}")
    ended = runner.run("--model", tmp_path, engine="transformers")
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        f"error: {PLAIN_PYTHON[0]}: cannot run models: No module named 'torch'; install"
    )


def test_a_foreign_checkpoint_is_copied_once_and_taken_in(runner: Runner, benchmark_data: Benchmark) -> None:
    runner.output.mkdir()
    foreign = {
        "results": [
            {
                "id": 1,
                "Prediction": "41",
                "Metrics": {"F1": 0.1},
                "ProcessingTime": 1e-07,
                "extra": [None, "é"],
            },
            {"id": 2, "Prediction": "[ERROR] OOM: Text too large (9 tokens)"},
            {"id": 1, "Prediction": "[ERROR] later"},
            {"id": "other", "Prediction": ""},
        ],
        "processed_ids": [1, 2, "other"],
    }
    original = json.dumps(foreign).encode()
    checkpoint = runner.output / "checkpoint.json"
    checkpoint.write_bytes(original)
    (runner.output / "results.json").write_text('{"results": [{"id": 3, "Prediction": "63"}]}')

    runner.run("--resume")
    runner.run("--resume")

    assert [result["id"] for result in runner.journal] == [2, 4, 5, 6]
    assert (runner.output / "checkpoint.json.before-hitui").read_bytes() == original
    assert runner.snapshot["results"][0] == foreign["results"][0]
    assert sorted(runner.snapshot["processed_ids"], key=str) == [1, 2, 3, 4, 5, 6, "other"]
    assert sorted(path.name for path in runner.output.iterdir()) == [
        "checkpoint.json",
        "checkpoint.json.before-hitui",
        "results.json",
        "results.jsonl",
    ]

    torn = b'{"results": [{"id": 1, "Pre'
    checkpoint.write_bytes(torn)
    ended = runner.run("--ids", "2")
    assert f"warning: {checkpoint}: is half written or no JSON" in ended.stderr
    # What cannot be read may hold answers: nothing takes its place, and the journal has the new ones.
    assert checkpoint.read_bytes() == torn
    assert [result["id"] for result in runner.journal] == [2, 4, 5, 6, 2]
    assert (runner.output / "checkpoint.json.before-hitui").read_bytes() == original
