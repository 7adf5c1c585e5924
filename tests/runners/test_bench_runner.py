"""What a measurement of the runner costs: it runs where hitui's own libraries are not, loses nothing by a side that breaks
off, and asks what it was told to ask."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import pytest

from tests.bench import bench_batches, bench_runner, runner_processes
from tests.tools.plain_python import PLAIN_PYTHON
from tests.tools.real_data import QUESTIONS, real_questions

ROOT = Path(__file__).resolve().parents[2]
FOUND = {
    "questions": 3,
    "failed": 1,
    "failure": "OOM: Text too large (7 tokens)",
    "seconds": 2.0,
    "tokens": 30,
    "shared": 15,
    "hits": 0.5,
    "peak": 2**30,
    "reserved": 2**31,
}


def test_it_is_found_by_a_python_without_any_library() -> None:
    modules = "bench_runner, bench_batches, bench_prefixes"
    program = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / '.mypy')!r}]; from tests.bench import {modules}"
    subprocess.run([*PLAIN_PYTHON, "-c", program], check=True)


def test_who_names_the_questions_is_not_given_made_up_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_REALHITBENCH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"has no data/QA_final\.json; see HITUI_REALHITBENCH"):
        real_questions()
    (tmp_path / QUESTIONS).parent.mkdir()
    (tmp_path / QUESTIONS).write_text("[]")
    # Results are no matter of theirs.
    assert real_questions() == tmp_path


def test_without_a_question_no_model_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITUI_REALHITBENCH", str(tmp_path))
    (tmp_path / QUESTIONS).parent.mkdir()
    (tmp_path / QUESTIONS).write_text('[{"FileName": "absent", "QuestionType": "Fact Checking"}]')
    options = argparse.Namespace(
        questions=1, gpu=True, most_characters=None, forms=["text/csv"], prompts=None
    )
    with pytest.raises(SystemExit, match="has no question whose table is there"):
        bench_runner.prepare(options, tmp_path / "made")


def test_a_side_that_breaks_off_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [FOUND, None, {**FOUND, "questions": 0, "tokens": 0, "failed": 4}]

    def in_a_process(*_: object) -> str:
        if (one := found.pop(0)) is None:
            raise subprocess.CalledProcessError(1, "a side")
        return json.dumps(one)

    monkeypatch.setattr(bench_runner, "in_a_process", in_a_process)
    bench_runner.measure(argparse.Namespace(ways=list(bench_runner.WAYS)), "text/csv")
    script, ours, table_first = capsys.readouterr().out.splitlines()
    assert script.endswith(
        "1.00 GiB of 2.00 taken; from the prompt before:  50% of prompts,  50% of tokens; "
        "1 failed, the first with 'OOM: Text too large (7 tokens)'"
    )
    assert ours == "text/csv, ours  , benchmark  : broke off with status 1"
    assert table_first.endswith(": no answers; 4 failed, the first with 'OOM: Text too large (7 tokens)'")


@pytest.mark.model
def test_what_was_answered_is_said_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    answers = runner_processes.progress_of("text/csv", iter(range(40)), 40)
    assert [next(answers) for _ in range(9)] == list(range(9))
    assert "  text/csv: 4 of 40, " in capsys.readouterr().err
    assert list(answers) == list(range(9, 40))
    assert len(capsys.readouterr().err.splitlines()) == 8


@pytest.mark.model
def test_a_model_is_there_when_it_is_whole(tmp_path: Path) -> None:
    from tests.bench import random_model

    for name in ("html", "csv"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / f"boats.{name}").write_text("Harbour,41\n" * 99)
    (tmp_path / "model.new").mkdir()
    (tmp_path / "model.new" / "half.safetensors").write_text("broken off")
    random_model.build(tmp_path / "model", 1, tmp_path / "data", gpu=False)
    assert not (tmp_path / "model.new").exists()
    assert {path.name for path in (tmp_path / "model").iterdir()} > {"config.json", "model.safetensors"}
    assert not (tmp_path / "model" / "half.safetensors").exists()


@pytest.mark.model
def test_answers_of_the_made_model_differ_in_length(tmp_path: Path) -> None:
    from tests.bench import random_model

    benchmark = bench_batches.made_up(tmp_path / "benchmark")
    random_model.build(tmp_path / "model", 4, benchmark.data, gpu=False)
    options = argparse.Namespace(
        way="alone",
        model=tmp_path / "model",
        questions=benchmark.questions_file,
        data=benchmark.data,
        format="csv",
        at_most=6,
        new_tokens=80,
        ends_every=20,
        batch_tokens=None,
    )
    found = bench_batches.measured(options)
    assert found["most"] > 2 * found["new"] / 6
