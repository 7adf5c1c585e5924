"""Scores results again, or compares the scores that are stored in them with what is right.

    python -m hitui_runners score RESULTS.json FOLDER … [--check] [--json]

Without `--check` the scores are written beside the results, as `scores.json`, and the means printed. No file of
results is ever changed. With it nothing is written but what `--remember` names.

The answers to Visualization questions are programs that a model wrote; they run in a sandbox, and where they cannot,
what is stored of them stays.

Exit status: 0 done; 1 something could not be read, scored or written, or, with `--check`, a stored score is
another than the one made now, or a stored mean, or ECR and Pass of a chart, are wrong in a way that nothing known
explains; 2 wrong usage; 130 and 143 ended by SIGINT and SIGTERM.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hitui_runners.errors import RunnerError
from hitui_runners.look import is_file
from hitui_runners.output import complain, counted, warn
from hitui_runners.realhitbench.aggregates import OVERALL, aggregate
from hitui_runners.realhitbench.charts.options import add_chart_arguments, chart_options
from hitui_runners.realhitbench.charts.scorer import ChartOptions, ChartScorer
from hitui_runners.realhitbench.check import REPORT, Check, check_file, check_report
from hitui_runners.realhitbench.judge_verdicts import Verdicts, with_verdicts
from hitui_runners.realhitbench.mixed import mixture
from hitui_runners.realhitbench.rescoring import Notes, Sample, Scorer, sample_of
from hitui_runners.realhitbench.results import Unreadable
from hitui_runners.realhitbench.score_words import (
    as_json,
    as_lines,
    check_as_object,
    check_lines,
    class_lines,
    one_line,
    put_out,
    total_line,
    unit_lines,
)
from hitui_runners.realhitbench.scores_file import report_of, write_scores
from hitui_runners.realhitbench.scoring import missing_scores
from hitui_runners.realhitbench.units import Unit, add_unit_arguments, named_units, results_of
from hitui_runners.stopping import Stopped, StopSignals


def main(words: Sequence[str]) -> int:
    """The program; returns its exit status."""
    arguments = _arguments(words)
    signals = StopSignals()
    signals.install()
    try:
        return _run(arguments)
    except Stopped as stopped:
        return stopped.exit_status


def _run(arguments: argparse.Namespace) -> int:
    run = ScoreRun(chart_options(arguments), as_json=arguments.json)
    try:
        units = named_units(arguments, run.refuse)
        if units:
            run.say_what_is_missing()
        if arguments.check:
            run.check(units)
        else:
            run.score(units)
        run.say_why_no_charts()
    except RunnerError as error:
        run.refuse(str(error))
    return int(run.failed)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hitui_runners score", description=__doc__.partition("\n")[0])
    add_unit_arguments(parser)
    parser.add_argument("--check", action="store_true", help="compare with the stored scores; write nothing")
    parser.add_argument("--json", action="store_true", help="print one list of objects")
    add_chart_arguments(parser)
    arguments = parser.parse_args(words)
    if not arguments.path and arguments.plan is None:
        parser.error("name a PATH, or a --plan")
    return arguments


class ScoreRun:
    """One call of the program: what it has scored, and whether all of it could be."""

    def __init__(self, charts: ChartOptions, *, as_json: bool) -> None:
        self.failed = False
        self._must_run_charts = charts.run is True
        self._charts = ChartScorer(charts, self._warn)
        self._json = as_json
        self._scorer = Scorer()
        self._incomplete = False
        self._full = False

    def refuse(self, line: str) -> None:
        """Says what cannot be done; the rest is."""
        self.failed = True
        complain(one_line(f"error: {line}"))

    def say_what_is_missing(self) -> None:
        """One line about the libraries of scores that this Python does not have."""
        if absent := missing_scores():
            self._incomplete = True
            self.refuse(
                f"{sys.executable}: cannot compute {' and '.join(absent)}; install what is missing there with "
                f"`{sys.executable} -m pip install rouge-score sacrebleu`; the rest is shown, nothing is written"
            )

    def say_why_no_charts(self) -> None:
        """One line, where they had to be run and could not."""
        if self._must_run_charts and self._charts.refusal:
            self.refuse(f"charts are not run: {self._charts.refusal}")

    def check(self, units: Sequence[Unit]) -> None:
        """Compares every file of the units by itself."""
        checks: dict[Path, Check] = {}
        for folder, files in _by_folder(units).items():
            found = [check for path in files if path not in checks and (check := self._checked(path))]
            report = folder / REPORT
            made_of = next((check for check in reversed(found) if check.means), None)
            made_of = made_of or (found[-1] if found else None)
            if made_of is not None and is_file(report):
                check_report(made_of, report, self._scorer)
            for check in found:
                checks[check.path] = check
                self.failed |= not check.passed
                if not self._json:
                    self._put_out(as_lines(check_lines(check)))
        if self._json:
            self._put_out(as_json([check_as_object(check) for check in checks.values()]))
        elif checks:
            found = list(checks.values())
            python = self._charts.python
            ran = [] if python is None else [f"charts run with {python.described}"]
            self._put_out(as_lines([*ran, *class_lines(found), total_line(found)]))

    def score(self, units: Sequence[Unit]) -> None:
        """Scores each unit and writes its scores beside it."""
        reports = []
        for unit in units:
            report = self._scored(unit)
            if report is not None:
                reports.append(report)
        if self._json:
            self._put_out(as_json(reports))

    def _checked(self, path: Path) -> Check | None:
        try:
            return check_file(path, self._scorer, self._warn, self._charts)
        except Unreadable as error:
            self.refuse(f"{path}: {error}; it is not checked")
            return None

    def _scored(self, unit: Unit) -> dict[str, Any] | None:
        notes, read_at = Notes(), time.time_ns()
        read = results_of(unit, notes, self._warn, self.refuse)
        if read is None:
            return None
        results, lines = read
        lines += mixture(results, unit.folders)
        self._charts.run(results, f"charts of {unit.name}")
        samples: list[Sample] = [sample_of(result, self._scorer, notes, self._charts) for result in results]
        try:
            verdicts = Verdicts.read(unit.folders, self._warn)
        except RunnerError as error:
            self.refuse(str(error))
            return None
        samples, judges = with_verdicts(samples, results, verdicts)
        lines += judges
        rows = aggregate(samples)
        python = self._charts.python
        if python is not None and rows and rows[OVERALL].charts_run:
            lines.append(
                f"{rows[OVERALL].charts_run} of {counted(rows[OVERALL].charts, 'chart')} run with {python.described}"
            )
        lines += notes.lines()
        report = report_of(unit, rows, lines, {} if python is None else python.versions)
        written = self._write(unit, report, samples, read_at)
        if not self._json:
            self._put_out(as_lines(unit_lines(unit, rows, lines, written)))
        return {"name": unit.name, "scores_file": str(unit.scores), "written": written, **report}

    def _write(
        self, unit: Unit, report: dict[str, Any], samples: Sequence[Sample], read_at: int
    ) -> bool | None:
        """As `write_scores`; None: they could not be written, or are not all there."""
        if self._incomplete:
            return None
        try:
            return write_scores(unit.scores, report, samples, read_at)
        except RunnerError as error:
            self.refuse(str(error))
            return None

    def _put_out(self, content: bytes) -> None:
        """What was asked for; without room for it the call has failed, which is said once."""
        if self._full:
            return
        try:
            put_out(content)
        except OSError as error:
            self._full = True
            self.refuse(f"cannot write: {error.strerror}; make room where the output goes")

    def _warn(self, line: str) -> None:
        warn(one_line(line))


def _by_folder(units: Sequence[Unit]) -> dict[Path, list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for unit in units:
        for path in unit.files:
            files = folders.setdefault(path.parent, [])
            if path not in files:
                files.append(path)
    return folders
