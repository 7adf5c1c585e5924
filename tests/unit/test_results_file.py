"""One file of results, whatever state it is in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.checkpoints import results_file
from hitui.adapters.checkpoints.journal import Journal
from hitui.adapters.checkpoints.reading import UnreadableFile
from hitui.adapters.checkpoints.results_file import read_results_file
from hitui.errors import WorkspaceError
from hitui.services.results import results_that_count
from tests.tools.results import NO_ANSWER, TOO_LARGE, answer, failure, read, write_questions, write_results


def test_answers_and_errors_are_told_apart_whatever_processed_ids_says(tmp_path: Path) -> None:
    path = write_results(
        tmp_path / "checkpoint.json", [answer(1, seconds=1.5), failure(2)], processed_ids=[1, 2, 3]
    )
    reading = read_results_file(path)
    assert reading.answered == {1: 1.5}
    assert reading.errors == {2: TOO_LARGE}
    assert reading.repeated == ()


@pytest.mark.parametrize("order", [[answer(1), failure(1)], [failure(1), answer(1)]])
def test_an_id_may_stand_twice(tmp_path: Path, order: list[dict[str, object]]) -> None:
    for more in ({}, {"Metrics": {"F1": float("nan")}}):
        entries = [{**entry, **more} for entry in (*order, answer(2), failure(3))]
        reading = read_results_file(write_results(tmp_path / "results.json", entries))
        assert set(reading.answered) == {1, 2}
        assert reading.repeated == (1,)


@pytest.mark.parametrize(
    ("task", "twin"), [(7, "7"), ("7", 7), ("07", None), ("-7", None), ("٧", None), ("q7", None), ("", None)]
)
def test_a_number_and_its_text_are_twins(task: int | str, twin: int | str | None) -> None:
    assert results_file.twin_of(task) == twin


def test_of_two_errors_the_later_counts(tmp_path: Path) -> None:
    path = write_results(tmp_path / "results.json", [failure(1, "[ERROR] one"), failure(1, "[ERROR] two")])
    assert read_results_file(path).errors == {1: "[ERROR] two"}


@pytest.mark.parametrize("name", ["results.json", "results.jsonl"])
@pytest.mark.parametrize("beyond_json", [False, True])
def test_how_far_up_the_ladder_a_failed_task_was_tried_is_read(
    tmp_path: Path, name: str, beyond_json: bool
) -> None:
    more = {"Metrics": {"F1": float("nan")}} if beyond_json else {}
    entries = [
        {**failure(1), "Recovery": {"rung": 1, "pixel_share": 0.5}},
        {**failure(1), "Recovery": {"rung": 2}},
        {**failure(2), "Recovery": {"rung": 3}},
        failure(2),
        {**answer(3), "Recovery": {"rung": 4}},
        *({**failure(4 + at), "Recovery": odd} for at, odd in enumerate((None, [], "3", {"rung": True}))),
        {**failure(8), "Recovery": {"rung": -1}},
        failure(9),
    ]
    entries = [{**entry, **more} for entry in entries]
    path = tmp_path / name
    if name.endswith("l"):
        path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
        reading = Journal(path).read()
    else:
        reading = read_results_file(write_results(path, entries))
    assert reading.rungs == {1: 2}
    assert set(reading.answered) == {3}
    assert set(reading.errors) == {1, 2, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize("name", ["results.json", "results.jsonl"])
@pytest.mark.parametrize(
    "recovery", [b"1e999", b'"\xff"', b"1" * 5000, b'{"rung": 1e999}', b'{"rung": 2, "pixels": "\xff"}']
)
def test_a_recovery_that_nobody_can_read_costs_no_result(tmp_path: Path, name: str, recovery: bytes) -> None:
    lines = [
        json.dumps(failure(1))[:-1].encode() + b', "Recovery": ' + recovery + b"}",
        json.dumps(answer(2))[:-1].encode() + b', "Recovery": ' + recovery + b"}",
        json.dumps(answer(3)).encode(),
    ]
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines) if name.endswith("l") else b"[" + b",".join(lines) + b"]")
    reading = Journal(path).read() if name.endswith("l") else read_results_file(path)
    assert set(reading.errors) == {1}
    assert set(reading.answered) == {2, 3}
    assert reading.rungs == {}
    assert reading.problems == ()


def test_a_bare_list_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("\n " + json.dumps([answer(1)]))
    assert set(read_results_file(path).answered) == {1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_python_writes_beyond_json_is_read(tmp_path: Path, value: float) -> None:
    path = write_results(tmp_path / "results.json", [{**answer(1), "Metrics": {"F1": value}}, failure(2)])
    reading = read_results_file(path)
    assert reading.answered == {1: 2.0}
    assert set(reading.errors) == {2}


def test_ids_may_be_text(tmp_path: Path) -> None:
    path = write_results(tmp_path / "results.json", [answer("a-1"), answer(2)])
    assert set(read_results_file(path).answered) == {"a-1", 2}


def test_an_entry_of_no_use_is_named_and_the_others_count(tmp_path: Path) -> None:
    entries = [answer(1), {"Prediction": "x"}, {"id": 3}, 17, {"id": True, "Prediction": "x"}, answer(6)]
    reading = read_results_file(write_results(tmp_path / "results.json", entries))  # type: ignore[arg-type]
    assert set(reading.answered) == {1, 6}
    assert reading.problems == (
        "3 entries (number 2, 4, 5) without an id: not counted",
        "1 result (id 3) without Prediction: not counted",
    )


def test_a_prediction_that_is_no_text_is_an_answer(tmp_path: Path) -> None:
    path = write_results(
        tmp_path / "results.json", [{"id": 1, "Prediction": 4.2}, {"id": 2, "Prediction": ["x"]}]
    )
    assert set(read_results_file(path).answered) == {1, 2}


WHOLE = json.dumps({"results": [answer(1), answer(2)]}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"  \n\n ", "is empty"),
        (WHOLE[: len(WHOLE) // 2], "is not whole JSON"),
        (WHOLE[:-1], "is not whole JSON"),
        (WHOLE + b"}", "is not whole JSON"),
        (b'{"results": [{"id": 1, "Metrics": {"F1": NaN}, "Predic', "is not whole JSON"),
        (b'{"results": [{"id": 1, "ProcessingTime": -Infini', "is not whole JSON"),
        (bytes(5000), "is not JSON text at byte 0"),
        (b"\xff\xfe\x00garbage", "is not JSON text at byte 0"),
        (b" {\x93\x10random", "is not JSON text at byte 2"),
        (b'{"results": [{"id": 1, "Prediction": "\xff"}]}', "is not UTF-8 text .byte 38."),
        (b'{"results": [{"id": 1, "Prediction": "\xff"}', "is not UTF-8 text .byte 38."),
        (b"\xff\xfe\x00garbage}", "is not UTF-8 text|is not whole JSON"),
        (b'{"results": {"task": 1}}', "no list `results`"),
        (b"[" * 100_000, "JSON"),
        (b"7", "is JSON, but no object or list of results"),
        (b"null\n", "is JSON, but no object or list of results"),
        (b'"text"', "is JSON, but no object or list of results"),
        (b'{"tasks": []}', "no list `results`"),
    ],
)
def test_a_file_of_no_use_is_refused_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=said) as refused:
        read_results_file(path)
    assert "\n" not in str(refused.value)


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").mkdir()
    with pytest.raises(UnreadableFile, match="Is a directory"):
        read_results_file(tmp_path / "results.json")


def test_the_kept_buffer_shows_nothing_of_an_earlier_larger_file(tmp_path: Path) -> None:
    large = write_results(tmp_path / "large.json", [answer(task) for task in range(500)])
    small = write_results(tmp_path / "small.json", [answer(7)])
    assert len(read_results_file(large).answered) == 500
    assert set(read_results_file(small).answered) == {7}


def test_a_huge_file_is_read_by_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_results(tmp_path / "results.json", [answer(1), failure(2), answer("x"), answer("x")])
    here = read_results_file(path)
    monkeypatch.setattr(results_file, "LARGE", 10)
    assert read_results_file(path) == here

    # Nor does that run what lies where somebody only looks.
    (tmp_path / "msgspec.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert read_results_file(path.name) == here

    path.write_bytes(WHOLE[:-5])
    with pytest.raises(UnreadableFile, match="is not whole JSON"):
        read_results_file(path)


def test_whatever_ids_and_texts_a_huge_file_has_it_is_read_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_results(
        tmp_path / "results.json",
        [
            answer(10**30),
            failure(-(10**30)),
            failure(2, "[ERROR] \ud800"),
            answer("\ud800", seconds=float("nan")),
        ],
    )
    here = read_results_file(path)
    assert set(here.answered) == {10**30, "\ud800"}
    monkeypatch.setattr(results_file, "LARGE", 10)
    assert read_results_file(path) == here


def test_what_a_process_of_another_version_says_of_a_huge_file_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade replaces what such a process is started from under a supervisor or a screen."""
    path = write_results(tmp_path / "results.json", [answer(1)])
    monkeypatch.setattr(results_file, "LARGE", 10)
    other = tmp_path / "python"
    other.write_text(
        f"#!{sys.executable}\nimport marshal, sys\nsys.stdout.buffer.write(marshal.dumps((1,) * 40))\n"
    )
    other.chmod(0o755)
    monkeypatch.setattr(results_file.sys, "executable", str(other))
    with pytest.raises(UnreadableFile, match="of another version of hitui than this; start this one again"):
        read_results_file(path)


