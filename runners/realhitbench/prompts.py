"""What a model is asked: our own wording, or the benchmark's own prompt files.

Our prompts put the table first and the question last, so that questions over one table share their beginning.

The benchmark keeps its prompts in Python files: strings under a name, `Answer_Prompt = {type: name, …}` and
`User_Prompt` with the fields {Table}, {Question} and {Answer_format}. They are read as literals with `ast` and
never run. `Answer_Prompt` is looked up by `QuestionType`, for Data Analysis by `SubQType`; where it has no such
key, a string named like the type (`Fact_Checking`) is taken. Given a folder, the file is chosen by modality:
`answer_prompt_llm.py` for text, `answer_prompt_mlm.py` for image, `answer_prompt_mix.py` for mix.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hitui_runners.errors import SetupError, setup_error
from hitui_runners.look import is_dir
from hitui_runners.realhitbench.questions import VISUALIZATION, Question

DATA_ANALYSIS = "Data Analysis"
FILE_OF_MODALITY = {
    "text": "answer_prompt_llm.py",
    "image": "answer_prompt_mlm.py",
    "mix": "answer_prompt_mix.py",
}

MEND = "correct it, or name another file (`prompts` in hitui.toml)"
"""What to do about a file of prompts."""
IN_THE_PLACE_OF_A_TABLE = "[See the table image]"
"""What the benchmark's scripts put there where the prompt has a place for the table and the picture alone shows it."""

_SHORT = "Answer with the number or the name alone, several of them separated by commas, and explain nothing."
_TWO_DECIMALS = "Give decimal numbers with two decimals."
_INSTRUCTIONS: dict[str, str] = {
    "Fact Checking": f"Find what the table says about this. {_SHORT} Where a yes or a no is asked for, say Yes or No.",
    "Structure Comprehending": f"Mind how headers nest and what they span. {_SHORT}",
    "Numerical Reasoning": f"Work the number out from the table's cells. {_SHORT} {_TWO_DECIMALS}",
    "Rudimentary Analysis": f"Compute what is asked for. {_SHORT} {_TWO_DECIMALS}",
    "Predictive Analysis": (
        "Predict from the trend in the table. Answer with the number, the name, or the trend in two or three "
        f"words (such as Increasing trend), and explain nothing. {_TWO_DECIMALS}"
    ),
    "Exploratory Analysis": (
        "Say how the quantities relate. For a correlation: No correlation (coefficient within 0.3 of zero), Weak "
        "positive or Weak negative correlation (up to 0.7), Strong positive or Strong negative correlation "
        "(beyond), a comma, and the coefficient with two decimals. For an impact: No clear impact, Positive impact "
        "or Negative impact. For a cause: one short clause."
    ),
    "Summary Analysis": "Summarise the table in a few sentences: what it holds, its main columns, what stands out.",
    "Anomaly Analysis": "Name the values that fall out of line, with where they stand, in one or two sentences.",
    VISUALIZATION: (
        "Write a complete Python program that draws the chart. It begins with `import pandas as pd` and `import "
        "matplotlib.pyplot as plt`, reads the table from the file table.xlsx with pandas, sorts the x axis in "
        "ascending order and ends with `plt.show()`. Write the program alone, without explanation."
    ),
}
_OTHER_TYPES = f"Answer from the table. {_SHORT}"
_FORMATS = {"html": "HTML", "csv": "CSV", "latex": "LaTeX", "markdown": "Markdown", "json": "JSON"}
_CODE_SHAPE = "import pandas as pd …"
REMINDER = (
    "\n\nYour reply must hold the line that begins with [Final Answer]: and then the answer. Give it now."
)


@dataclass(frozen=True)
class Wording:
    """The words of one prompt around its table."""

    before: str
    after: str


