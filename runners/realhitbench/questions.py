"""The question list, and the input files of a question.

Question list: JSON `{"queries": [{"id", "FileName", "Question", "QuestionType", "SubQType", "FinalAnswer",
"ProcessedAnswer", …}, …]}`, or that list alone. Files of the table X: `html/X.html`, `csv/X.csv`, `latex/X.txt`, `markdown/X.md`,
`json/X.json`, `image/X.png`, `tables/X.xlsx`, below one data folder.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitui_runners.engines.base import TaskFailed
from hitui_runners.errors import RunnerError, SetupError, setup_error
from hitui_runners.look import IS_POINTER, can_be_entered, is_file, is_pointer
from hitui_runners.output import named
from hitui_runners.realhitbench.results import task_id

MODALITIES = ("text", "image", "mix")
TABLE_FORMATS = {"html": "html", "csv": "csv", "latex": "txt", "markdown": "md", "json": "json"}
"""Folder of a format → ending of its files."""
VISUALIZATION = "Visualization"
NUL_SHARE, REPLACED_SHARE = 10, 3
"""Where more than this part of the characters of a table are NUL, or had to be replaced, it is none."""
FEW = 40
"""Of so many characters no share says anything."""


@dataclass(frozen=True)
class Question:
    id: int | str
    file_name: str
    """Stem of the table's files."""
    text: str
    question_type: str
    sub_type: str
    reference: str | None
    """`FinalAnswer`; for Visualization, whose `FinalAnswer` is a program, `ProcessedAnswer`: the plotted values. None where
    the list does not tell it."""


def load_questions(path: Path, warn: Callable[[str], None]) -> tuple[Question, ...]:
    """The questions in the order of the file. Raises RunnerError where the file is of no use.

    Entries without id, table or question are named and left out, and so are all but the first of an id.
    """
    try:
        # Bytes, so that a byte order mark is no mistake.
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise setup_error(
            f"{path}: the question list cannot be read: {error.strerror}; give another by --questions", error
        ) from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: the question list is no JSON: {error}") from error
    entries = data.get("queries") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise SetupError(f'{path}: a question list is an object with a list "queries"')
    questions: dict[int | str, Question] = {}
    unusable: list[int] = []
    repeated: dict[int | str, None] = {}
    for number, entry in enumerate(entries, start=1):
        question = _question(entry)
        if question is None:
            unusable.append(number)
        elif question.id in questions:
            repeated[question.id] = None
        else:
            questions[question.id] = question
    if unusable:
        warn(
            f"{path}: entries without a usable id, FileName or Question are left out: number {named(unusable)}"
        )
    if repeated:
        warn(
            f"{path}: ids that stand more than once: {named(list(repeated))}; the first entry of each counts"
        )
    if not questions:
        raise SetupError(f"{path}: the question list is empty")
    return tuple(questions.values())


def _question(entry: Any) -> Question | None:
    if not isinstance(entry, dict):
        return None
    identifier, file_name, text = task_id(entry), entry.get("FileName"), entry.get("Question")
    if identifier is None:
        return None
    if not isinstance(file_name, str) or not isinstance(text, str) or Path(file_name).name != file_name:
        return None
    question_type = str(entry.get("QuestionType") or "")
    key = "ProcessedAnswer" if question_type == VISUALIZATION else "FinalAnswer"
    reference = entry.get(key)
    return Question(
        identifier,
        file_name,
        text,
        question_type,
        str(entry.get("SubQType") or ""),
        # As it is read: a letter that is written as its number is no word of anybody's answer.
        reference
        if reference is None or isinstance(reference, str)
        else json.dumps(reference, ensure_ascii=False),
    )


@dataclass(frozen=True)
class InputFiles:
    """Where the tables of one config lie."""

    data: Path
    modality: str
    table_format: str | None
    """Key of TABLE_FORMATS; None for image."""

    def image(self, question: Question) -> Path | None:
        """The picture of the table; None for text."""
        return None if self.modality == "text" else self.data / "image" / f"{question.file_name}.png"

    def table(self, question: Question) -> Path | None:
        """The table in the config's format; None for image."""
        if self.modality == "image" or self.table_format is None:
            return None
        return self.data / self.table_format / f"{question.file_name}.{TABLE_FORMATS[self.table_format]}"

    def files(self, question: Question) -> list[Path]:
        """What is shown to the model: the picture of the table, its text, or both."""
        return [path for path in (self.image(question), self.table(question)) if path is not None]

    def absent(self, question: Question) -> tuple[str, ...]:
        """Names, relative to the data folder, of the files that the question needs and that are not there."""
        needed = self.files(question)
        if question.question_type == VISUALIZATION:
            needed.append(self.data / "tables" / f"{question.file_name}.xlsx")
        return tuple(str(path.relative_to(self.data)) for path in needed if not is_file(path))

    def require_folders(self) -> None:
        """Raises RunnerError where the files of all questions are out of reach."""
        for name in (self.table_format, None if self.modality == "text" else "image"):
            if name is not None and not can_be_entered(self.data / name):
                raise RunnerError(
                    f"{self.data / name}: the folder of input files is gone or may not be entered; "
                    "bring it back and run again with --resume"
                )


def read_table(path: Path, *, is_needed: bool = True) -> str:
    """The text of a table. Bytes that are no UTF-8 are replaced: one bad byte must not cost the question.

    Raises OSError where the disk does not give it and, where it `is_needed`, TaskFailed for a file that holds none.
    """
    content = path.read_bytes()
    text = content.decode(_encoding(content), errors="replace").removeprefix("\ufeff")
    if not is_needed:
        return text
    if is_pointer(content):
        why = IS_POINTER
    elif not text.strip():
        why = "is empty"
    elif len(text) > FEW and (
        text.count("\0") * NUL_SHARE > len(text) or text.count("\ufffd") * REPLACED_SHARE > len(text)
    ):
        why = "is no text in UTF-8; convert it, or bring the table"
    else:
        return text
    raise TaskFailed(f"Input file cannot be read: {path}: {why}")


def _encoding(content: bytes) -> str:
    """By its byte order mark. That of UTF-32 begins as the one of UTF-16 does."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
