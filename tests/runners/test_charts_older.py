"""What newer libraries do otherwise can be undone, and explains a difference only where the stored scores come out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts import older, scorer
from hitui_runners.realhitbench.charts.check import check_charts
from hitui_runners.realhitbench.charts.environment import find_chart_python
from hitui_runners.realhitbench.charts.sandbox import Limits, Program, Sandbox
from hitui_runners.realhitbench.charts.scorer import ChartOptions, ChartScorer

from tests.runners.charts import PLOT, chart_result, chart_sandbox, newer_stub_python, stub_python, workbook

__all__ = ["chart_sandbox", "newer_stub_python", "stub_python", "workbook"]

AS_BEFORE = """
import pandas as pd
import numpy as np
import matplotlib.pyplot as plt
ships = pd.DataFrame({"port": ["Saltby", "Ness"], "Aged": [41, 7]})
found = [np.float_(1.5), np.asfarray([1])[0]]
found += [int(ships["port"].dtype == object)]
found += [float(np.array([2.5])), int(np.array([[3]])), int("12", base=3), float(4)]
named = ships.set_index("port")["Aged"]
named[1] = 8
found += [named[0], named[1], named[[1, 0]].iloc[0]]
mixed = pd.DataFrame({"n": pd.Series([1, None, 3], dtype=object)})
found += [mixed["n"].fillna(0).dtype.kind == "i", mixed.ffill().dtypes["n"].kind == "i"]
mixed["n"].fillna(2, inplace=True)
mixed["n"][0] = 5
mixed["n"].loc[2] = 4
found += list(mixed["n"])
ships.loc[0, "Aged"] = "many"
found += [ships["Aged"].iloc[0] == "many", ships.applymap(str).iloc[1, 1] == "7"]
found += [pd.Series([1.0, None]).fillna(method="ffill")[1], float(pd.Series([9.0]))]
found += [pd.to_numeric(pd.Series(["x"]), errors="ignore")[0] == "x"]
sizes = plt.pie(pd.Series([1, 3], dtype=object))[0]
found += [len(sizes), sizes[0].theta2 - sizes[0].theta1]
plt.close()
found += [len(kind) for kind in plt.pie([], labels=[], autopct="%1.1f%%")] + [len(plt.gca().patches)]
plt.close()
for values in ([0], [1, None]):
    try:
        plt.pie(np.array(values, float), autopct="%1.1f%%", startangle=140)
    except ValueError:
        found += [66]
    found += [plt.gca().patches[0].theta2, len(plt.gca().texts), plt.gca().get_xlim()[0]]
    plt.close()
nothing = pd.Series([], dtype=object)
plt.plot(nothing, nothing)
try:
    plt.xticks(nothing)
except TypeError:
    found += [77]
