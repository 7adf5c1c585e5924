"""What a model is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hitui_runners.errors import RunnerError
from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import Question

FILE = '''
import os
os.abort()  # never run
Facts = """Be exact {here}."""
Charts = "Draw."
Summary_Analysis = "Sum up."
User_Prompt = """# Table
{Table}
# Question
{Question}
As: [Final Answer]: {Answer_format}"""
Answer_Prompt = {
    "Fact Checking": Facts,
    "Visualization": Charts,
    "Exploratory Analysis": "Explore.",
}
'''


def question(kind: str, sub: str = "") -> Question:
    return Question(7, "table", "How many {boats}?", kind, sub, "41")


@pytest.mark.parametrize(
    ("kind", "sub"),
    [
        ("Fact Checking", "Ranking"),
        ("Numerical Reasoning", "Counting"),
        ("Structure Comprehending", "Structure Comprehending"),
        ("Data Analysis", "Exploratory Analysis"),
        ("Data Analysis", "Anomaly Analysis"),
        ("A new type", ""),
    ],
)
@pytest.mark.parametrize("modality", ["text", "image", "mix"])
def test_every_prompt_asks_for_the_label_and_ends_with_the_question(
    kind: str, sub: str, modality: str
) -> None:
    wording = OwnPrompts().wording(question(kind, sub), modality, None if modality == "image" else "latex")

    assert "[Final Answer]: your answer" in wording.after
    assert wording.after.endswith("How many {boats}?")
    assert ("LaTeX" in wording.before) == (modality != "image")
    assert ("picture" in wording.before) == (modality != "text")


def test_a_chart_is_asked_for_as_a_program_that_reads_the_spreadsheet() -> None:
    wording = OwnPrompts().wording(question("Visualization", "BarChart Generation"), "text", "csv")

    assert "table.xlsx" in wording.after
    assert "[Final Answer]: import pandas as pd" in wording.after


def test_the_benchmarks_own_prompts_are_read_and_not_run(tmp_path: Path) -> None:
    file = tmp_path / "answer_prompt_llm.py"
    file.write_text(FILE)

    for path in (file, tmp_path):
        prompts = BenchmarkPrompts(path, "text")
        wording = prompts.wording(question("Fact Checking"), "text", "html")
        assert wording.before == "Be exact {here}.\n# Table\n"
        assert wording.after == (
            "\n# Question\nHow many {boats}?\nAs: [Final Answer]: AnswerName1, AnswerName2..."
        )
    assert prompts.wording(question("Data Analysis", "Summary Analysis"), "text", "html").before.startswith(
        "Sum up."
    )
    explore = prompts.wording(question("Data Analysis", "Exploratory Analysis"), "text", "html")
    assert explore.after.endswith("[Final Answer]: CorrelationRelation, CorrelationCoefficient")


@pytest.mark.parametrize(
    ("before", "encoding"),
    [("", "utf-8"), ("", "utf-8-sig"), ("# -*- coding: latin-1 -*-\n", "latin-1")],
)
def test_a_prompt_file_is_read_as_python_reads_it(tmp_path: Path, before: str, encoding: str) -> None:
    file = tmp_path / "answer_prompt_llm.py"
    file.write_text(before + FILE.replace("Be exact", "Sei präzise"), encoding=encoding)

    wording = BenchmarkPrompts(file, "text").wording(question("Fact Checking"), "text", "html")
    assert wording.before == "Sei präzise {here}.\n# Table\n"


def test_what_the_benchmarks_scripts_fill_in_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "prompts.py"
    file.write_text(FILE.replace("Be exact {here}.", "Read {format}."))

    def words(modality: str, table_format: str | None) -> str:
        wording = BenchmarkPrompts(file, modality).wording(question("Fact Checking"), modality, table_format)
        return f"{wording.before}TABLE{wording.after}"

    assert words("text", "latex").startswith("Read latex.\n# Table\nTABLE\n# Question")
    # They fill in the format for text alone, and for a picture some words in the table's place.
    assert words("mix", "latex").startswith("Read {format}.\n# Table\nTABLE\n# Question")
    assert words("image", None).startswith("Read {format}.\n# Table\n[See the table image]\n# Question")


def test_the_table_may_come_first(tmp_path: Path) -> None:
    file = tmp_path / "prompts.py"
    file.write_text(FILE)
    prompts = BenchmarkPrompts(file, "text", table_first=True)

    for kind, task in (("Fact Checking", "Be exact {here}."), ("Visualization", "Draw.")):
        wording = prompts.wording(question(kind), "text", "html")
        assert wording.before == "# Table\n"
        assert wording.after.startswith(f"\n{task}\n\n# Question\nHow many {{boats}}?\nAs: [Final Answer]: ")
    # The picture is first in either order.
    pictured = [BenchmarkPrompts(file, "image", table_first=first) for first in (False, True)]
    assert len({prompts.wording(question("Fact Checking"), "image", None) for prompts in pictured}) == 1


def test_the_file_of_the_modality_is_taken(tmp_path: Path) -> None:
    for name, task in (("llm", "text"), ("mlm", "image"), ("mix", "mix")):
        (tmp_path / f"answer_prompt_{name}.py").write_text(
            f'User_Prompt = "{{Question}}"\nFact_Checking = "{task}"\n'
        )

    for modality in ("text", "image", "mix"):
        wording = BenchmarkPrompts(tmp_path, modality).wording(question("Fact Checking"), modality, None)
        assert wording.before == f"{modality}\nHow many {{boats}}?"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the prompts cannot be read: No such file or directory"),
        ("def (", "the prompts are no Python that can be read"),
        ("User_Prompt = make()", "no string User_Prompt with the field {Question}"),
    ],
)
def test_an_unusable_prompt_file_is_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "prompts.py"
    if content is not None:
        file.write_text(content)

    with pytest.raises(RunnerError) as refused:
        BenchmarkPrompts(file, "text")
    assert str(refused.value).startswith(f"{file}: {said}")
    assert str(refused.value).endswith("; correct it, or name another file (`prompts` in hitui.toml)")


def test_a_type_without_prompt_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prompts.py"
    file.write_text(FILE)

    with pytest.raises(RunnerError, match=r"Answer_Prompt has nothing for 'Numerical Reasoning' \(task 7\)"):
        BenchmarkPrompts(file, "text").wording(question("Numerical Reasoning"), "text", "html")
