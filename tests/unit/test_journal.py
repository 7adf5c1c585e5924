"""The journal: lines are appended while it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.adapters.checkpoints import journal as module
from hitui.adapters.checkpoints.journal import Journal
from hitui.adapters.checkpoints.reading import UnreadableFile
from tests.tools.results import TOO_LARGE, answer, append_lines, failure


def test_only_what_was_added_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = append_lines(tmp_path / "results.jsonl", [failure(1), answer(2)])
    journal = Journal(path)
    assert journal.read().errors == {1: TOO_LARGE}
    decoded: list[bytes] = []
    decode = module._decode_line
    monkeypatch.setattr(module, "_decode_line", lambda line: (decoded.append(line), decode(line))[1])
    append_lines(path, [answer(1)])
    reading = journal.read()
    assert set(reading.answered) == {1, 2}
    assert reading.repeated == ()
    assert len(decoded) == 1


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    path = append_lines(tmp_path / "results.jsonl", [answer(1)])
    line = json.dumps(answer(2)) + "\n"
    journal = Journal(path)
    with path.open("a") as file:
        file.write(line[:20])
        file.flush()
        assert set(journal.read().answered) == {1}
        file.write(line[20:])
        file.flush()
        assert set(journal.read().answered) == {1, 2}
    assert journal.read().problems == ()


def test_several_results_without_line_ends_are_told(tmp_path: Path) -> None:
    line = json.dumps(answer(2)) + ", " + json.dumps(answer(3))
    path = append_lines(tmp_path / "results.jsonl", [answer(1)])
    with path.open("a") as file:
        file.write(line)
    reading = Journal(path).read()
    assert set(reading.answered) == {1}
    assert reading.problems == (
        "line 2 is no result and no torn one: not counted; put each result on a line of its own",
    )

    path.write_bytes(json.dumps(answer(1)).encode() + b"\n" + bytes(9) + json.dumps(answer(2)).encode())
    assert Journal(path).read().problems == ("line 2 is no JSON: not counted; its task runs again",)

    path.write_text(line)
    with pytest.raises(UnreadableFile, match="is no journal, its one line is no result: "):
        Journal(path).read()


def test_a_whole_last_line_counts_before_its_newline_comes_and_once(tmp_path: Path) -> None:
    path = append_lines(tmp_path / "results.jsonl", [answer(1), answer(2)])
    with path.open("a") as file:
        file.write(json.dumps(answer(3)))
    journal = Journal(path)
    for _ in range(2):
        assert set(journal.read().answered) == {1, 2, 3}
    with path.open("a") as file:
        file.write("\nno result\n" + json.dumps(failure(4)))
    reading = journal.read()
    assert (set(reading.answered), set(reading.errors), reading.repeated) == ({1, 2, 3}, {4}, ())
    assert reading.problems == ("line 4 is no JSON: not counted; its task runs again",)


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("wrap", [lambda results: results, lambda results: {"results": results}])
@pytest.mark.parametrize("end", ["", "\n"])
def test_one_json_text_with_the_name_of_a_journal_is_refused_in_one_line(
    tmp_path: Path, indent: int | None, wrap: Callable[[object], object], end: str
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(wrap([answer(1), answer(2)]), indent=indent) + end)
    with pytest.raises(UnreadableFile, match=r"^is no journal, .* rename it to \.json") as refused:
        Journal(path).read()
    assert "\n" not in str(refused.value)


def test_a_json_list_with_a_result_a_line_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("[\n" + ",\n".join(json.dumps(answer(task)) for task in range(3)) + "\n]\n")
    with pytest.raises(UnreadableFile, match="is no journal, 4 of its 5 lines are no results"):
        Journal(path).read()


def test_of_many_broken_lines_the_first_are_named(tmp_path: Path) -> None:
    path = append_lines(tmp_path / "results.jsonl", [answer(1)])
    with path.open("a") as file:
        file.write("rubbish\n" * 40)
    reading = Journal(path).read()
    assert set(reading.answered) == {1}
    assert len(reading.problems) == 6
    assert reading.problems[-1] == "35 more lines are no results: not counted"


def test_a_torn_line_that_is_cut_away_and_written_anew(tmp_path: Path) -> None:
    path = append_lines(tmp_path / "results.jsonl", [answer(1)])
    whole = path.stat().st_size
    journal = Journal(path)
    with path.open("a") as file:
        file.write('{"id": 2, "Pred')
    journal.read()
    with path.open("r+b") as file:
        file.truncate(whole)
    append_lines(path, [answer(3)])
    assert set(journal.read().answered) == {1, 3}


def test_a_replaced_or_shortened_file_is_read_anew(tmp_path: Path) -> None:
    path = append_lines(tmp_path / "results.jsonl", [answer(1), answer(2)])
    journal = Journal(path)
    journal.read()
    other = append_lines(tmp_path / "other", [answer(8), answer(9), answer(10)])
    other.replace(path)
    assert set(journal.read().answered) == {8, 9, 10}
    path.write_text(json.dumps(answer(4)) + "\n")
    assert set(journal.read().answered) == {4}
    path.write_text("".join(json.dumps(answer(task)) + "\n" for task in range(20, 30)))
    assert set(journal.read().answered) == set(range(20, 30))


def test_an_answer_stays_when_an_error_follows_and_two_answers_are_named(tmp_path: Path) -> None:
    path = append_lines(tmp_path / "results.jsonl", [answer(1), failure(1), answer(2), answer(2)])
    reading = Journal(path).read()
    assert set(reading.answered) == {1, 2}
    assert reading.repeated == (2,)


def test_a_broken_line_further_up_is_named_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(
        json.dumps(answer(1)).encode()
        + b'\n{"id": 2, "Pre\n\n\x00\x00\n{"Prediction": "x"}\n'
        + json.dumps({**answer(5), "Metrics": {"F1": float("nan")}}).encode()
        + b"\n"
    )
    reading = Journal(path).read()
    assert set(reading.answered) == {1, 5}
    assert len(reading.problems) == 3
    assert reading.problems[0].startswith("line 2 is no JSON")
    assert "line 5 is a result without an id" in reading.problems[2]


def test_a_line_that_is_no_utf8_text_costs_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(
        b'{"id": 1, "Prediction": "a"}\n{"id": 2, "Prediction": "\xff"}\n{"id": 3, "Prediction": "b"}\n'
    )
    reading = Journal(path).read()
    assert reading.answered == {1: None, 3: None}
    assert reading.problems == ("line 2 is no JSON: not counted; its task runs again",)


def test_a_line_without_end_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    path = append_lines(tmp_path / "results.jsonl", [answer(1)])
    with path.open("a") as file:
        file.write("x" * 5000 + "\n")
    append_lines(path, [answer(3)])
    journal = Journal(path)
    reading = journal.read()
    assert set(reading.answered) == {1, 3}
    assert reading.problems == ("line 2 is no result (5001 bytes): not counted",)
    append_lines(path, [answer(4)])
    assert set(journal.read().answered) == {1, 3, 4}


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="No such file"):
        Journal(tmp_path / "results.jsonl").read()


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=12), st.data())
def test_reading_in_pieces_gives_what_reading_at_once_gives(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[int, bool]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "results.jsonl"
    lines = [json.dumps(answer(task) if good else failure(task)) + "\n" for task, good in history]
    content = "".join(lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    path.write_bytes(b"")
    journal = Journal(path)
    start = 0
    for cut in (*cuts, len(content)):
        with path.open("ab") as file:
            file.write(content[start:cut])
        start = cut
        reading = journal.read()
    assert reading == Journal(path).read()
    assert set(reading.answered) == {task for task, good in history if good}