class OwnPrompts:
    """Our own wording."""

    def wording(self, question: Question, modality: str, table_format: str | None) -> Wording:
        if modality == "image":
            before = "The picture shows a table."
        else:
            shown = " The picture shows the same table." if modality == "mix" else ""
            before = f"A table in {_FORMATS.get(table_format or '', 'text')} format follows.{shown}\n\n"
        shape = _CODE_SHAPE if question.question_type == VISUALIZATION else "your answer"
        instructions = _INSTRUCTIONS.get(_kind(question), _OTHER_TYPES)
        return Wording(
            before,
            f"\n\n{instructions}\nEnd your reply with the answer in this form: [Final Answer]: {shape}\n\n"
            f"Question: {question.text}",
        )


class BenchmarkPrompts:
    """The benchmark's own prompts, from a file of theirs."""

    def __init__(self, path: Path, modality: str, *, table_first: bool = False) -> None:
        """Reads `path`, or the modality's file in the folder `path`. Raises RunnerError.

        `table_first`: the task's words stand behind the table, so that all questions over a table begin alike.
        """
        self._path = path / FILE_OF_MODALITY[modality] if is_dir(path) else path
        self._strings, self._prompts = literals(self._path, "Answer_Prompt")
        self._user = self._strings.get("User_Prompt", "")
        if "{Question}" not in self._user:
            raise SetupError(f"{self._path}: no string User_Prompt with the field {{Question}}; {MEND}")
        self._table_first = table_first and "{Table}" in self._user

    def wording(self, question: Question, modality: str, table_format: str | None) -> Wording:
        kind = _kind(question)
        task = self._prompts.get(kind) or self._strings.get(kind.replace(" ", "_"))
        if task is None:
            raise SetupError(
                f"{self._path}: Answer_Prompt has nothing for {kind!r} (task {question.id}); {MEND}"
            )
        fields = {"Question": question.text, "Answer_format": _answer_format(question)}
        if modality == "image":
            words = f"{task}\n{self._user}"
            return Wording(fill(words, {**fields, "Table": IN_THE_PLACE_OF_A_TABLE}), "")
        if modality == "text" and table_format is not None:
            task = fill(task, {"format": table_format})
        if self._table_first:
            before, _, after = self._user.partition("{Table}")
            after = f"\n{task}\n{after}"
        else:
            before, _, after = f"{task}\n{self._user}".partition("{Table}")
        return Wording(fill(before, fields), fill(after, fields))


def _kind(question: Question) -> str:
    return question.sub_type if question.question_type == DATA_ANALYSIS else question.question_type


def _answer_format(question: Question) -> str:
    if question.sub_type == "Exploratory Analysis":
        return "CorrelationRelation, CorrelationCoefficient"
    if question.question_type == VISUALIZATION:
        return "import pandas as pd \\n import matplotlib.pyplot as plt \\n ... plt.show()"
    return "AnswerName1, AnswerName2..."


def fill(template: str, fields: Mapping[str, str]) -> str:
    """The template with its `{Field}`s put in; what was put in is not looked at again."""
    # Not str.format: a brace elsewhere in the prompt is a brace.
    return re.sub(r"\{(\w+)\}", lambda match: fields.get(match[1], match[0]), template)


def literals(path: Path, table: str) -> tuple[dict[str, str], dict[str, str]]:
    """The strings of a Python file by name, and its dictionary `table` with names replaced by their strings.

    Raises RunnerError where the file cannot be read.
    """
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise setup_error(f"{path}: the prompts cannot be read: {error.strerror}; {MEND}", error) from error
    except (ValueError, SyntaxError, RecursionError) as error:
        raise SetupError(f"{path}: the prompts are no Python that can be read: {error}; {MEND}") from error
    strings: dict[str, str] = {}
    prompts: dict[str, str] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            if not isinstance(target, ast.Name):
                continue
            if isinstance(statement.value, ast.Dict) and target.id == table:
                prompts = _entries(statement.value, strings)
            elif (text := _text(statement.value, strings)) is not None:
                strings[target.id] = text
    return strings, prompts


def _entries(node: ast.Dict, strings: Mapping[str, str]) -> dict[str, str]:
    entries = {}
    for key, value in zip(node.keys, node.values, strict=True):
        text = _text(value, strings)
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and text is not None:
            entries[key.value] = text
    return entries


def _text(node: ast.expr, strings: Mapping[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return strings.get(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None
