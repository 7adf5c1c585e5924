"""Question lists: the file that says which tasks there are.

The format is that of RealHiTBench's `QA_final.json`: an object with a list `queries` of objects with `id`,
`FileName` (stem of the table's files) and `QuestionType`; a bare list of them is read as well.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from hitui.adapters.checkpoints.reading import UnreadableFile, listed
from hitui.adapters.checkpoints.results_file import id_of
from hitui.decoding import json_decoder
from hitui.domain.tasks import Question, TaskId
from hitui.domain.units import counted


class QuestionList(msgspec.Struct, frozen=True):
    """All questions of one file, each id once."""

    path: Path
    questions: tuple[Question, ...]
    """In the order of the file."""
    by_id: dict[TaskId, Question]
    problems: tuple[str, ...] = ()
    """What was wrong with single entries, without the file's name."""


class _Question(msgspec.Struct, gc=False):
    id: TaskId
    FileName: str = ""
    QuestionType: str = ""


class _Queries(msgspec.Struct, gc=False):
    queries: list[_Question]


_decode_object = json_decoder(_Queries)
_decode_list = json_decoder(list[_Question])


def read_questions(path: Path) -> QuestionList:
    """The question list in `path`. Raises UnreadableFile, with a line that does not name the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error
    try:
        if content[:64].lstrip()[:1] == b"[":
            entries = _decode_list(content)
        else:
            entries = _decode_object(content).queries
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_tolerantly(path, content)
    return _collect(path, (Question(entry.id, entry.FileName, entry.QuestionType) for entry in entries), ())


def looks_like_questions(path: Path) -> bool:
    """Whether the head of a JSON file is that of a question list; reads 4 KB at most."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return b'"FileName"' in head and b'"Question' in head and b'"Prediction"' not in head


def _read_tolerantly(path: Path, content: bytes) -> QuestionList:
    try:
        data = json.loads(content)
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"is not whole JSON ({error}): put a whole copy there") from error
    entries = data.get("queries") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise UnreadableFile("has no list `queries`: name the question list as `[workspace] questions`")
    without_id = [position for position, entry in enumerate(entries, start=1) if id_of(entry) is None]
    problems: tuple[str, ...] = ()
    if without_id:
        problems = (
            f"{counted(len(without_id), 'question')} without an id (number {listed(without_id)}): not counted; give them one",
        )
    return _collect(path, (_question(entry) for entry in entries if id_of(entry) is not None), problems)


def _question(entry: dict[str, Any]) -> Question:
    task = id_of(entry)
    assert task is not None
    file_name, question_type = entry.get("FileName"), entry.get("QuestionType")
    return Question(
        task,
        file_name if isinstance(file_name, str) else "",
        question_type if isinstance(question_type, str) else "",
    )


def _collect(path: Path, questions: Iterable[Question], problems: tuple[str, ...]) -> QuestionList:
    """Raises UnreadableFile when there are no questions."""
    each_once = tuple(questions)
    by_id = {question.id: question for question in reversed(each_once)}
    if len(by_id) != len(each_once):
        counts = Counter(question.id for question in each_once)
        twice = [task for task, count in counts.items() if count > 1]
        problems += (
            f"{counted(len(twice), 'id stands', 'ids stand')} more than once ({listed(twice)}): the first of each counts; remove the others",
        )
        each_once = tuple(question for question in each_once if by_id[question.id] is question)
    without_table = [question.id for question in each_once if not question.file_name]
    if without_table:
        problems += (
            f"{counted(len(without_table), 'question')} without FileName (id {listed(without_table)}): "
            "whether its files are here cannot be told; name its table",
        )
    if not each_once:
        # With a total of 0 every config would be called whole.
        which = "questions with an id" if problems else "questions"
        raise UnreadableFile(
            f"holds no {which}: put a whole copy there, or name the question list as `[workspace] questions`"
        )
    return QuestionList(path, each_once, by_id, problems)
