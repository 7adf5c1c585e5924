"""Question lists, and what is said of those that are not as they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.questions import read_questions
from hitui.adapters.checkpoints.reading import UnreadableFile
from hitui.settings import Settings
from tests.tools.results import answer, counts, read, write_dataset, write_questions, write_results

LATIN_1 = '{"queries": [{"id": 1, "FileName": "caf\xe9", "QuestionType": "x", "Question": "?"}]}'.encode(
    "latin-1"
)


def write(path: Path, *queries: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"queries": queries}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not whole JSON"),
        (b'{"queries": [{"id": 1', "is not whole JSON"),
        (b"[" * 100_000, "is not whole JSON"),
        (b'{"queries": {}}', "has no list `queries`"),
        (b"[]", "holds no questions:"),
        (b'[{"FileName": "a"}]', "holds no questions with an id"),
        (LATIN_1, f"is not UTF-8 text (byte {LATIN_1.index(0xE9)})"),
    ],
)
def test_what_is_no_question_list_is_said_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "questions.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as caught:
        read_questions(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_cannot_be_read_leaves_the_choice_to_the_others(tmp_path: Path) -> None:
    good = write_questions(tmp_path / "data" / "b.json", [1, 2])
    (tmp_path / "data" / "a.json").write_bytes(LATIN_1)
    result = write_results(tmp_path / "result" / "g" / "text_html" / "results.json", [answer(1)])
    assert Catalogue(Settings(root=tmp_path)).questions_file == good
    # A table's name that is no UTF-8 text in the results is compared with nothing.
    result.write_bytes(b'{"results": [{"id": 1, "FileName": "caf\xe9", "Prediction": "x"}]}')
    assert Catalogue(Settings(root=tmp_path)).questions_file == good


def test_what_is_wrong_with_single_questions_is_counted_and_said(tmp_path: Path) -> None:
    table = {"FileName": "table1", "QuestionType": "x"}
    path = write(tmp_path / "q.json", {"id": 1, **table}, {"id": 1, **table}, {"id": 2}, {"id": None}, 7)
    questions = read_questions(path)
    assert [question.id for question in questions.questions] == [1, 2]
    assert questions.problems == (
        "2 questions without an id (number 4, 5): not counted; give them one",
        "1 id stands more than once (1): the first of each counts; remove the others",
        "1 question without FileName (id 2): whether its files are here cannot be told; name its table",
    )


def test_a_question_without_a_table_is_not_blocked_for_a_file_of_no_name(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", ["table1"])
    write(tmp_path / "data" / "q.json", {"id": 1, "FileName": "table1", "Question": "?"}, {"id": 2})
    write_results(tmp_path / "g" / "mix_html" / "results.json", [answer(1)])
    assert counts(read(tmp_path).state) == (1, 0, 1, 0)


def test_an_endless_id_is_named_by_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps({"queries": [{"id": "x" * 5000, "FileName": "t"}] * 2}))
    (problem,) = read_questions(path).problems
    assert problem.startswith(f"1 id stands more than once ({'x' * 40}…): ")
