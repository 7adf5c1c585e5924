"""The program `score`: odd results cost themselves alone, and nothing of anyone's is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench import rescoring
from hitui_runners.realhitbench.aggregates import OVERALL, aggregate, differences, rows_of_csv, stored_rows
from hitui_runners.realhitbench.check import check_file
from hitui_runners.realhitbench.rescoring import Notes, Sample, Scorer, sample_of, usable

from tests.runners.conftest import PLAIN_PYTHON, RUNNERS, environment

FULL = {"F1": 100.0, "EM": 100.0, "ROUGE-L": 100.0, "SacreBLEU": 0.0}
NOTHING = dict.fromkeys(FULL, 0.0)


def result(task: object, reference: object = "41", prediction: object = "41", **more: Any) -> dict[str, Any]:
    """One result; `None` among `more` takes the key away."""
    made = {
        "id": task,
        "QuestionType": "Fact Checking",
        "SubQType": "Ranking",
        "Reference": reference,
        "Prediction": prediction,
        "Metrics": dict(FULL),
    }
    return {key: value for key, value in (made | more).items() if key not in more or value is not None}


def chart(task: int, ran: bool, passed: object) -> dict[str, Any]:
    return result(task, QuestionType="Visualization", Metrics={"ECR": ran, "Pass": passed})


def judged(task: int) -> dict[str, Any]:
    return result(task, SubQType="Summary Analysis", Metrics={"GPT_EVAL": "N/A (no eval_api_key)"})


def write(path: Path, results: Iterable[object], **beside: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**beside, "results": list(results)}))
    return path


def score(
    *words: object, python: Sequence[str] = (sys.executable,), cwd: Path | None = None, feed: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*python, str(RUNNERS), "score", *map(str, words)],
        input=feed,
        capture_output=True,
        text=True,
        env=environment(),
        cwd=cwd,
        timeout=120,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def scores_in(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_bytes())
    return data


class TestOddResults:
    RESULTS = (
        result(1, 41),
        result(2, 41.26, "41.3"),
        result(3, None, Reference=None),
        result(4) | {"Reference": None},
        result(5, ["41"]),
        result(6, prediction=7.5),
        result(7) | {"Prediction": None},
        result(8, prediction=["41"]),
        result("9"),
        result(10, "Größe 東京", "größe 東京"),
        result(11, "half \ud800", "half \ud800"),
        result(12, QuestionType=None),
        result(13, QuestionType=3),
        result(14, Metrics=None),
        result(15, Metrics=[1]),
        result(16, prediction="[ERROR] OOM: Text too large (9 tokens)", Metrics=NOTHING),
        result(17, "1", "2", Metrics=NOTHING),
        result(17, prediction="41"),
        result(17, prediction="[ERROR] later, and no answer", Metrics=NOTHING),
        result(18, "x" * 10, "9" * 400 + ".5", Metrics=NOTHING),
        {"Prediction": "without an id"},
        {"id": True, "Prediction": "no id"},
        {"id": 20},
        7,
        judged(21),
        chart(22, True, True),
    )

    def test_each_kind_gets_one_line_and_the_others_their_scores(self, tmp_path: Path) -> None:
        write(tmp_path / "results.json", self.RESULTS)
        run = score(tmp_path)
        assert (run.returncode, run.stderr) == (0, "")
        lines = [line.strip() for line in run.stdout.splitlines()]
        assert lines[0] == f"{tmp_path}: 20 results, 1 failed (each counts as 0)"
        for line in (
            "entries without a usable id or without Prediction, left out, by number: 4 (21, 22, 23, 24)",
            "ids that are numbers written as text, taken for those numbers: 1 (9)",
            "ids that stand again in the same file, of each the result that counts is taken: 2 (17, 17)",
            "results without QuestionType, in a row of their own: 2 (12, 13)",
            "results without a Reference that is a text or a number, not scored: 3 (3, 4, 5)",
            "results whose Reference is a number, compared as text: 2 (1, 2)",
            "results whose Prediction is a number, compared as text: 1 (6)",
            "results whose Prediction is null, scored as empty answers: 1 (7)",
            "results whose Prediction is neither text nor number, not scored: 1 (8)",
            "unjudged: 1 result, in no mean; `hitui judge` asks a judge about them",
            "charts not run (the folder of their workbooks is not known, name it by --tables), kept as stored: 1 (22)",
            f"written to {tmp_path / 'scores.json'}",
        ):
            assert line in lines
        metrics = scores_in(tmp_path / "scores.json")["metrics"]
        right = [task for task, scores in metrics.items() if scores == FULL]
        assert right == ["1", "2", "9", "10", "11", "12", "13", "14", "15", "17"]
        assert metrics["3"] == metrics["8"] == {}
        assert metrics["6"] == metrics["7"] == metrics["16"] == NOTHING
        assert metrics["21"] == {"GPT_EVAL": "N/A (no eval_api_key)"}
        assert metrics["22"] == {"ECR": True, "Pass": True}

    def test_checked_they_are_compared_as_far_as_they_can_be(self, tmp_path: Path) -> None:
        write(tmp_path / "results.json", self.RESULTS)
        before = content(tmp_path)
        run = score(tmp_path, "--check", "--json")
        assert run.stderr == ""
        assert content(tmp_path) == before
        (check,) = json.loads(run.stdout)
        assert {found["id"] for found in check["mismatches"]} == {6, 7}
        assert (check["results"], check["not_stored"], check["charts"], check["unjudged"]) == (22, 2, 1, 1)
        assert (check["compared"], check["equal"], run.returncode) == (14, 12, 1)


def test_files_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path) -> None:
    half = write(tmp_path / "a" / "results.json", [result(1), result(2)])
    half.write_bytes(half.read_bytes()[:-30])
    write(tmp_path / "b" / "results_1.json", [result(1)])
    (tmp_path / "b" / "results_2.json").touch()
    (tmp_path / "c").mkdir()
    os.mkfifo(tmp_path / "c" / "checkpoint.json")
    (tmp_path / "c" / "results.json").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "results.jsonl").write_text(
        json.dumps(result(1)) + "\nrubbish\n" + json.dumps(result(2)) + '\n{"id": 3, "Pre'
    )
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "results.json").write_text('{"scores": 3}')
    run = score(".", tmp_path / "absent", cwd=tmp_path)
    assert run.returncode == 1
    errors = run.stderr.splitlines()
    assert [line.split(": ")[:2] for line in errors] == [
        ["error", "c/checkpoint.json"],
        ["error", "c/results.json"],
        ["error", f"{tmp_path}/absent"],
        ["error", "a/results.json"],
        ["error", "b/results_2.json"],
        ["warning", "d/results.jsonl"],
        ["error", "e/results.json"],
    ]
    assert "line 2 is no JSON" in errors[5]
    assert "results.jsonl: the last line is torn or still being written, and is left out" in run.stdout
    assert set(scores_in(tmp_path / "d" / "scores.json")["metrics"]) == {"1", "2"}
    assert scores_in(tmp_path / "b" / "scores.json")["metrics"] == {"1": FULL}
    assert not (tmp_path / "a" / "scores.json").exists()

    checked = score("--check", tmp_path)
    assert checked.returncode == 1
    assert checked.stdout.splitlines()[-1] == "2 files: 3 of 3 stored scores equal"


def test_of_several_files_the_later_result_counts_but_never_an_error_for_an_answer(tmp_path: Path) -> None:
    old = write(
        tmp_path / "results.json", [result(1), result(2, prediction="[ERROR] x"), result(3, "1", "2")]
    )
    os.utime(old, (1, 1))
    new = write(
        tmp_path / "checkpoint.json", [result(1, prediction="[ERROR] y"), result("2"), result(3, "1", "1")]
    )
    os.utime(new, (2, 2))
    assert score(tmp_path).returncode == 0
    scores = scores_in(tmp_path / "scores.json")
    assert [metrics["EM"] for metrics in scores["metrics"].values()] == [100.0, 100.0, 100.0]
    assert scores["sources"] == ["results.json", "checkpoint.json"]
    assert scores["aggregate_metrics"]["overall"]["EM"] == 100.0


def test_scored_again_the_file_is_the_same_and_is_not_written(tmp_path: Path) -> None:
    file = write(tmp_path / "results.json", [result(1), chart(2, True, "False"), chart(3, False, "None")])
    (report,) = json.loads(score("results.json", "--json", cwd=tmp_path).stdout)
    assert report["written"] is True
    assert report["aggregate_metrics"]["by_question_type"]["Visualization"] == {"Pass": 0.0, "ECR": 50.0}
    written = tmp_path / "scores_results.json"
    before = written.stat()
    (report,) = json.loads(score(file, "--json").stdout)
    assert report["written"] is False
    assert written.stat().st_ino == before.st_ino
    assert sorted(content(tmp_path)) == ["results.json", "scores_results.json"]
    assert written.stat().st_mode & 0o777 == file.stat().st_mode & 0o777


def test_what_someone_else_wrote_is_left_as_it_is(tmp_path: Path) -> None:
    write(tmp_path / "results.json", [result(1)])
    write(tmp_path / "piped" / "results.json", [result(1)])
    (tmp_path / "scores.json").write_text('{"mine": 1}')
    os.mkfifo(tmp_path / "piped" / "scores.json")
    before = content(tmp_path)
    run = score(tmp_path)
    assert run.returncode == 1
    said = "was not written by hitui and is left as it is; move it away, then score again"
    assert run.stderr.splitlines() == [
        f"error: {tmp_path}/scores.json: {said}",
        f"error: {tmp_path}/piped/scores.json: {said}",
    ]
    assert "Overall" in run.stdout
    assert content(tmp_path) == before


def test_what_is_missing_in_the_environment_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "results.json", [result(1)])
    before = content(tmp_path)
    for options in ((), ("--check",)):
        run = score(tmp_path, *options, python=PLAIN_PYTHON)
        assert run.returncode == 1
        (line,) = run.stderr.splitlines()
        assert line.startswith("error: ")
        assert "ROUGE-L (No module named 'rouge_score') and SacreBLEU (No module named 'sacrebleu')" in line
        assert "-m pip install rouge-score sacrebleu" in line
        assert content(tmp_path) == before
    assert "1 of 1 stored scores equal" in run.stdout


def test_charts_without_scores_are_left_out_and_said(tmp_path: Path) -> None:
    failed = chart(3, False, "None") | {"Prediction": "[ERROR] x", "Metrics": {}}
    write(tmp_path / "results.json", [chart(1, True, True), chart(2, True, True) | {"Metrics": {}}, failed])
    run = score(tmp_path)
    assert "1 chart of 3 without ECR and Pass, so there is no mean of these" in run.stdout
    scores = scores_in(tmp_path / "scores.json")
    assert scores["aggregate_metrics"]["overall"] == {}
    assert scores["counts"]["Visualization"]["charts_unscored"] == 1


def test_names_are_harmless_to_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[2J\nb"
    write(folder / "results.json", [result("x\x1b]0;y\x07", "1", "2")])
    run = score(folder, "--check")
    assert run.returncode == 1
    assert "\x1b" not in run.stdout
    assert "\x07" not in run.stdout
    assert "a\\x1b[2J\\nb/results.json: 1 result; " in run.stdout


def test_a_plan_names_configs_of_several_folders(tmp_path: Path) -> None:
    first, second = tmp_path / "g" / "c", tmp_path / "g" / "c_shard1"
    write(first / "results.json", [result(1)])
    write(second / "results.json", [result(2, "1", "2", Metrics=NOTHING)])
    unit = {"name": "g/c", "folders": [str(first), str(second)], "output": str(first)}
    run = score("--plan", "-", feed=json.dumps({"units": [unit, {"path": str(second)}]}))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("g/c: 2 results")
    assert scores_in(first / "scores.json")["aggregate_metrics"]["overall"]["EM"] == 50.0
    assert scores_in(second / "scores.json")["metrics"] == {"2": NOTHING}

    empty = {"name": "g/none", "folders": [str(tmp_path / "none")], "output": str(tmp_path / "none")}
    run = score("--plan", "-", "--check", feed=json.dumps({"units": [empty, unit]}))
    assert run.returncode == 1
    assert run.stderr == f"error: g/none: there are no results in {tmp_path}/none\n"
    assert run.stdout.endswith("2 files: 2 of 2 stored scores equal\n")
    assert score("--plan", "-", feed="[]").returncode == 1


def test_wrong_usage(tmp_path: Path) -> None:
    assert score().returncode == 2
    run = score(tmp_path)
    assert run.returncode == 1
    assert run.stderr == (
        f"error: {tmp_path}: holds no results (checkpoint.json, results.jsonl, results*.json)\n"
    )


@pytest.mark.parametrize("options", [(), ("--check",), ("--json",)])
def test_output_that_finds_no_room_is_one_line(options: tuple[str, ...], tmp_path: Path) -> None:
    write(tmp_path / "results.json", [result(1)])
    command = [sys.executable, str(RUNNERS), "score", str(tmp_path), *options]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert run.returncode == 1
    assert run.stderr == "error: cannot write: No space left on device; make room where the output goes\n"


class TestCheck:
    def test_a_stored_score_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        wrong = [result(task, "1", "2", Metrics={"EM": 100.0}) for task in range(2, 9)]
        odd = [result(9, Metrics={**FULL, "F1": float("nan")}), result(10, Metrics={**FULL, "F1": "100"})]
        write(tmp_path / "results.json", [result(1), *wrong, *odd])
        run = score(tmp_path, "--check")
        assert run.returncode == 1
        lines = run.stdout.splitlines()
        assert lines[0].endswith("10 results; 1 of 10 stored scores equal")
        assert lines[1] == "  task 2: EM is stored as 100.0, right is 0.00"
        assert lines[6] == "  and 4 more: task 7, 8, 9, 10"
        assert "results whose stored scores are not all there, the others compared: 7 (2, 3, 4" in run.stdout
        (check,) = json.loads(score(tmp_path, "--check", "--json").stdout)
        assert check["mismatches"][7] == {"id": 9, "metric": "F1", "stored": "nan", "right": 100.0}

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
            ("EM", 66.67, "leaves out the failed results"),
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
        texts += [result(8, prediction="[ERROR] x", Metrics=NOTHING)]
        right = {"ECR": 50.0, "Pass": 25.0, "EM": 50, "F1": 50.0, "ROUGE-L": 50.0, "SacreBLEU": 0.0}
        means = {"by_question_type": {"Fact Checking": {"EM": 50.0}}, "overall": {**right, metric: stored}}
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
            "2 files: 2 of 2 stored scores equal; 2 of 6 stored means wrong, 1 of them without an explanation;"
            " 0 of 2 charts equal, 2 not run",
        ]


def samples(results: Sequence[Mapping[str, Any]]) -> list[Sample]:
    notes, scorer = Notes(), Scorer()
    return [sample_of(each, scorer, notes) for each in usable(results, notes)]


def test_rows_stand_in_the_order_of_the_benchmark_and_all_comes_last() -> None:
    kinds = ["Visualization", "Zoo", "Data Analysis", "Fact Checking", "", OVERALL]
    rows = aggregate(samples([result(number, QuestionType=kind) for number, kind in enumerate(kinds)]))
    assert list(rows) == ["Fact Checking", "Data Analysis", "Visualization", "(no type)", "Zoo", OVERALL]
    assert rows[OVERALL].results == 6


def test_a_chart_passes_where_true_is_stored_as_value_or_word() -> None:
    passes = (True, "True", False, "False", "None")
    rows = aggregate(samples([chart(number, True, passed) for number, passed in enumerate(passes)]))
    assert rows["Visualization"].rounded() == {"Pass": 40.0, "ECR": 100.0}


def test_means_of_a_type_that_no_result_has_are_named() -> None:
    found = differences(
        {"Zoo": {"EM": 3.0, "Seconds": 4}}, samples([result(1)]), samples([result(1)]), ["EM"]
    )
    assert [(each.row, each.metric, each.right, each.why) for each in found] == [("Zoo", "EM", None, "")]


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
