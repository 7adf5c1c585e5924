"""The order in which questions are asked: those whose prompts begin alike come one after the other.

Engines and servers that keep what they computed need not compute a shared beginning again. Results carry ids; what
they say does not depend on the order.
"""

from __future__ import annotations

from collections.abc import Iterable

from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, Question


def by_beginning(
    questions: Iterable[Question], prompts: OwnPrompts | BenchmarkPrompts, inputs: InputFiles
) -> tuple[Question, ...]:
    """The questions by table, and of one table by the words that stand before the question.

    Tables, words and questions keep the order in which they first come. Raises RunnerError where a question has no
    prompt.
    """
    groups: dict[str, dict[str, list[Question]]] = {}
    for question in questions:
        wording = prompts.wording(question, inputs.modality, inputs.table_format)
        words = f"{wording.before}\0{wording.after}"
        end = words.find(question.text)
        beginning = words[:end] if end >= 0 else words
        groups.setdefault(question.file_name, {}).setdefault(beginning, []).append(question)
    return tuple(question for table in groups.values() for alike in table.values() for question in alike)
