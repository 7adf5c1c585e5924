"""The order of work: questions whose prompts begin alike come together; results are the same in any."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from hitui_runners.realhitbench.order import by_beginning
from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, load_questions

from tests.runners.conftest import Runner
from tests.tools.benchmark import Benchmark

PROMPTS = '''
Facts = "Find it."
Numbers = "Compute it."
User_Prompt = """{Table}
Question: {Question}
[Final Answer]: {Answer_format}"""
Answer_Prompt = {"Fact Checking": Facts, "Numerical Reasoning": Numbers}
'''
MIXED = [  # id, table, kind
    (1, "quays", "Numerical Reasoning"),
    (2, "boats", "Fact Checking"),
    (3, "quays", "Fact Checking"),
    (4, "boats", "Fact Checking"),
    (5, "quays", "Numerical Reasoning"),
    (6, "boats", "Numerical Reasoning"),
    (7, "quays", "Fact Checking"),
]
TOGETHER = [1, 5, 3, 7, 2, 4, 6]


@pytest.fixture
def mixed(tmp_path: Path) -> Benchmark:
    benchmark = Benchmark(tmp_path)
    benchmark.add_table("boats")
    benchmark.add_table("quays")
    for number, table, kind in MIXED:
        benchmark.ask(number, table, f"How many boats lie in Saltby? (No. {number})", "63", kind)
    return benchmark


@pytest.mark.parametrize("wording", ["ours", "the benchmark's"])
@pytest.mark.parametrize("modality", ["text", "image", "mix"])
def test_tables_come_together_and_of_one_table_those_with_the_same_instructions(
    mixed: Benchmark, tmp_path: Path, wording: str, modality: str
) -> None:
    (tmp_path / "prompts.py").write_text(PROMPTS)
    prompts = OwnPrompts() if wording == "ours" else BenchmarkPrompts(tmp_path / "prompts.py", modality)
    questions = load_questions(mixed.questions_file, pytest.fail)
    inputs = InputFiles(mixed.data, modality, None if modality == "image" else "csv")

    assert [question.id for question in by_beginning(questions, prompts, inputs)] == TOGETHER


@pytest.mark.parametrize("modality", ["text", "image", "mix"])
def test_the_longest_tables_come_first(tmp_path: Path, modality: str) -> None:
    benchmark = Benchmark(tmp_path)
    for number, rows in enumerate((3, 40, 12), start=1):
        benchmark.add_table(f"table{number}", tuple((f"Harbour {row}", row, row / 2) for row in range(rows)))
        # Their pictures are the other way round.
        (benchmark.data / "image" / f"table{number}.png").write_bytes(bytes(100 - rows))
        for place in (0, 3):
            benchmark.ask(number + place, f"table{number}", "How many boats?", "63")
    benchmark.ask(7, "gone", "How many boats?", "63")
    questions = load_questions(benchmark.questions_file, pytest.fail)
    inputs = InputFiles(benchmark.data, modality, None if modality == "image" else "csv")

    ordered = [question.id for question in by_beginning(questions, OwnPrompts(), inputs)]
    assert ordered == ([1, 4, 3, 6, 2, 5, 7] if modality == "image" else [2, 5, 3, 6, 1, 4, 7])


def test_a_question_without_words_is_asked_too(mixed: Benchmark) -> None:
    mixed.ask(8, "boats", "", "63")
    questions = load_questions(mixed.questions_file, pytest.fail)
    ordered = by_beginning(questions, OwnPrompts(), InputFiles(mixed.data, "text", "csv"))

    assert sorted(int(question.id) for question in ordered) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_first_of_the_list_are_chosen_before_they_are_ordered(mixed: Benchmark, tmp_path: Path) -> None:
    runner = Runner(mixed, tmp_path / "output")
    runner.run("--max-queries", "4")
    assert [result["id"] for result in runner.journal] == [1, 3, 2, 4]

    runner.run("--resume")
    assert [result["id"] for result in runner.journal] == [1, 3, 2, 4, 5, 7, 6]


def test_what_has_failed_more_often_comes_behind_the_others(mixed: Benchmark, tmp_path: Path) -> None:
    runner = Runner(mixed, tmp_path / "output")
    runner.output.mkdir()
    failed, answered = "[ERROR] The server is gone", "63"
    told = [(1, failed), (5, failed), (1, failed), (5, answered)]
    (runner.output / "results.jsonl").write_text(
        "".join(json.dumps({"id": task, "Prediction": said}) + "\n" for task, said in told)
    )
    # Of what is told by its last result alone nobody knows how often it has failed before.
    (runner.output / "results.json").write_text(json.dumps([{"id": 3, "Prediction": failed}]))
    runner.run()

    assert [result["id"] for result in runner.journal[len(told) :]] == [5, 7, 2, 4, 6, 3, 1]


def test_stopped_in_the_middle_it_goes_on_with_the_rest(mixed: Benchmark, tmp_path: Path) -> None:
    runner = Runner(mixed, tmp_path / "output")
    process = runner.start("--demo-seconds", "0.2")
    runner.wait_for_tasks(2)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=60)
    assert process.returncode == 75
    answered = len(runner.journal)
    assert 2 <= answered < 7

    runner.run("--resume")
    assert [result["id"] for result in runner.journal[:answered]] == TOGETHER[:answered]
    assert sorted(result["id"] for result in runner.journal) == sorted(TOGETHER)
    totals = {event["total"] for event in runner.events if event["event"] == "progress"}
    assert totals == {7, 7 - answered}


def test_a_question_without_a_prompt_is_told_before_anything_is_loaded(
    mixed: Benchmark, tmp_path: Path
) -> None:
    (tmp_path / "prompts.py").write_text(PROMPTS)
    mixed.ask(9, "boats", "Draw.", "[1]", "Something new")
    runner = Runner(mixed, tmp_path / "output")
    ended = runner.run("--prompts", tmp_path / "prompts.py")

    assert ended.returncode == 78
    assert ended.stderr.startswith("error: ")
    assert "Answer_Prompt has nothing for 'Something new' (task 9)" in ended.stderr
    assert [event["event"] for event in runner.events] == []
    # The folder is free again.
    assert runner.run("--ids", "1,2").returncode == 0