def test_a_process_that_breaks_over_a_huge_file_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_results(tmp_path / "results.json", [answer(1)])
    monkeypatch.setattr(results_file, "LARGE", 10)
    breaking = tmp_path / "python"
    breaking.write_text("#!/bin/sh\necho 'ZeroDivisionError: a defect' >&2\nexit 1\n")
    breaking.chmod(0o755)
    monkeypatch.setattr(results_file.sys, "executable", str(breaking))
    with pytest.raises(UnreadableFile, match="is huge, and the process that read it ended with status 1"):
        read_results_file(path)


@pytest.mark.parametrize("seconds", ["Infinity", "-Infinity", "NaN", "-5", "1e308", "1" + "0" * 400])
def test_times_that_no_task_can_take_are_none(tmp_path: Path, seconds: str) -> None:
    """An estimate made of them would be one that no screen can show."""
    write_questions(tmp_path / "questions.json", [1, 2])
    folder = tmp_path / "result" / "g" / "text_html"
    folder.mkdir(parents=True)
    text = f'{{"results": [{{"id": 1, "Prediction": "x", "ProcessingTime": {seconds}}}]}}'
    (folder / "results.json").write_text(text)
    state = read(tmp_path, "text_html").state
    assert (state.done, state.problems) == (1, ())
    assert state.seconds_per_task is None