plt.close()
plt.plot(found)
"""
"""In one program, since what takes long is to load the libraries."""
RIGHT = [
    1.5,
    1.0,
    1,
    2.5,
    3,
    5,
    4,
    41,
    8,
    8,
    1,
    1,
    5,
    2,
    4,
    1,
    1,
    1.0,
    9.0,
    1,
    2,
    90,
    0,
    0,
    0,
    0,
    140,
    2,
    -1.25,
    66,
    140,
    2,
    0,
    77,
]


def test_every_change_of_the_libraries_can_be_undone(chart_sandbox: Sandbox, workbook: Path) -> None:
    changes = older.since_then(find_chart_python([sys.executable]).versions)
    undoing = Program(older.undoing(changes), workbook)
    ran = chart_sandbox.run(Program(AS_BEFORE, workbook), "line", (undoing,))
    assert (ran.ran, ran.why) == (True, "")
    assert ran.values == [RIGHT]


@pytest.mark.parametrize(
    "kind", ["[x + far for x in [1]]", "{x + far for x in [1]}", "{x: far for x in [1]}"]
)
def test_a_comprehension_sees_nothing_of_what_surrounds_it(kind: str) -> None:
    assert _ends(f"far = 1\nlist({kind})") == "name 'far' is not defined"


def test_a_comprehension_is_what_it_was() -> None:
    code = (
        "list = None\n"
        "def values(far):\n"
        "    return [x * far for x in (1, 2) if x], {x // far for x in (2, 3)}, {x: [y for y in (x, far)] for x in (1,)}\n"
        "raise ValueError(values(2))\n"
    )
    assert _ends(code) == "([2, 4], {1}, {1: [1, 2]})"


def _ends(code: str) -> str:
    """The words of the exception that a program ends with as the sandbox runs it."""
    program = (
        f"exec({older.undoing(['comprehensions'])!r}, {{}}, {{}})\n"
        f"exec(compile({code!r}, '<chart>', 'exec'), {{}}, {{}})\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1].partition(": ")[2]


@pytest.mark.parametrize(
    ("versions", "libraries"),
    [
        (("3.11.7", "1.26.4", "2.2.3", "3.9.4"), set()),
        (("3.12.0", "2.0.0rc1", "2.3.3", "3.10.9"), {"python", "numpy"}),
        (("3.10.1", "1.26.4", "3.0", "3.11.0"), {"pandas", "matplotlib"}),
    ],
)
def test_a_change_is_looked_for_in_the_versions_that_have_it(
    versions: Sequence[str], libraries: set[str]
) -> None:
    has = dict(zip(("python", "numpy", "pandas", "matplotlib"), versions, strict=True))
    assert {older.CHANGES[name].library for name in older.since_then(has)} == libraries


def test_a_difference_that_a_newer_library_makes_names_what_it_does(
    newer_stub_python: str, workbook: Path
) -> None:
    charts = ChartScorer(ChartOptions(tables=workbook.parent, pythons=(newer_stub_python,)), pytest.fail)
    first = f"{PLOT}import numpy, pandas\n"
    results = [
        chart_result(1, f"{first}plt.plot([41, numpy.Inf, 7])\nplt.show()", True, True),
        # Two changes have a part in it.
        chart_result(2, f"{first}plt.plot([41, numpy.Inf, float(pandas.Series())])\nplt.show()", True, True),
        # And the line of this one in the next.
        chart_result(3, f"{first}plt.plot([numpy.Inf])\nnothing\nplt.show()", False, "None"),
        chart_result(4, f"{first}plt.plot([41, 63, 7])\nplt.show()", True, False),
        # Nothing makes this right.
        chart_result(5, f"{first}plt.plot([41, numpy.Inf, nothing])\nplt.show()", True, False),
    ]
    check = check_charts(results, charts, "charts")
    names = "since numpy 2.0 names such as np.NaN are gone"
    assert [(one.task, one.kind, one.because) for one in check.differences] == [
        (1, "newer library", names),
        (2, "newer library", f"{names}; since pandas 3.0 float() and int() take no Series"),
        (4, "left figure", names),
        (5, "unexplained", ""),
    ]
    assert check.differences[0].why == "AttributeError: Inf was removed"
    assert not check.explained


def test_what_comes_out_otherwise_by_chance_says_so(stub_python: str, workbook: Path) -> None:
    charts = ChartScorer(ChartOptions(tables=workbook.parent, pythons=(stub_python,)), pytest.fail)
    unlucky = f"{PLOT}import random\nif random.random() > 0.5: raise ValueError\nplt.plot([41])\nplt.show()"
    check = check_charts([chart_result(1, unlucky, True, False)], charts, "charts")
    assert [one.kind for one in check.differences] == ["by chance"]
    assert check.explained


def test_what_the_clock_ends_is_not_taken_for_wrong(
    stub_python: str, workbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer, "USUAL", Limits(seconds=2))
    charts = ChartScorer(ChartOptions(tables=workbook.parent, pythons=(stub_python,)), pytest.fail)
    sleeps = f"{PLOT}import time\ntime.sleep(1000)\nplt.show()"
    check = check_charts(
        [chart_result(1, sleeps, True, False), chart_result(2, sleeps, False, "None")], charts, "charts"
    )
    assert [(one.task, one.kind, one.computed) for one in check.differences] == [(1, "not run", None)]
    assert "its time was over here, twice" in check.differences[0].why
    assert check.counts["equal"] == 1
