"""What `hitui score` wrote, read for the screen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.aggregates import aggregate
from hitui_runners.realhitbench.rescoring import Notes, Scorer, sample_of
from hitui_runners.realhitbench.scores_file import report_of, write_scores
from hitui_runners.realhitbench.units import Unit

from hitui.services.scores import read_scores
from tests.tools.results import answer


def test_what_the_program_writes_is_read(tmp_path: Path) -> None:
    results: list[dict[str, Any]] = [
        answer(1, "7") | {"SubQType": "Ranking"},
        answer(2, "none") | {"QuestionType": "Visualization", "Metrics": {}},
        answer(3, "none") | {"SubQType": "Summary Analysis", "Metrics": {}},
    ]
    samples = [sample_of(result, Scorer(), Notes()) for result in results]
    unit = Unit("g/c", (), tmp_path / "scores.json")
    write_scores(unit.scores, report_of(unit, aggregate(samples), [], {}), samples, 100 * 10**9)
    scores = read_scores(tmp_path)
    assert scores is not None
    assert scores.means["EM"] == 100.0
    assert (scores.charts_unscored, scores.unjudged) == (1, 1)
    assert scores.older_than(101.0) == ("results",)
    assert scores.older_than(99.0) == scores.older_than(None) == ()
    (tmp_path / "verdicts.jsonl").touch()
    judged = read_scores(tmp_path)
    assert judged is not None
    assert judged.older_than(101.0) == ("results", "verdicts")
    assert judged.older_than(99.0) == ("verdicts",)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        json.dumps({"written_by": "me", "aggregate_metrics": {"overall": {}}}),
        json.dumps({"written_by": "hitui", "aggregate_metrics": {"overall": {"EM": "high"}}}),
        "\udcff",
    ],
)
def test_what_is_no_file_of_scores_is_none(content: str, tmp_path: Path) -> None:
    assert read_scores(tmp_path) is None
    (tmp_path / "scores.json").write_text(content, errors="surrogateescape")
    assert read_scores(tmp_path) is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scores.json")
    assert read_scores(tmp_path) is None
