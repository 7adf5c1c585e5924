"""Stored ECR and Pass against those that are made now: every difference has a class."""

from __future__ import annotations

from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts.check import check_charts
from hitui_runners.realhitbench.charts.scorer import ChartOptions, ChartScorer

from tests.runners.charts import PLOT, chart_result, stub_python, workbook

__all__ = ["stub_python", "workbook"]

DRAW = f"{PLOT}plt.plot([41, 63, 7])\nplt.show()"


@pytest.fixture(scope="module")
def scorer(workbook: Path, stub_python: str) -> ChartScorer:
    """An answer that several tests have is run once."""
    (workbook.parent / "pointer.xlsx").write_text("version https://git-lfs.github.com/spec/v1\n")
    return ChartScorer(ChartOptions(tables=workbook.parent, pythons=(stub_python,), at_once=2), pytest.fail)


def test_every_difference_has_its_class(scorer: ChartScorer, workbook: Path) -> None:
    results = [
        chart_result(1, DRAW, True, True),
        # Its line is still there when the next one draws, so that more is drawn than wanted.
        chart_result(0, f"{PLOT}plt.plot([5])\nnothing\nplt.show()", "False", "None"),
        # It does not run here, so it leaves nothing.
        chart_result(2, DRAW, False, "None", FileName="absent"),
        chart_result(3, DRAW, True, False),
        chart_result(4, DRAW, False, "None", SubQType="PieChart Generation"),
        chart_result(6, DRAW, True, True, FileName="pointer"),
        chart_result(7, DRAW, True, True, Metrics={}),
        chart_result(8, DRAW, True, True, Metrics="none"),
        chart_result(9, "[ERROR] OOM: Text too large (5 tokens)", False, "None"),
        chart_result(10, "41", 1, 2, QuestionType="Fact Checking"),
        chart_result(11, f"{PLOT}print(1)\nplt.show()", True, "False"),
        # Some stored truth values as their words, which are counted as such in every mean.
        chart_result(12, f"{PLOT}plt.close('all')\n{DRAW}", "True", "True"),
    ]
    check = check_charts(results, scorer, "charts")
    assert {one.task: one.kind for one in check.differences} == {
        2: "not run",
        3: "left figure",
        4: "unexplained",
        6: "not run",
        7: "nothing stored",
        8: "nothing stored",
    }
    assert check.counts["equal"] == 4
    assert not check.explained
    assert [one.why for one in check.differences if one.kind == "not run"] == [
        f"no workbook in {workbook.parent}: No such file or directory",
        f"no workbook in {workbook.parent}: is a Git LFS pointer; `git lfs pull` brings what it stands for",
    ]


def test_what_ran_earlier_is_found_by_the_file_or_by_the_ids_where_it_has_another_order(
    scorer: ChartScorer,
) -> None:
    results = [
        chart_result(10, DRAW, True, False),
        chart_result(1, DRAW, True, True),
        chart_result(9, f"{PLOT}plt.plot([5])\nnothing\nplt.show()", False, "None"),
    ]
    check = check_charts(results, scorer, "charts")
    assert [(one.task, one.kind) for one in check.differences] == [(10, "left figure")]
    # The one that failed came later by both.
    results[0]["id"], results[1]["id"] = 1, 10
    assert [one.kind for one in check_charts(results, scorer, "charts").differences] == ["unexplained"]
    results[0], results[2] = results[2], results[0]
    assert [one.kind for one in check_charts(results, scorer, "charts").differences] == ["left figure"]
    # What did not fail closed its figures.
    del results[0]
    assert [one.kind for one in check_charts(results, scorer, "charts").differences] == ["unexplained"]


def test_a_file_in_which_no_chart_could_be_read_says_so(scorer: ChartScorer) -> None:
    results = [chart_result(number, DRAW, True, "False") for number in range(5)]
    check = check_charts(results, scorer, "charts")
    assert [(one.kind, one.stored) for one in check.differences] == [
        ("nothing read then", {"ECR": True, "Pass": "False"})
    ] * 5
    assert check.explained
    # Of a few, each may be wrong by itself; and where one passed, charts could be read.
    assert not check_charts(results[:4], scorer, "charts").explained
    assert not check_charts([*results, chart_result(9, DRAW, True, True)], scorer, "charts").explained
