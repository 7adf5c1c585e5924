"""Means by question type and over all, and the scores of single results that they are made of."""

from __future__ import annotations

import pytest
from hitui_runners.realhitbench import rescoring
from hitui_runners.realhitbench.aggregates import OVERALL, aggregate, differences, rows_of_csv, stored_rows
from hitui_runners.realhitbench.rescoring import Notes, Scorer, sample_of, usable

from tests.runners.scored import FULL, chart, result, samples


def test_rows_stand_in_the_order_of_the_benchmark_and_all_comes_last() -> None:
    kinds = ["Visualization", "Zoo", "Data Analysis", "Fact Checking", "", OVERALL]
    rows = aggregate(samples([result(number, QuestionType=kind) for number, kind in enumerate(kinds)]))
    assert list(rows) == ["Fact Checking", "Data Analysis", "Visualization", "(no type)", "Zoo", OVERALL]
    assert rows[OVERALL].results == 6


def test_a_chart_passes_where_true_is_stored_as_value_or_word() -> None:
    passes = (True, "True", False, "False", "None")
    rows = aggregate(samples([chart(number, True, passed) for number, passed in enumerate(passes)]))
    assert rows["Visualization"].rounded() == {"Pass": 40.0, "ECR": 100.0}


def test_a_truth_value_of_a_chart_may_be_stored_as_a_number_or_word() -> None:
    odd = [(1, 1.0), ("true", "TRUE"), (0, 0), (0.0, "None"), ("1", None)]
    rows = aggregate(samples([chart(number, *stored) for number, stored in enumerate(odd)]))  # type: ignore[arg-type]
    assert rows["Visualization"].rounded() == {"Pass": 40.0, "ECR": 60.0}


def test_what_is_no_truth_value_is_no_score_of_a_chart() -> None:
    odd = [None, [], "None", 55.0, float("nan")]
    rows = aggregate(samples([chart(number, stored, True) for number, stored in enumerate(odd)]))  # type: ignore[arg-type]
    assert (rows["Visualization"].charts_unscored, rows["Visualization"].means) == (5, {})


def test_means_of_a_type_that_no_result_has_are_named() -> None:
    looked, found = differences(
        {"Zoo": {"EM": 3.0, "Seconds": 4}}, samples([result(1)]), samples([result(1)]), ["EM"]
    )
    assert looked == 1
    assert [(each.row, each.metric, each.right, each.why) for each in found] == [("Zoo", "EM", None, "")]


@pytest.mark.parametrize(
    ("results", "metric", "right"),
    [
        ([result(1, prediction="[ERROR] OOM")], "EM", 0.0),
        ([chart(1, True, "None"), chart(2, False, "None")], "ECR", 50.0),
    ],
    ids=["all failed", "no program ran"],
)
def test_a_wrong_mean_over_what_leaves_nothing_is_named(
    results: list[dict[str, object]], metric: str, right: float
) -> None:
    of_all = samples(results)
    looked, (found,) = differences({OVERALL: {metric: 7.5}}, of_all, of_all, ["EM"])
    assert (looked, found.metric, found.right, found.why) == (1, metric, right, "")


def test_means_of_other_shapes_are_none() -> None:
    for stored in (None, 3, [1], {"by_question_type": [1], "overall": None}, {"EM": 3.0}):
        assert stored_rows({"aggregate_metrics": stored}) == {}
    assert rows_of_csv("") == {}
    assert rows_of_csv(",EM\nFact Checking,1.5,7\n\nOverall,x") == {
        "Fact Checking": {"EM": 1.5},
        "Overall": {"EM": "x"},
    }


def test_an_equal_pair_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    original = rescoring.text_scores

    def counted(reference: str, prediction: str) -> dict[str, float]:
        asked.append((reference, prediction))
        return original(reference, prediction)

    monkeypatch.setattr(rescoring, "text_scores", counted)
    assert len(samples([result(1), result(2), result(3, "4"), result(4)])) == 4
    assert asked == [("41", "41"), ("4", "41")]


def test_a_library_that_breaks_on_one_answer_costs_that_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = rescoring.text_scores

    def broken(reference: str, prediction: str) -> dict[str, float]:
        if reference == "4":
            raise ZeroDivisionError
        return original(reference, prediction)

    monkeypatch.setattr(rescoring, "text_scores", broken)
    notes = Notes()
    scorer = Scorer()
    found = [sample_of(each, scorer, notes) for each in usable([result(1, "4"), result(2)], notes)]
    assert [sample.metrics for sample in found] == [{}, FULL]
    assert notes.lines() == [
        "results on which a library of scores broke (ZeroDivisionError), not scored: 1 (1)"
    ]
