"""The order in which questions are asked: by table, the longest tables first, and of one table those whose prompts
begin alike come one after the other.

Engines and servers that keep what they computed need not compute a shared beginning again. The longest first, because
memory that is too small shows at once, and not after hours; and because questions over tables of about one length, which
an engine may answer together, then stand side by side. Results carry ids; what they say does not depend on the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, Question


def by_beginning(
    questions: Iterable[Question], prompts: OwnPrompts | BenchmarkPrompts, inputs: InputFiles
) -> tuple[Question, ...]:
    """The questions by table, and of one table by the words that stand before the question.

    Tables come by the size of their files, the largest first: that of the text, and where there is none, or several have
    one size, that of the picture. Tables of one size, words and questions keep the order in which they first come.
    Raises RunnerError where a question has no prompt.
    """
    groups: dict[str, dict[str, list[Question]]] = {}
    for question in questions:
        wording = prompts.wording(question, inputs.modality, inputs.table_format)
        words = f"{wording.before}\0{wording.after}"
        end = words.find(question.text)
        beginning = words[:end] if end >= 0 else words
        groups.setdefault(question.file_name, {}).setdefault(beginning, []).append(question)
    tables = [[question for alike in table.values() for question in alike] for table in groups.values()]
    tables.sort(key=lambda table: _sizes(table[0], inputs), reverse=True)
    return tuple(question for table in tables for question in table)


def failed_last(questions: Iterable[Question], failures: Callable[[Question], int]) -> tuple[Question, ...]:
    """The questions in their order, but those behind the others that have failed more often: what fails again whenever
    it is asked keeps no rerun from what was asked less."""
    return tuple(sorted(questions, key=failures))


def _sizes(question: Question, inputs: InputFiles) -> tuple[int, int]:
    """Bytes of the table's text and of its picture; 0 for one that is not there, or not read."""
    return _bytes(inputs.table(question)), _bytes(inputs.image(question))


def _bytes(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_size
    except (OSError, ValueError):
        # Whether it can be read shows when it is its turn.
        return 0
