"""Every score that real runs stored is made again, and every mean of theirs that is wrong is explained."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hitui_runners.realhitbench.aggregates import OVERALL, aggregate
from hitui_runners.realhitbench.check import REPORT, Check, check_file, check_report
from hitui_runners.realhitbench.rescoring import Scorer
from hitui_runners.realhitbench.units import units_of

from tests.tools.real_data import real_data
from tests.tools.sandbox import Sandbox
from tests.tools.workspaces import copy_real

SOURCE = real_data()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent"),
]


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    """By the file's path below `result`; those of the reports beside `results.json` too."""
    assert SOURCE is not None
    scorer, found = Scorer(), {}
    for unit in units_of(SOURCE / "result", pytest.fail):
        for path in unit.files:
            check = found[str(path.relative_to(SOURCE / "result"))] = check_file(path, scorer, pytest.fail)
            if path.name == "results.json":
                check_report(check, path.with_name(REPORT), scorer)
    return found


def stored_scores(path: Path) -> int:
    """How many results of a file have scores of a text, counted without the code that is tested."""
    return sum("EM" in result["Metrics"] for result in json.loads(path.read_bytes())["results"])


def test_every_stored_score_is_made_again(checks: dict[str, Check]) -> None:
    assert SOURCE is not None
    files = [path for path in (SOURCE / "result").rglob("*.json") if path.name != "skip_ids.json"]
    assert len(checks) == len(files) > 20
    wanted = sum(map(stored_scores, files))
    assert sum(check.compared for check in checks.values()) == wanted > 40_000
    assert [found for check in checks.values() for found in check.mismatches] == []
    assert [check.notes for check in checks.values() if check.notes] == []


def test_every_mean_of_the_reports_follows_or_is_explained(checks: dict[str, Check]) -> None:
    assert sum(check.means for check in checks.values()) > 500
    wrong = [
        (name, path.name, difference.row, difference.metric, difference.why)
        for name, check in checks.items()
        for path, difference in check.differences
    ]
    # Nothing but the means over charts, in two rows.
    assert {(row, metric) for _, _, row, metric, _ in wrong} == {
        (row, metric) for row in (OVERALL, "Visualization") for metric in ("ECR", "Pass")
    }
    assert all(why for *_, why in wrong)
    assert all(check.passed for check in checks.values())
    of_html = [line[1:] for line in wrong if line[0].startswith("complied/qwen3vl_text/text_html/")]
    why = "divides by all 3063 results instead of by the 154 charts"
    assert sorted(of_html) == [
        (file, OVERALL, metric, why) for file in (REPORT, "results.json") for metric in ("ECR", "Pass")
    ]


def test_our_means_are_those_of_the_report(checks: dict[str, Check]) -> None:
    """Read with another reader of CSV than the code has: text and, by type, charts."""
    assert SOURCE is not None
    name = "complied/qwen3vl_default_pic/image/results.json"
    rows = {row: found.rounded() for row, found in aggregate(checks[name].samples).items()}
    with (SOURCE / "result" / name).with_name(REPORT).open(newline="") as file:
        report = {line.pop(""): line for line in csv.DictReader(file)}
    assert rows.keys() == report.keys()
    for row, line in report.items():
        stored = {metric: float(text) for metric, text in line.items() if text}
        if row == OVERALL:
            stored |= {"ECR": 55.19, "Pass": 25.97}
        assert rows[row] == stored


def test_a_config_is_scored_beside_its_results(tmp_path: Path) -> None:
    assert SOURCE is not None
    workspace = copy_real(tmp_path / "workspace", SOURCE)
    before = {path: path.read_bytes() for path in (workspace / "result").rglob("*") if path.is_file()}
    folder = workspace / "result" / "complied" / "qwen3vl_text" / "text_html"
    with Sandbox(tmp_path / "box", workspace) as sandbox:
        row = sandbox.json("ls")
        run = sandbox.hitui("score", "qwen3vl_text/text_html", "--no-charts")
        assert run.returncode == 0, run.stderr
        assert f"written to {folder}/scores.json" in run.stdout
        after = {path: path.read_bytes() for path in (workspace / "result").rglob("*") if path.is_file()}
        assert {path: after[path] for path in before} == before
        assert after.keys() - before.keys() == {folder / "scores.json"}
        assert sandbox.json("ls") == row
        overall = json.loads(after[folder / "scores.json"])["aggregate_metrics"]["overall"]
        assert overall == {
            "EM": 29.86,
            "F1": 43.82,
            "ROUGE-L": 43.36,
            "SacreBLEU": 6.46,
            "Pass": 11.69,
            "ECR": 27.92,
        }
