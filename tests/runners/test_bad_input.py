"""Bad input and bad disks: one clear line, nothing lost, the rest goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runners.conftest import RUNNERS, Runner, environment, without_rights
from tests.tools.benchmark import Benchmark
from tests.tools.eventually import eventually
from tests.tools.plain_python import PLAIN_PYTHON


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
    runner.python = ("prlimit", "--fsize=750", *PLAIN_PYTHON)
    ended = runner.run()
    runner.python = None

    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "results.jsonl: the result of task" in line
    assert "; make room, or make it writable, and run again with --resume, " in line
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

    assert ended.returncode == 78
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(
        f"error: {runner.output}/results.jsonl: cannot be written: Not a directory"
    )


def test_a_read_only_folder_is_one_line(runner: Runner) -> None:
    runner.output.mkdir(mode=0o555)
    without_rights(runner)

    ended = runner.run()

    assert ended.returncode == 78
    assert ended.stderr == (
        f"error: {runner.output}/results.jsonl: cannot be written: Permission denied; "
        "give a folder that can be by --output\n"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the question list cannot be read: No such file or directory; give another by --questions"),
        (b"{half", "the question list is no JSON"),
        (b"7", 'a question list is an object with a list "queries"'),
        (b"[]", "the question list is empty"),
        (b'{"queries": [{"id": 1}]}', "the question list is empty"),
    ],
)
def test_an_unusable_question_list_is_one_line(runner: Runner, content: bytes | None, said: str) -> None:
    runner.benchmark.questions_file.unlink()
    if content is not None:
        runner.benchmark.questions_file.write_bytes(content)

    ended = runner.run()

    assert ended.returncode == 78
    assert ended.stderr.splitlines()[-1].startswith(f"error: {runner.benchmark.questions_file}: {said}")
    assert "Traceback" not in ended.stderr


def test_a_missing_data_folder_is_one_line(runner: Runner) -> None:
    runner.benchmark.data.rename(runner.benchmark.folder / "moved")

    ended = runner.run()

    assert ended.returncode == 78
    assert ended.stderr == (
        f"error: {runner.benchmark.data}: there is no data folder that can be entered; give it by --data\n"
    )


@pytest.mark.usefixtures("with_libraries")
def test_ids_that_stand_twice_are_one_line_and_run_once(runner: Runner) -> None:
    questions = runner.benchmark.questions
    questions += [{**question, "Question": "Another question?"} for question in questions]
    runner.benchmark.save()

    ended = runner.run()

    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("warning: ")]
    assert line == (
        f"warning: {runner.benchmark.questions_file}: ids that stand more than once: 1, 2, 3, 4, 5 and 1 more; "
        "the first entry of each counts"
    )
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]
    assert "Another question?" not in [result["Question"] for result in runner.journal]


def test_entries_that_cannot_be_asked_are_one_line(runner: Runner) -> None:
    first, second, *others = runner.benchmark.questions
    first["id"] = True
    second["FileName"] = "../harbours"
    others[0]["id"] = 3.0
    runner.benchmark.save()

    ended = runner.run()

    assert "entries without a usable id, FileName or Question are left out: number 1, 2\n" in ended.stderr
    assert [result["id"] for result in runner.journal] == [3, 4, 5, 6]


def test_a_bare_list_of_questions_is_one_too(runner: Runner) -> None:
    runner.benchmark.questions_file.write_text(json.dumps(runner.benchmark.questions))

    assert runner.run().returncode == 0
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]


def test_a_question_list_with_a_byte_order_mark_is_one_too(runner: Runner) -> None:
    """As editors on other systems save it; the dashboard reads it as well."""
    file = runner.benchmark.questions_file
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())

    ended = runner.run()

    assert ended.returncode == 0, ended.stderr
    assert len(runner.journal) == 6


def test_text_that_no_terminal_can_show_ends_nothing(runner: Runner) -> None:
    runner.benchmark.questions[1]["FinalAnswer"] = "half a pair: \ud800"
    runner.benchmark.save()
    runner.env = {"PYTHONIOENCODING": "ascii"}

    ended = runner.run()

    assert ended.returncode == 0, ended.stderr
    assert runner.journal[1]["Reference"] == "half a pair: \ud800"
    assert "reference: half a pair: \\ud800" in ended.stdout


def test_without_stdout_nothing_is_written_into_the_results(runner: Runner) -> None:
    closing = "import os, sys; os.closerange(0, 3); os.execv(sys.argv[1], sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", closing, sys.executable, str(RUNNERS), *runner.words()], env=environment()
    )

    assert ended.returncode == 0
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("what", ["data", "model", "prompts"])
def test_a_folder_that_may_not_be_entered_is_one_line(runner: Runner, tmp_path: Path, what: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    without_rights(runner)
    if what == "model":
        ended = runner.run("--model", closed / "model", engine="transformers")
    else:
        ended = runner.run(f"--{what}", closed / "inside")
    closed.chmod(0o700)

    assert ended.returncode == 78
    assert ended.stderr.startswith(f"error: {closed}/")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("lost", ["closed", "gone"])
def test_lost_tables_end_the_run_and_blame_no_task(runner: Runner, lost: str) -> None:
    html = runner.benchmark.data / "html"
    if lost == "gone":
        html.rename(html.with_name("moved"))
    else:
        html.chmod(0)
    without_rights(runner)
    ended = runner.run("--ids", "1,2,3")
    if lost == "closed":
        html.chmod(0o700)

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        f"error: {html}: the folder of input files is gone or may not be entered; "
        "bring it back and run again with --resume"
    )
    assert runner.journal == []


def test_tables_that_cannot_be_read_end_the_run_after_a_few(runner: Runner) -> None:
    (runner.benchmark.data / "html" / "harbours.html").chmod(0)
    without_rights(runner)
    ended = runner.run()

    assert ended.returncode == 1
    assert [result["Prediction"] for result in runner.journal] == [
        f"[ERROR] Input file cannot be read: {runner.benchmark.data}/html/harbours.html: Permission denied"
    ] * 5


def test_a_name_too_long_for_a_file_blocks_its_task_only(runner: Runner) -> None:
    runner.benchmark.ask(7, "x" * 300, "How many boats?", "1")

    ended = runner.run()

    assert "tasks without their input files are left out: 7" in ended.stderr
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]


def test_a_journal_that_cannot_be_made_ready_is_one_line(runner: Runner) -> None:
    runner.output.mkdir()
    line = json.dumps({"id": 1, "Prediction": "41"})
    (runner.output / "results.jsonl").write_text(line)
    runner.python = ("prlimit", f"--fsize={len(line)}", *PLAIN_PYTHON)
    ended = runner.run("--resume")

    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: {runner.output}/results.jsonl: cannot be read and made ready for more: File too large; "
        "make room or mend the disk, all earlier results are kept\n"
    )
    assert (runner.output / "results.jsonl").read_text() == line


def test_ids_that_are_no_json_are_one_line(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text("[" * 100_000)

    ended = runner.run("--ids-file", tmp_path / "ids.json")

    assert ended.returncode == 78
    assert ended.stderr.startswith(f"error: {tmp_path}/ids.json: the ids are no JSON: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["--ids", "1", "--ids-file", "x"],
        ["--max-queries", "0"],
        ["--max-queries", "x"],
        ["--engine", "dmeo"],
        ["--unknown"],
    ],
)
def test_wrong_usage_is_status_2(runner: Runner, wrong: list[str]) -> None:
    ended = runner.run(*wrong)

    assert ended.returncode == 2
    assert not runner.output.exists()
    # No word of the program's own code.
    assert "_at_least_one" not in ended.stderr


def test_a_gpu_that_does_not_exist_is_one_line(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "gpus.json").write_text('{"gpus": []}')
    runner.env = {"HITUI_SIMULATED_GPUS": str(tmp_path), "CUDA_VISIBLE_DEVICES": "GPU-9"}

    ended = runner.run()

    assert ended.returncode == 1
    assert "there is no GPU 'GPU-9', which CUDA_VISIBLE_DEVICES names" in ended.stderr


@pytest.mark.usefixtures("with_libraries")
def test_a_broken_score_library_costs_its_score_alone_and_is_said(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sacrebleu.py").write_text('raise OSError("libfoo.so.1:\\n wrong ELF class")')
    runner.env = {"PYTHONPATH": str(tmp_path / "broken")}

    ended = runner.run()

    assert ended.returncode == 0, ended.stderr
    assert "warning: SacreBLEU (libfoo.so.1: wrong ELF class) cannot be computed here; " in ended.stderr
    assert {tuple(result["Metrics"]) for result in runner.journal} == {("F1", "EM", "ROUGE-L")}


def test_a_missing_model_folder_is_one_line(runner: Runner, tmp_path: Path) -> None:
    runner.python = PLAIN_PYTHON
    ended = runner.run("--model", tmp_path / "nowhere", engine="transformers")
    assert ended.returncode == 78
    assert ended.stderr == (
        f"error: {tmp_path}/nowhere: there is no such model folder; give the one that holds config.json by --model\n"
    )

    (tmp_path / "config.json").write_text("{}")
    ended = runner.run("--model", tmp_path, engine="transformers")
    assert ended.returncode == runner.events[-1]["exit"] == 78
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

    assert [result["id"] for result in runner.journal] == [4, 5, 6, 2]
    assert (runner.output / "checkpoint.json.before-hitui").read_bytes() == original
    assert runner.snapshot["results"][0] == foreign["results"][0]
    assert sorted(runner.snapshot["processed_ids"], key=str) == [1, 2, 3, 4, 5, 6, "other"]
    assert sorted(path.name for path in runner.output.iterdir()) == [
        "checkpoint.json",
        "checkpoint.json.before-hitui",
        "results.json",
        "results.jsonl",
        "run_settings.json",
    ]

    torn = b'{"results": [{"id": 1, "Pre'
    checkpoint.write_bytes(torn)
    ended = runner.run("--ids", "2")
    assert f"warning: {checkpoint}: is half written or no JSON" in ended.stderr
    # What cannot be read may hold answers: nothing takes its place, and the journal has the new ones.
    assert checkpoint.read_bytes() == torn
    assert [result["id"] for result in runner.journal] == [4, 5, 6, 2, 2]
    assert (runner.output / "checkpoint.json.before-hitui").read_bytes() == original
