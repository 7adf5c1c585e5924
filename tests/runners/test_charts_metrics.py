"""ECR and Pass of one answer."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts.metrics import (
    ChartAnswer,
    NoWorkbook,
    chart_metrics,
    program_of,
    score,
)
from hitui_runners.realhitbench.charts.sandbox import Sandbox, SandboxBroke
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP

from tests.runners.charts import SMALL, chart_sandbox, workbook

__all__ = ["chart_sandbox", "workbook"]

HEAD = "import pandas as pd\nimport matplotlib.pyplot as plt\n"
TABLE = HEAD + "table = pd.read_excel('table.xlsx')\n"
PLAIN = "import matplotlib.pyplot as plt\n"
"""Of programs that read no table; it spares them pandas."""
LINE, BAR = "LineChart Generation", "BarChart Generation"
SCATTER, PIE = "ScatterChart Generation", "PieChart Generation"


def answer(
    body: str, reference: str, sub_type: str = LINE, workbook: Path = Path("absent.xlsx")
) -> ChartAnswer:
    return ChartAnswer(sub_type, body, reference, workbook)


@pytest.mark.parametrize(
    ("sub_type", "drawing", "reference"),
    [
        (LINE, "plt.plot(table['Ships'])", "[[41, 63, 7]]\n"),
        (LINE, "plt.plot([1, 2], [3.004, 4])\nplt.plot([5, 6])", "[[3, 4.0], [5, 6]]"),
        # Around what they read from its output those runs ignore white space.
        (LINE, "plt.plot([2, 1])\nprint(' \\n')", "[1, 2]"),
        (BAR, "plt.bar(table['Harbour'], table['Ships'])", "[7, 41, 63]"),
        (BAR, "table.plot(kind='bar')", "[41, 63, 7]"),
        (SCATTER, "plt.scatter(table['Harbour'], table['Ships'])", "[[41, 63, 7]]"),
        (PIE, "plt.pie(table['Ships'])", "[41, 63, 7]"),
        (PIE, "plt.pie([1, 3])", "[25.0, 75.0]"),
    ],
)
def test_the_wanted_chart_passes(
    sub_type: str, drawing: str, reference: str, chart_sandbox: Sandbox, workbook: Path
) -> None:
    text = f"Here it is:\n{TABLE if 'table' in drawing else PLAIN}{drawing}\nplt.show()\nDone."
    assert chart_metrics(answer(text, reference, sub_type, workbook), chart_sandbox) == {
        "ECR": True,
        "Pass": True,
    }


@pytest.mark.parametrize(
    ("drawing", "reference", "why"),
    [
        ("plt.plot([1, 2])", "[[1, 2, 3]]", "2 values are drawn instead of 3"),
        ("plt.plot([1, 2])", "[[1, 2.01]]", "other values are drawn"),
        ("plt.bar([1, 2], [3, 4])", "[3, 4]", "0 values are drawn instead of 2"),
        ("plt.plot([1, 2])\nprint('drawn')", "[[1, 2]]", "the program prints"),
        ("plt.plot([1, float('nan')])", "[[1, 2]]", "the chart cannot be read: ValueError: nan is drawn"),
        ("plt.plot(['a', 'b'])", "[[1, 2]]", "what is drawn are no numbers"),
        ("plt.plot([1, 2])\nplt.close()", "[[1, 2]]", "0 values are drawn instead of 2"),
        ("plt.plot([1, 2])", "None", "the reference holds no numbers"),
        ("plt.plot([1, 2])", "[[1, ", "the reference holds no numbers"),
        ("plt.plot([1, 2])", "__import__('os')", "the reference holds no numbers"),
        pytest.param("plt.plot([1, 2])", "[" * 10_000, "the reference holds no numbers", id="nested"),
    ],
)
def test_another_chart_does_not(
    drawing: str, reference: str, why: str, chart_sandbox: Sandbox, workbook: Path
) -> None:
    scored = score(answer(f"{PLAIN}{drawing}\nplt.show()", reference, LINE, workbook), chart_sandbox)
    assert scored.metrics == {"ECR": True, "Pass": False}
    assert scored.why.startswith(why)


def test_a_pie_of_nothing_has_no_shares(chart_sandbox: Sandbox, workbook: Path) -> None:
    scored = score(answer(f"{PLAIN}plt.pie([1])\nplt.show()", "[0, 0]", PIE, workbook), chart_sandbox)
    assert (scored.metrics["Pass"], scored.why) == (False, "the reference holds no numbers")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("table = open('table.csv')", "FileNotFoundError"),
        ("for ship in [1]:\n    plt.plot([ship])", "IndentationError"),
        ("exit()", "SystemExit"),
        ("raise SystemExit", "SystemExit"),
        (
            "rows = [1]\nplt.plot([row for row in rows if row in list(rows)])\nnothing",
            "NameError",
        ),
        ("class Odd(Exception):__str__ = None\nraise Odd", "Odd"),
    ],
)
def test_what_does_not_run_has_no_ecr(body: str, why: str, chart_sandbox: Sandbox, workbook: Path) -> None:
    scored = score(answer(f"{PLAIN}{body}\nplt.show()", "[1]", LINE, workbook), chart_sandbox)
    assert scored.metrics == {"ECR": False, "Pass": "None"}
    assert scored.why.startswith(why)


def test_an_answer_without_a_program_is_not_run(chart_sandbox: Sandbox, workbook: Path) -> None:
    scored = score(answer("I cannot draw. plt.show()", "[1]", LINE, workbook), chart_sandbox)
    assert (scored.metrics, scored.why) == ({"ECR": False, "Pass": "None"}, "no program in the answer")


def code(text: str) -> str | None:
    found = program_of(answer(text, ""))
    return found.code if found else None


def test_the_last_program_counts_without_its_indentation() -> None:
    first, second = f"{HEAD}plt.plot([1])\nplt.show()", f"{HEAD}  plt.plot([2])\n\n plt.show()"
    guard = 'if __name__ == "__main__":\n'
    assert code(f"{first}\nor\n{second}\nthat is all") == guard + (
        "    import pandas as pd\n    import matplotlib.pyplot as plt\n    plt.plot([2])\n    \n    plt.show()\n"
    )
    assert code("import matplotlib.pyplot as plt\nplt.show()") == guard + (
        "    import matplotlib.pyplot as plt\n    plt.show()\n"
    )
    assert code(f"{HEAD}plt.plot([1])") is None


def test_an_answer_that_does_not_come_to_an_end_is_searched_once() -> None:
    program = f"{HEAD}plt.plot([1])\nplt.show()"
    # From each beginning to the end it would take hours.
    assert code(f"{program}\n{HEAD * 50_000}") == code(program)


@pytest.mark.parametrize("path", ['"table.xlsx"', "'/data/tables/harbours.xlsx'", 'r"C:\\a table.xlsx"'])
def test_every_path_of_a_workbook_is_the_real_one(path: str) -> None:
    found = code(f"{HEAD}table = pd.read_excel({path})\nplt.title('of table.xlsx, as it is')\nplt.show()")
    assert found is not None
    quote = path[-1]
    assert f"{quote}/chart/table.xlsx{quote})" in found
    assert "'of /chart/table.xlsx, as it is'" in found
    assert found.count("xlsx") == 2


def test_a_workbook_that_is_none_is_no_fault_of_the_answer(
    chart_sandbox: Sandbox, workbook: Path, tmp_path: Path
) -> None:
    wanted = answer(f"{HEAD}plt.plot([1])\nplt.show()", "[1]", LINE, tmp_path / "table.xlsx")
    with pytest.raises(NoWorkbook, match=r"table\.xlsx: No such file"):
        chart_metrics(wanted, chart_sandbox)
    for odd, what in ((tmp_path, "is no regular file"), (Path("a\0b"), "has a name that no file can have")):
        with pytest.raises(NoWorkbook, match=what):
            chart_metrics(dataclasses.replace(wanted, workbook=odd), chart_sandbox)
    # It would be waited for without end.
    os.mkfifo(wanted.workbook)
    with pytest.raises(NoWorkbook, match="is no regular file"):
        chart_metrics(wanted, chart_sandbox)
    wanted.workbook.unlink()
    wanted.workbook.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(NoWorkbook, match="is a Git LFS pointer"):
        chart_metrics(wanted, chart_sandbox)
    wanted.workbook.write_text("Harbour,Ships")
    with pytest.raises(NoWorkbook, match="is no XLSX workbook"):
        chart_metrics(wanted, chart_sandbox)
    without_program = dataclasses.replace(wanted, prediction="none")
    assert chart_metrics(without_program, chart_sandbox)["ECR"] is False


def test_a_sandbox_that_breaks_is_no_fault_of_the_answer(workbook: Path, tmp_path: Path) -> None:
    python = tmp_path / "environment/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "environment")], check=True)
    sandbox = Sandbox(str(python), BUBBLEWRAP, SMALL)
    python.unlink()
    with pytest.raises(SandboxBroke):
        chart_metrics(answer(f"{HEAD}plt.plot([1])\nplt.show()", "[1]", LINE, workbook), sandbox)
