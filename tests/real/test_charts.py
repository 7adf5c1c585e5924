"""Stored ECR and Pass of real Visualization answers, computed again from the real workbooks."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import pytest
from hitui_runners.realhitbench.charts.check import EQUAL, UNEXPLAINED, check_charts
from hitui_runners.realhitbench.charts.scorer import ChartOptions, ChartScorer

from tests.tools.real_data import real_data

SOURCE = real_data()
OF_A_FILE = 2
"""So many answers of a file are run, of kinds of chart and of stored scores that none before had; all take half an hour
(`hitui score --check`)."""


@pytest.mark.real
@pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent")
def test_stored_scores_are_reproduced() -> None:
    assert SOURCE is not None
    options = ChartOptions(tables=SOURCE / "data" / "tables", pythons=(sys.executable,), at_once=2)
    scorer = ChartScorer(options, pytest.fail)
    taken: set[tuple[Any, ...]] = set()
    counts: Counter[str] = Counter()
    unexplained = []
    for path in sorted((SOURCE / "result" / "complied").rglob("results.json")):
        chosen = []
        for result in json.loads(path.read_bytes())["results"]:
            metrics = result["Metrics"]
            kind = result["SubQType"], metrics.get("ECR"), metrics.get("Pass") is True
            new = result["QuestionType"] == "Visualization" and kind not in taken
            if new and len(chosen) < OF_A_FILE:
                taken.add(kind)
                chosen.append(result)
        check = check_charts(chosen, scorer, path.parent.name)
        counts += check.counts
        unexplained += [(path.parent.name, one) for one in check.differences if one.kind == UNEXPLAINED]
    assert unexplained == []
    assert len({(sub_type, passed) for sub_type, _, passed in taken}) == 8
    assert counts[EQUAL] >= 10
