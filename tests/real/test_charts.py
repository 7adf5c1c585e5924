"""Stored ECR and Pass of real Visualization answers, computed again from the real workbooks."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest
from hitui_runners.realhitbench.charts.check import EQUAL, UNEXPLAINED, Checker
from hitui_runners.realhitbench.charts.sandbox import Limits, find_sandbox

from tests.tools.workspaces import real_data

SOURCE = real_data()
EACH = 40
"""Of so many answers one is run; all of them take half an hour (`python -m hitui_runners charts --check`)."""


@pytest.mark.real
@pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent")
def test_stored_scores_are_reproduced() -> None:
    assert SOURCE is not None
    sandbox = find_sandbox(sys.executable)
    patient = find_sandbox(sys.executable, Limits(cpu_seconds=300, seconds=600.0))
    checker = Checker(SOURCE / "data" / "tables", sandbox, patient, 2)
    counts: Counter[str] = Counter()
    unexplained = []
    for number, path in enumerate(sorted((SOURCE / "result" / "complied").rglob("results.json"))):
        results = json.loads(path.read_bytes())["results"]
        charts = [result for result in results if result["QuestionType"] == "Visualization"]
        checked = checker.check(path, charts[number::EACH])
        counts += checked.counts
        unexplained += [(path.parent.name, one) for one in checked.differences if one["class"] == UNEXPLAINED]
    assert unexplained == []
    assert counts[EQUAL] > 30