@pytest.mark.parametrize(
    ("written", "listed", "counts"),
    [
        ([1, "2"], [1, 2], {1: "a", 2: "b"}),
        ([1, "2"], ["1", "2"], {"1": "a", "2": "b"}),
        (["1", 1], [1, "1"], {"1": "a", 1: "b"}),
        # Without a list a text that is a number is that number, and no number is a text.
        (["1", 2, "q"], [], {1: "a", 2: "b", "q": "c"}),
        (["q", "3"], [1], {"q": "a", "3": "b"}),
    ],
)
def test_a_result_counts_for_the_id_as_the_list_writes_it(
    tmp_path: Path, written: list[int | str], listed: list[int | str], counts: dict[int | str, str]
) -> None:
    path = write_results(
        tmp_path / "results.json", [answer(task, text) for task, text in zip(written, "abc", strict=False)]
    )
    found = results_that_count([path], listed)
    assert {task: result["Prediction"] for task, result in found.items()} == counts


def test_what_is_no_result_counts_for_nothing_and_no_error_takes_the_place_of_an_answer(
    tmp_path: Path,
) -> None:
    none = {**answer(6), "Prediction": None}
    odd: list[Any] = [None, 3, {"Prediction": "x"}, {"id": 5}, none, none]
    first = write_results(tmp_path / "results.json", [answer(1, "first"), failure(2), failure(3), *odd])
    then = tmp_path / "results.jsonl"
    then.write_text(
        "[" * 100_000
        + "".join(f"\n{json.dumps(entry)}" for entry in (failure(1), answer(2), failure(3, NO_ANSWER)))
        + '\n{"id": 7'
    )
    found = results_that_count([first, tmp_path / "gone.json", then], [1, 2, 6])
    assert {task: result["Prediction"] for task, result in found.items()} == {
        1: "first",
        2: answer(2)["Prediction"],
        3: NO_ANSWER,
        6: None,
    }
    first.write_text('{"results": 3}')
    assert set(results_that_count([first, then], [1, 2])) == {1, 2, 3}
    first.write_text('{"results": [')
    with pytest.raises(WorkspaceError, match="is no JSON"):
        results_that_count([first, then], [1, 2])
    first.unlink()
    first.mkdir()
    with pytest.raises(WorkspaceError, match=r"results\.json: cannot be read: Is a directory"):
        results_that_count([first, then], [1, 2])
