"""The program `score`: odd results cost themselves alone, and nothing of anyone's is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.rescoring import Sample, sample_of

from tests.runners.conftest import RUNNERS, environment
from tests.runners.scored import (
    FULL,
    NOTHING,
    chart,
    content,
    judged,
    result,
    score,
    score_process,
    scores_in,
    write,
)
from tests.tools.plain_python import PLAIN_PYTHON


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
        run = score_process(tmp_path)
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


def test_what_is_named_or_linked_twice_is_scored_once_and_hidden_folders_are_not(tmp_path: Path) -> None:
    write(tmp_path / "a" / "results.json", [result(1)])
    write(tmp_path / ".before" / "results.json", [result(1, prediction="63")])
    (tmp_path / "a" / "above").symlink_to(tmp_path)
    run = score(tmp_path, tmp_path / "a", "--json")
    assert run.returncode == 0
    assert [report["name"] for report in json.loads(run.stdout)] == [str(tmp_path / "a")]


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


def test_scores_that_stay_the_same_are_no_older_than_results_that_were_written_again(tmp_path: Path) -> None:
    file = write(tmp_path / "results.json", [result(1)])
    assert score(file).returncode == 0
    written = tmp_path / "scores_results.json"
    os.utime(written, (100, 100))
    file.touch()
    (report,) = json.loads(score(file, "--json").stdout)
    assert report["written"] is False
    assert written.stat().st_mtime >= file.stat().st_mtime


def test_results_that_come_while_others_are_scored_are_newer_than_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "results.json", [result(1)])

    def slow(*given: Any) -> Sample:
        write(file, [result(1), result(2)])
        return sample_of(*given)

    monkeypatch.setattr("hitui_runners.realhitbench.score.sample_of", slow)
    assert score(file).returncode == 0
    written = tmp_path / "scores_results.json"
    assert list(scores_in(written)["metrics"]) == ["1"]
    assert written.stat().st_mtime < file.stat().st_mtime


def test_what_a_kill_left_half_written_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    here = os.uname().nodename
    of_others = [f"{here}.1", f"elsewhere.{ended.pid}", here]
    for end in (f"{here}.{ended.pid}", f"{here}.{os.getpid()}", *of_others):
        (tmp_path / f".scores.json.{end}.hitui-part").write_text("{")
    write(tmp_path / "results.json", [result(1)])
    run = score(tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.glob(".*")) == sorted(
        f".scores.json.{end}.hitui-part" for end in of_others
    )


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
        run = score_process(tmp_path, *options, python=PLAIN_PYTHON)
        assert run.returncode == 1
        (line,) = run.stderr.splitlines()
        assert line.startswith("error: ")
        assert "ROUGE-L (No module named 'rouge_score') and SacreBLEU (No module named 'sacrebleu')" in line
        assert "-m pip install rouge-score sacrebleu" in line
        assert content(tmp_path) == before
    assert "1 of 1 stored scores equal" in run.stdout


def test_the_table_fits_eighty_columns(tmp_path: Path) -> None:
    verdict = judged(1) | {"QuestionType": "Data Analysis", "Metrics": {"GPT_EVAL": "100"}}
    kinds = ["Structure Comprehending", "数" * 30, "type " * 20]
    results = [result(task, QuestionType=kind) for task, kind in enumerate(kinds, start=3)]
    write(tmp_path / "results.json", [verdict, chart(2, True, True), *results])
    lines = score(".", cwd=tmp_path).stdout.splitlines()
    assert lines[1:8] == [
        "  question type           results     EM     F1 ROUGE-L SacreBLEU   Pass    ECR",
        "  Structure Comprehending       1 100.00 100.00  100.00      0.00",
        "  Data Analysis                 1",
        "  Visualization                 1                                 100.00 100.00",
        "  type type type type ty…       1 100.00 100.00  100.00      0.00",
        "  数数数数数数数数数数数…       1 100.00 100.00  100.00      0.00",
        "  Overall                       5 100.00 100.00  100.00      0.00 100.00 100.00",
    ]
    assert lines[8] == "  GPT_EVAL: Data Analysis 100.00, Overall 100.00"


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

    merged = tmp_path / "g" / "d_merged"
    write(merged / "results.json", [result(3)])
    elsewhere = {"name": "g/d", "folders": [str(merged)], "output": str(tmp_path / "g" / "d")}
    run = score("--plan", "-", feed=json.dumps({"units": [elsewhere]}))
    assert (run.returncode, run.stderr) == (0, "")
    assert scores_in(tmp_path / "g" / "d" / "scores.json")["sources"] == ["../d_merged/results.json"]

    empty = {"name": "g/none", "folders": [str(tmp_path / "none")], "output": str(tmp_path / "none")}
    run = score("--plan", "-", "--check", feed=json.dumps({"units": [empty, unit]}))
    assert run.returncode == 1
    assert run.stderr == f"error: g/none: there are no results in {tmp_path}/none\n"
    assert run.stdout.endswith("2 files: 2 of 2 stored scores equal\n")
    for feed in ("[]", '{"units": [{"name": "g"}]}'):
        run = score("--plan", "-", feed=feed)
        assert (run.returncode, run.stderr.startswith("error: -: is no plan of what to score: ")) == (1, True)


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
