"""Means of the scores of a config, by question type and over all, and what is wrong with those that programs stored.

Each mean is over the samples that have the score, in percent: a failed task counts as 0, a chart whose `ECR` or
`Pass` is not true counts as 0, and the mean over all of ECR and Pass is over the charts, since nothing else has them.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hitui_runners.realhitbench.rescoring import (
    CHART_METRICS,
    JUDGE_METRIC,
    TEXT_METRICS,
    Kind,
    Sample,
    is_true,
    number,
    stored_number,
)

OVERALL = "Overall"
METRICS = (*TEXT_METRICS, *CHART_METRICS, JUDGE_METRIC)
_TYPES = (
    "Fact Checking",
    "Numerical Reasoning",
    "Structure Comprehending",
    "Data Analysis",
    "Visualization",
)
"""The order of the rows; types besides these follow in their own order."""
_WITHOUT_TYPE = "(no type)"


@dataclass
class Row:
    """One question type, or all."""

    results: int = 0
    failed: int = 0
    unjudged: int = 0
    unscored: int = 0
    charts: int = 0
    charts_run: int = 0
    """Charts whose ECR and Pass were made now; those of the others are as stored, or false where the task failed."""
    charts_unscored: int = 0
    """Charts without ECR and Pass; the row has then no mean of these."""
    passes_none: int = 0
    """Charts whose `Pass` is the text None: programs that did not run, some of which older means leave out."""
    means: dict[str, float] = field(default_factory=dict)
    """Not rounded. A metric that no sample has is not there."""
    counts: dict[str, int] = field(default_factory=dict)
    """Over how many samples each of them is."""

    def rounded(self) -> dict[str, float]:
        return {name: round(self.means[name], 2) for name in METRICS if name in self.means}


@dataclass(frozen=True)
class Difference:
    """A stored mean that is another than the right one."""

    row: str
    metric: str
    stored: Any
    right: float | None
    """None: nothing has such a score."""
    why: str
    """How the stored one came about; empty where that cannot be told."""


def aggregate(samples: Iterable[Sample]) -> dict[str, Row]:
    """The rows by question type, in the benchmark's order, and `OVERALL` at the end."""
    rows: defaultdict[str, Row] = defaultdict(Row)
    values: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        for name in {sample.question_type or _WITHOUT_TYPE, OVERALL}:
            _count(rows[name], sample)
            for metric, value in _values(sample):
                values[name][metric].append(value)
    for name, row in rows.items():
        for metric, found in values[name].items():
            if metric not in CHART_METRICS or not row.charts_unscored:
                row.means[metric] = sum(found) / len(found)
                row.counts[metric] = len(found)
    return {name: rows[name] for name in sorted(rows, key=_place)}


def _place(name: str) -> tuple[bool, int, str]:
    return name == OVERALL, _TYPES.index(name) if name in _TYPES else len(_TYPES), name


def _count(row: Row, sample: Sample) -> None:
    row.results += 1
    row.failed += sample.failed
    row.unscored += sample.kind is Kind.UNSCORED
    row.unjudged += sample.kind is Kind.JUDGED and number(sample.metrics[JUDGE_METRIC]) is None
    if sample.kind is Kind.CHART:
        row.charts += 1
        row.charts_run += sample.run
        row.charts_unscored += any(name not in sample.metrics for name in CHART_METRICS)
        row.passes_none += sample.metrics.get("Pass") == "None"


def _values(sample: Sample) -> Iterable[tuple[str, float]]:
    for metric, value in sample.metrics.items():
        if sample.kind is Kind.CHART:
            yield metric, 100.0 * is_true(value)
        elif (given := number(value)) is not None:
            yield metric, given


