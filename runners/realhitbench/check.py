"""Compares what programs stored in files of results, scores and their means, with what is right."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitui_runners.realhitbench.aggregates import (
    METRICS,
    OVERALL,
    Difference,
    Row,
    aggregate,
    differences,
    rows_of_csv,
    stored_rows,
)
from hitui_runners.realhitbench.charts.check import ChartCheck, check_charts
from hitui_runners.realhitbench.charts.scorer import ChartScorer
from hitui_runners.realhitbench.rescoring import (
    Kind,
    Mismatch,
    Notes,
    Sample,
    Scorer,
    mismatches,
    sample_of,
    usable,
)
from hitui_runners.realhitbench.results import Content, Result, is_error, load_content

REPORT = "aggregate_metrics.csv"


@dataclass
class Check:
    """What a comparison of one file came to."""

    path: Path
    compared: int = 0
    """Results of which text scores are stored that can be made here."""
    equal: int = 0
    not_stored: int = 0
    """Results that have text scores, none of which are stored."""
    mismatches: list[Mismatch] = field(default_factory=list)
    means: int = 0
    """How many stored means were compared."""
    differences: list[tuple[Path, Difference]] = field(default_factory=list)
    """Each with the file in which the mean stands."""
    notes: list[str] = field(default_factory=list)
    samples: tuple[Sample, ...] = ()
    every: tuple[Sample, ...] = ()
    """Those of `samples`, and those that others with the same id replace."""
    charts: ChartCheck = field(default_factory=ChartCheck)

    @property
    def row(self) -> Row:
        """How many results of which kind there are in `every`."""
        return aggregate(self.every).get(OVERALL, Row())

    @property
    def passed(self) -> bool:
        """Whether every stored score is right, and every mean and every chart that is not is explained."""
        return (
            not self.mismatches
            and self.charts.explained
            and all(difference.why for _, difference in self.differences)
        )


def check_file(
    path: Path, scorer: Scorer, warn: Callable[[str], None], charts: ChartScorer | None = None
) -> Check:
    """Compares the scores in one file, and the means in it with those of the scores that are stored there.

    Without `charts` those of charts are not compared. Raises Unreadable.
    """
    content = load_content(path, warn)
    notes = Notes()
    check = Check(path)
    results = usable(content.entries, notes)
    check.every = tuple(sample_of(result, scorer, notes) for result in results)
    for sample, result in zip(check.every, results, strict=True):
        _compare(check, sample, result, scorer, notes)
    if charts is not None:
        check.charts = check_charts(results, charts, path.name)
    check.samples = tuple(_counting(check.every, results))
    check.notes = [*torn_line(content), *notes.lines()]
    _compare_means(check, path, stored_rows(content.beside), scorer)
    return check


def check_report(check: Check, path: Path, scorer: Scorer) -> None:
    """Compares the means in an `aggregate_metrics.csv` with those of the file that it was made of."""
    try:
        rows = rows_of_csv(path.read_bytes().decode("utf-8-sig", errors="replace"))
    except OSError as error:
        check.notes.append(f"{path.name} beside it cannot be read: {error.strerror}")
    except csv.Error as error:
        check.notes.append(f"{path.name} beside it is no table: {error}")
    else:
        if not any(metric in METRICS for row in rows.values() for metric in row):
            check.notes.append(f"{path.name} beside it holds no mean that is known here")
        _compare_means(check, path, rows, scorer)


def torn_line(content: Content) -> list[str]:
    return ["the last line is torn or still being written, and is left out"] if content.torn else []


def _compare(check: Check, sample: Sample, result: Result, scorer: Scorer, notes: Notes) -> None:
    found = mismatches(sample, result, scorer, notes)
    if found is None:
        check.not_stored += sample.kind is Kind.TEXT
        return
    check.compared += 1
    check.equal += not found
    check.mismatches += found


def _counting(samples: Sequence[Sample], results: Sequence[Result]) -> list[Sample]:
    """Of each id the sample that counts: a success is never replaced by an error, otherwise the later one wins."""
    counting: dict[Any, tuple[Sample, Result]] = {}
    for sample, result in zip(samples, results, strict=True):
        before = counting.get(sample.task)
        if before is None or is_error(before[1]) or not is_error(result):
            counting[sample.task] = sample, result
    return [sample for sample, _ in counting.values()]


def _compare_means(check: Check, path: Path, stored: Mapping[str, Mapping[str, Any]], scorer: Scorer) -> None:
    looked, found = differences(stored, check.samples, check.every, scorer.names)
    check.means += looked
    check.differences += [(path, difference) for difference in found]
