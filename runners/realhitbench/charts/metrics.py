"""ECR and Pass of one Visualization answer, as RealHiTBench (arXiv 2506.13405) runs store them.

    program   the last stretch from `import pandas as pd` to `plt.show()`, else from matplotlib's import; each line
              without its leading spaces, under a main guard; paths of workbooks are that of the real one
    ECR       it runs to its end without an exception; without a program it is false
    Pass      the values on the chart equal the reference: both flattened by one level, rounded to 2 places and
              sorted, without tolerance; a pie's reference is divided by its sum first

What a program prints makes its chart's values unreadable, because those runs read them from its output; but for white
space, which they strip from it.
"""

from __future__ import annotations

import ast
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitui_runners.look import IS_POINTER, is_pointer
from hitui_runners.realhitbench.charts.sandbox import WORKBOOK, Program, Ran, Sandbox, SandboxBroke
from hitui_runners.realhitbench.charts.walls import NONE

KINDS = {
    "LineChart Generation": "line",
    "BarChart Generation": "bar",
    "ScatterChart Generation": "scatter",
    "PieChart Generation": "pie",
}
"""What is read from the chart, by `SubQType`."""
NOT_RUN = "None"
"""`Pass` of what did not run."""

_PROGRAMS = tuple(
    re.compile(first + r".*?plt\.show\(\)", re.DOTALL)
    for first in (r"import pandas as pd", r"import matplotlib\.pyplot as plt")
)
_WORKBOOKS = re.compile(r"""(["'])[^"'\n]*\.xlsx\1|table\.xlsx""")
_MAX_REFERENCE = 2**20


class NoWorkbook(Exception):
    """There is no workbook for the program to read; the message says which, and `what` what is wrong with it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.what = what


@dataclass(frozen=True)
class ChartAnswer:
    """One answer, and what it is measured by."""

    sub_type: str
    prediction: str
    reference: str
    """The values of the wanted chart, as a Python literal."""
    workbook: Path


@dataclass(frozen=True)
class Scored:
    """One answer's scores."""

    metrics: dict[str, Any]
    """`ECR` and `Pass`, as they are stored."""
    why: str
    """Why one of them is false, in a few words; empty where both are true."""
    settled: bool = True
    """Whether it comes out the same again; not where a machine that is busy may have decided."""
    walls: bool = True
    """Whether it was made inside of any; not where limits alone were allowed."""


NO_PROGRAM = Scored({"ECR": False, "Pass": NOT_RUN}, "no program in the answer")


def chart_metrics(answer: ChartAnswer, sandbox: Sandbox) -> dict[str, Any]:
    """`{"ECR": bool, "Pass": bool or "None"}` of one answer. Raises as `score` does."""
    return score(answer, sandbox).metrics


def score(
    answer: ChartAnswer, sandbox: Sandbox, before: Sequence[ChartAnswer] = (), first: str = ""
) -> Scored:
    """The same, with why. `before`: answers whose programs run first, in the same process; `first`: a program of our own
    that runs before these.

    Raises NoWorkbook, and SandboxBroke where the program was not run for a reason that is not its own.
    """
    program = program_of(answer)
    if program is None:
        return NO_PROGRAM
    require_workbook(answer.workbook)
    earlier = [Program(first, answer.workbook)] if first else []
    earlier += [found for found in map(program_of, before) if found is not None]
    kind = KINDS.get(answer.sub_type, "")
    try:
        ran = sandbox.run(program, kind, tuple(earlier))
    except OSError as error:
        raise SandboxBroke(str(error)) from error
    walls = sandbox.kind != NONE
    if not ran.ran:
        return Scored({"ECR": False, "Pass": NOT_RUN}, ran.why, ran.settled, walls)
    why = _difference(kind, ran, answer.reference)
    return Scored({"ECR": True, "Pass": not why}, why, walls=walls)


def require_workbook(path: Path) -> None:
    """Raises NoWorkbook where it is no file that can be read as one."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NoWorkbook(path, "is no regular file")
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise NoWorkbook(path, str(error.strerror)) from error
    except ValueError as error:
        raise NoWorkbook(path, "has a name that no file can have") from error
    if is_pointer(start):
        raise NoWorkbook(path, IS_POINTER)
    if not start.startswith(b"PK"):
        raise NoWorkbook(path, "is no XLSX workbook")


def program_of(answer: ChartAnswer) -> Program | None:
    """What is run of an answer; None: there is no program in it."""
    before, shown, _ = answer.prediction.rpartition("plt.show()")
    for pattern in _PROGRAMS:
        # Without what follows, in which each beginning of a program would have it searched through to its end.
        found = pattern.findall(before + shown)
        if found:
            lines = _WORKBOOKS.sub(_path, found[-1]).split("\n")
            body = "".join(f"    {line.lstrip()}\n" for line in lines)
            return Program(f'if __name__ == "__main__":\n{body}', answer.workbook)
    return None


def _path(match: re.Match[str]) -> str:
    quote = match[1] or ""
    return f"{quote}{WORKBOOK}{quote}"


def _difference(kind: str, ran: Ran, reference: str) -> str:
    """Why the chart is not the wanted one; empty where it is."""
    if ran.values is None:
        return f"the chart cannot be read: {ran.why}"
    if ran.printed.strip():
        return "the program prints, so its chart cannot be read"
    try:
        drawn = _numbers(ran.values)
    except (TypeError, ValueError, OverflowError):
        return "what is drawn are no numbers"
    try:
        wanted = _reference(reference, kind)
    except (
        TypeError,
        ValueError,
        SyntaxError,
        OverflowError,
        ZeroDivisionError,
        RecursionError,
        MemoryError,
    ):
        return "the reference holds no numbers"
    if len(drawn) != len(wanted):
        return f"{len(drawn)} values are drawn instead of {len(wanted)}"
    return "" if drawn == wanted else "other values are drawn"


def _reference(text: str, kind: str) -> list[float]:
    if len(text) > _MAX_REFERENCE:
        raise ValueError("too long")
    values = _flat(ast.literal_eval(text))
    if kind == "pie":
        total = sum(values)
        values = [value / total for value in values]
    return _numbers(values)


def _numbers(values: Any) -> list[float]:
    return sorted(round(value, 2) for value in _flat(values))


def _flat(values: Any) -> list[Any]:
    """Lists in a list opened, by one level."""
    flat: list[Any] = []
    for value in values:
        flat += value if isinstance(value, (list, tuple)) else [value]
    return flat
