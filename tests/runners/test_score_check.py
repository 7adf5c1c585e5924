"""The program `score --check`: stored scores and means against what is right, explained where a mistake is known."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hitui_runners.realhitbench.check import check_file
from hitui_runners.realhitbench.rescoring import Scorer

from tests.runners.scored import FULL, NOTHING, chart, result, score, write


class TestCheck:
    def test_a_stored_score_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        wrong = [result(task, "1", "2", Metrics={"EM": 100.0}) for task in range(2, 9)]
        odd = [result(9, Metrics={**FULL, "F1": float("nan")}), result(10, Metrics={**FULL, "F1": "x"})]
        write(tmp_path / "results.json", [result(1), *wrong, *odd])
        run = score(tmp_path, "--check")
        assert run.returncode == 1
        lines = run.stdout.splitlines()
        assert lines[0].endswith("10 results; 1 of 10 stored scores equal")
        assert lines[1] == "  task 2: EM is stored as 100.0, right is 0.00"
        assert lines[6] == "  and 4 more, of task 7, 8, 9, 10"
        assert "results whose stored scores are not all there, the others compared: 7 (2, 3, 4" in run.stdout
        (check,) = json.loads(score(tmp_path, "--check", "--json").stdout)
        assert check["mismatches"][7] == {"id": 9, "metric": "F1", "stored": "nan", "right": 100.0}

    def test_scores_and_means_that_are_stored_as_text_are_numbers(self, tmp_path: Path) -> None:
        as_text = {name: str(value) for name, value in FULL.items()}
        means = {"Overall": {"EM": "100.0", "F1": "100%", "SacreBLEU": "7"}}
        write(
            tmp_path / "results.json",
            [result(1, Metrics=as_text), result(2, Metrics={**as_text, "EM": "99"})],
            aggregate_metrics=means,
        )
        (check,) = json.loads(score(tmp_path, "--check", "--json").stdout)
        assert (check["compared"], check["equal"], check["means"]) == (2, 1, 3)
        assert [(found["id"], found["stored"]) for found in check["mismatches"]] == [(2, "99")]
        assert [found["metric"] for found in check["differences"]] == ["SacreBLEU"]
        assert check["notes"] == [
            "results whose stored scores are text, taken for the numbers in it: 2 (1, 2)"
        ]

    def test_scores_that_were_not_rounded_are_equal(self, tmp_path: Path) -> None:
        rows = [result(1, "a b b c", "b b b d", Metrics={"F1": 400 / 7}), result(2, Metrics={"F1": 99.994})]
        write(tmp_path / "results.json", rows)
        (check,) = json.loads(score(tmp_path, "--check", "--json").stdout)
        assert [found["id"] for found in check["mismatches"]] == [2]

    def test_what_stands_for_a_mean_that_was_not_made_is_not_compared(self, tmp_path: Path) -> None:
        means = {"Overall": {"EM": None, "F1": "N/A", "GPT_EVAL": float("nan"), "ROUGE-L": float("nan")}}
        write(tmp_path / "results.json", [result(1)], aggregate_metrics=means)
        (check,) = json.loads(score(tmp_path, "--check", "--json").stdout)
        assert check["means"] == 1
        assert [(found["metric"], found["right"]) for found in check["differences"]] == [("ROUGE-L", 100.0)]

    def test_a_report_in_which_no_mean_is_known_is_said(self, tmp_path: Path) -> None:
        write(tmp_path / "results.json", [result(1)])
        report = tmp_path / "aggregate_metrics.csv"
        for text in ("", ";EM;F1\nOverall;1;2\n"):
            report.write_text(text)
            assert (
                "  aggregate_metrics.csv beside it holds no mean that is known here"
                in score(tmp_path, "--check").stdout.splitlines()
            )
        report.write_bytes("\ufeff, EM ,F1\r\n Overall ,100.0,\r\n".encode())
        run = score(tmp_path, "--check")
        assert run.stdout.endswith("1 of 1 stored scores equal; 0 of 1 stored means wrong\n")

    def test_a_failure_may_be_scored_by_the_words_of_its_error(self, tmp_path: Path) -> None:
        words = "[ERROR] Failed to get proper final answer format"
        by_words = {"F1": 16.67, "EM": 0.0, "ROUGE-L": 16.67, "SacreBLEU": 5.52}
        failed = [
            result(1, "16 to 17 years", words, Metrics=by_words),
            result(2, "16 to 17 years", words, Metrics=NOTHING),
            result(3, "16 to 17 years", words, Metrics={**NOTHING, "F1": 3.0}),
        ]
        write(tmp_path / "results.json", failed)
        (check,) = json.loads(score(tmp_path, "--check", "--json").stdout)
        assert [found["id"] for found in check["mismatches"]] == [3]
        assert check["notes"] == [
            "failed results whose stored scores are those of the words of the error: 1 (1)"
        ]

    @pytest.mark.parametrize(
        ("metric", "stored", "why"),
        [
            ("ECR", 25.0, "divides by all 8 results instead of by the 4 charts"),
            ("ECR", 0.5, "is a fraction, not a percentage"),
            ("Pass", 33.33, "leaves out the 1 charts whose Pass is 'None'"),
            (
                "Pass",
                0.3333333,
                "is a fraction, not a percentage, and leaves out the 1 charts whose Pass is 'None'",
            ),
            ("ECR", 28.57, "divides by all 7 results that did not fail instead of by the 4 charts"),
            ("EM", 66.67, "leaves out the failed results"),
            ("EM", 25.0, "divides by all 8 results instead of by the 4 that have it"),
            ("EM", 33.33, "is the mean of the question types, not of their results"),
            (
                "EM",
                0.3333,
                "is a fraction, not a percentage, and is the mean of the question types, not of their results",
            ),
            ("EM", 99.0, ""),
            ("EM", True, ""),
            ("EM", 10**400, ""),
        ],
    )
    def test_a_stored_mean_that_is_wrong_is_explained(
        self, metric: str, stored: object, why: str, tmp_path: Path
    ) -> None:
        charts = [
            chart(1, True, True),
            chart(2, True, "False"),
            chart(3, False, False),
            chart(4, False, "None"),
        ]
        texts = [result(5), result(6), result(7, "1", "2", Metrics=NOTHING)]
        texts += [result(8, prediction="[ERROR] x", QuestionType="Data Analysis", Metrics=NOTHING)]
        right = {"ECR": 50.0, "Pass": 25.0, "EM": 50, "F1": 50.0, "ROUGE-L": 50.0, "SacreBLEU": 0.0}
        means = {"by_question_type": {"Fact Checking": {"EM": 66.67}}, "overall": {**right, metric: stored}}
        file = write(tmp_path / "results.json", [*charts, *texts], aggregate_metrics=means)
        check = check_file(file, Scorer(), pytest.fail)
        ((path, found),) = check.differences
        assert (path, found.row, found.metric) == (file, "Overall", metric)
        assert (found.right, found.why) == (right[metric], why)
        assert check.means == 7
        assert check.passed == bool(why)

    def test_the_report_beside_a_file_is_compared_too(self, tmp_path: Path) -> None:
        means = {"Overall": {"EM": 100.0}}
        old = write(tmp_path / "results.json", [result(1), chart(2, True, True)], aggregate_metrics=means)
        os.utime(old, (1, 1))
        write(tmp_path / "checkpoint.json", [result(1, "1", "2", Metrics=NOTHING), chart(2, True, True)])
        report = tmp_path / "aggregate_metrics.csv"
        report.write_text(
            ",EM,Pass,Seconds\nFact Checking,100.000000,,3\nVisualization,,100,\nOverall,99,50,\n"
        )
        run = score("--check", ".", cwd=tmp_path)
        assert run.returncode == 1
        not_run = "  charts not run (the folder of their workbooks is not known, name it by --tables): 1 (2)"
        assert run.stdout.splitlines() == [
            "results.json: 2 results (1 for charts); 1 of 1 stored scores equal",
            not_run,
            "  aggregate_metrics.csv: Overall, EM: stored 99.00, right 100.00: no known mistake gives that",
            "  aggregate_metrics.csv: Overall, Pass: stored 50.00, right 100.00: it divides by all 2 results"
            " instead of by the 1 charts",
            "checkpoint.json: 2 results (1 for charts); 1 of 1 stored scores equal",
            not_run,
            "2 files: 2 of 2 stored scores equal; 2 of 5 stored means wrong, 1 of them without an explanation;"
            " 2 charts not run",
        ]
