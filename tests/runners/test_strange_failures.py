"""Failures that a task does not explain by itself: one table's are its own, those of several tables end the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hitui_runners.realhitbench.strange_failures import MOST_TASKS, StrangeFailures

from tests.runners.conftest import PLAIN_PYTHON, Runner, without_rights
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
    runner = Runner(benchmark, tmp_path / "output", PLAIN_PYTHON)
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


def test_a_rerun_asks_first_what_was_never_asked(tmp_path: Path) -> None:
    runner = unreadable(tmp_path, 2, 2, 2)
    ended = runner.run()
    assert ended.returncode == 1
    assert "the last 5 tasks failed with errors that are not theirs" in ended.stderr
    failed = [result["id"] for result in runner.journal]
    assert failed == [1, 2, 11, 12, 21]

    ended = runner.run("--resume")
    assert "the last 5 tasks failed with errors that are not theirs" in ended.stderr
    again = [result["id"] for result in runner.journal[5:]]
    assert again == [22, 101, 102, 103, 104, *failed]