def stored_rows(beside: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The means that stand in a file of results, under `aggregate_metrics`; none where they have another shape.

    Two shapes are known: question type → metric → mean, and that under `by_question_type` beside `overall`.
    """
    stored = beside.get("aggregate_metrics")
    if not isinstance(stored, dict):
        return {}
    if "by_question_type" in stored or "overall" in stored:
        by_type = stored.get("by_question_type")
        stored = {**(by_type if isinstance(by_type, dict) else {}), OVERALL: stored.get("overall")}
    return {name: row for name, row in stored.items() if isinstance(row, dict)}


def rows_of_csv(text: str) -> dict[str, Mapping[str, Any]]:
    """The means of an `aggregate_metrics.csv`: question types down, metrics across. Raises csv.Error."""
    lines = list(csv.reader(io.StringIO(text)))
    header = [name.strip() for name in lines[0]] if lines else []
    return {
        line[0].strip(): {
            name: _cell(cell) for name, cell in zip(header[1:], line[1:], strict=False) if cell.strip()
        }
        for line in lines[1:]
        if line
    }


def _cell(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _is_made(value: Any) -> bool:
    """Whether it is a mean, be it a wrong one; programs write None, N/A or - for one that they did not make."""
    return value is not None and not (isinstance(value, str) and not any(map(str.isdecimal, value)))


def differences(
    stored: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Sample],
    every: Sequence[Sample],
    computed: Iterable[str],
) -> tuple[int, list[Difference]]:
    """How many stored means are compared, and those that are not right.

    `samples`: the results that count; `every`: all that stand in the file, those too that others replaced.
    `computed`: the text scores that can be made here; means of others are not compared, nor those of charts
    without scores.
    """
    rows = aggregate(samples)
    others = [
        ("leaves out the failed results", aggregate([sample for sample in samples if not sample.failed])),
        ("counts ids twice that stand twice", aggregate(every)),
    ]
    looked, found = 0, []
    for name, metrics in stored.items():
        row = rows.get(name, Row())
        for metric, value in metrics.items():
            if metric not in METRICS or (metric in TEXT_METRICS and metric not in computed):
                continue
            if metric in CHART_METRICS and row.charts_unscored:
                continue
            right = row.means.get(metric)
            # NaN is what a mean over nothing is.
            if not _is_made(value) or (right is None and value != value):
                continue
            looked += 1
            if right is None:
                found.append(Difference(name, metric, value, None, ""))
            elif not _agree(value, right):
                variants = [(why, other[name].means.get(metric)) for why, other in others if name in other]
                why = _explained(metric, value, right, row, rows, variants)
                found.append(Difference(name, metric, value, round(right, 2), why))
    return looked, found


def _explained(
    metric: str,
    stored: Any,
    right: float,
    row: Row,
    rows: Mapping[str, Row],
    variants: list[tuple[str, float | None]],
) -> str:
    """How the stored mean came about; empty where no known mistake gives it."""
    candidates: list[tuple[str, float | None]] = [("", right), *variants]
    count, overall = row.counts[metric], rows[OVERALL]
    having = f"{count} charts" if metric in CHART_METRICS else f"{count} that have it"
    answered = overall.results - overall.failed
    candidates.append(
        (
            f"divides by all {overall.results} results instead of by the {having}",
            right * count / overall.results,
        )
    )
    if answered:
        candidates.append(
            (
                f"divides by all {answered} results that did not fail instead of by the {having}",
                right * count / answered,
            )
        )
    if metric in CHART_METRICS and row.passes_none < count:
        candidates.append(
            (
                f"leaves out the {row.passes_none} charts whose Pass is 'None'",
                right * count / (count - row.passes_none),
            )
        )
    if row is overall:
        of_types = [
            found.means[metric] for found in rows.values() if found is not row and metric in found.means
        ]
        candidates.append(
            ("is the mean of the question types, not of their results", sum(of_types) / len(of_types))
        )
    for why, value in candidates:
        if value is not None and why and _agree(stored, value):
            return why
    for why, value in candidates:
        if value is not None and _agree(stored, value / 100, least=4):
            return "is a fraction, not a percentage" + (f", and {why}" if why else "")
    return ""


def _agree(stored: Any, right: float, least: int = 2) -> bool:
    """Whether they are equal to as many decimals as the stored one has: `least` at least, six at most."""
    given = stored_number(stored)
    if given is None:
        return False
    decimals = len(f"{given:.6f}".rstrip("0").partition(".")[2])
    return abs(given - right) <= 0.5 * 10.0 ** -max(least, decimals) + 1e-9
