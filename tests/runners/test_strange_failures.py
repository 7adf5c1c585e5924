"""Failures that a task does not explain by itself: one table's are its own, those of several tables end the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hitui_runners.engines.base import Prompt, Reply, TaskFailed
from hitui_runners.events import EventWriter
from hitui_runners.realhitbench.arguments import parse_arguments
from hitui_runners.realhitbench.evaluate import Launch, prepare
from hitui_runners.realhitbench.plan import config_of_options
from hitui_runners.realhitbench.questions import load_questions
from hitui_runners.realhitbench.strange_failures import MOST_TASKS, StrangeFailures
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import Runner, without_rights
from tests.runners.scripted import SEVEN, Scripted, launch
from tests.tools.benchmark import Benchmark


@pytest.mark.parametrize(
    ("asked", "tables", "ends_at"),
    [
        ("aaaaaaaabbccc", 9, 11),
        ("abcd", 9, None),
        ("abcde", 9, 5),
        ("aaaab", 2, 5),
        # There is no other table to tell by.
        ("aaaaaa", 1, 5),
        ("aaaaaaaaabbbbbbbbb", 9, None),
        ("a" * (MOST_TASKS + 1), 9, MOST_TASKS),
    ],
)
def test_the_fault_is_no_tables_own_where_several_fail_in_a_row(
    asked: str, tables: int, ends_at: int | None
) -> None:
    strange = StrangeFailures()
    failed = [strange.not_theirs(table, True, tables) for table in asked]
    assert next((count for count in failed if count), None) == ends_at
    if ends_at:
        # Of another config that begins as strangely, one is enough.
        assert failed[ends_at - 1 :] == list(range(ends_at, len(asked) + 1))


def test_whatever_ends_otherwise_ends_the_row() -> None:
    strange = StrangeFailures()
    failed = [strange.not_theirs(table, table != "-", 9) for table in "abcd-abcde"]
    assert failed == [0] * 9 + [5]


def unreadable(tmp_path: Path, *tables: int) -> Runner:
    """A runner for tables of which those with as many questions may not be read, and are the largest; and one more."""
    benchmark = Benchmark(tmp_path)
    for number, questions in enumerate(tables):
        name = f"bad{number}"
        benchmark.add_table(name, tuple((f"Harbour {row}", row, row / 2) for row in range(20)))
        (benchmark.data / f"html/{name}.html").chmod(0)
        for question in range(questions):
            benchmark.ask(10 * number + question + 1, name, "How many boats?", "63")
    benchmark.add_table("good")
    for question in range(4):
        benchmark.ask(101 + question, "good", f"How many boats lie in Saltby? (No. {question})", "63")
    runner = Runner(benchmark, tmp_path / "output")
    without_rights(runner)
    return runner


def test_a_table_that_cannot_be_read_fails_its_tasks_alone(tmp_path: Path) -> None:
    runner = unreadable(tmp_path, 8)
    ended = runner.run()
    assert ended.returncode == 0, ended.stderr

    said = {result["id"]: result["Prediction"] for result in runner.journal}
    path = runner.benchmark.data / "html/bad0.html"
    assert {said[number] for number in range(1, 9)} == {
        f"[ERROR] Input file cannot be read: {path}: Permission denied"
    }
    assert not any(said[number].startswith("[ERROR") for number in range(101, 105))


def test_a_rerun_of_a_damaged_table_alone_goes_through_all_of_it(tmp_path: Path) -> None:
    runner = unreadable(tmp_path, 8)
    runner.benchmark.add_table("another")
    runner.benchmark.ask(201, "another", "How many boats?", "63")
    assert runner.run().returncode == 0
    ended = runner.run("--resume")
    assert ended.returncode == 0, ended.stderr
    assert [result["id"] for result in runner.journal[-8:]] == list(range(1, 9))


def test_tables_that_cannot_be_read_end_no_run_however_many_are_looked_at_first(
    tmp_path: Path, signals: StopSignals
) -> None:
    runner = unreadable(tmp_path, 2, 2, 2)
    for path in (runner.benchmark.data / "html").iterdir():
        if path.name.startswith("bad"):
            # A file that gives nobody what stands at its beginning, as a broken disk does.
            path.unlink()
            path.symlink_to("/proc/self/mem")
    engine = Scripted(lambda prompt: SEVEN)
    engine.at_once, engine.looks_ahead = 1, 64
    assert launch(runner, engine, signals).run() == 0
    said = {result["id"]: result["Prediction"] for result in runner.journal}
    assert [said.pop(number) for number in range(101, 105)] == ["7"] * 4
    html = runner.benchmark.data / "html"
    assert sorted(set(said.values())) == [
        f"[ERROR] Input file cannot be read: {html / f'bad{number}.html'}: Input/output error"
        for number in range(3)
    ]


def test_a_disk_that_gives_nothing_ends_it() -> None:
    strange = StrangeFailures()
    failed = [strange.not_theirs(str(number), False, 999, unread=True) for number in range(MOST_TASKS)]
    assert failed == [0] * (MOST_TASKS - 1) + [MOST_TASKS]


def test_a_rerun_asks_first_what_was_asked_least(
    tmp_path: Path, signals: StopSignals, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = Benchmark(tmp_path)
    for number in range(3):
        benchmark.add_table(f"bad{number}", tuple((f"Harbour {row}", row, row / 2) for row in range(20)))
        for question in (1, 2):
            benchmark.ask(10 * number + question, f"bad{number}", "How many boats?", "63")
    benchmark.add_table("good")
    benchmark.ask(101, "good", "How many boats lie in Saltby?", "63")
    runner = Runner(benchmark, tmp_path / "output")

    def act(prompt: Prompt) -> Reply:
        if prompt.task_id == 101:
            return SEVEN
        raise TaskFailed("Server: 400: content filter", unexpected=True)

    words = parse_arguments([*runner.words()[1:], "--resume"])
    for asked in ([1, 2, 11, 12, 21], [22, 101, 1, 2, 11, 12, 21]):
        before = len(runner.journal)
        engine = Scripted(act)
        engine.at_once = 1
        made = Launch(engine, signals, EventWriter(str(runner.events_file)))
        questions = load_questions(benchmark.questions_file, pytest.fail)
        made.add(*prepare(words, config_of_options(words), engine, questions, signals))
        assert made.run() == 1
        assert "failed with errors that are not theirs" in capsys.readouterr().err
        assert [result["id"] for result in runner.journal[before:]] == asked
