"""Runs the Visualization answers of results files again and compares with the scores that are stored there.

    python -m hitui_runners charts --check RESULTS… --tables DATA/tables --python /path/to/chart/env/bin/python

Writes nothing. RESULTS: results files, or folders of them. Each difference is put into a class; those of the class
`left figure` are shown by running the earlier failed answers of the same file first: the benchmark's own runs do not
close the figures of an answer that fails, so that a later one draws on them.

Exit status: 0 every difference is explained, 1 not so, or nothing could be compared, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitui_runners.output import complain, say, warn
from hitui_runners.realhitbench.charts.metrics import ChartAnswer, NoWorkbook, Scored, score
from hitui_runners.realhitbench.charts.sandbox import Limits, NoSandbox, Sandbox, SandboxBroke, find_sandbox
from hitui_runners.realhitbench.questions import VISUALIZATION
from hitui_runners.realhitbench.results import RESULT_NAME, Result, Unreadable, is_error, load_results

EQUAL = "equal"
NO_WORKBOOK = "no workbook"
NOT_SCORED = "nothing stored"
LEFT_FIGURE = "left figure"
NOTHING_READ = "nothing read then"
UNEXPLAINED = "unexplained"
CLASSES = {
    EQUAL: "stored and computed scores are the same",
    LEFT_FIGURE: "the same once the earlier failed answers, whose figures stayed open, run first",
    NOTHING_READ: "no chart of that file could be read when it was scored: every Pass there is false",
    NO_WORKBOOK: "its workbook is absent, or a Git LFS pointer",
    NOT_SCORED: "no ECR and Pass are stored",
    UNEXPLAINED: "another score; other versions of the libraries than those that were used then may be why",
}
"""What can come out for one answer."""
_EARLIER = (1, 2, 3, 5, 8, 16, 32, 64, 128)
"""So many failed answers before one are run first, until its scores are the stored ones."""
_EXPLAINING = Limits(cpu_seconds=300, seconds=600.0)


@dataclass
class Checked:
    """One file."""

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    """By class."""
    differences: list[dict[str, Any]] = field(default_factory=list)
    """Of every answer that is not equal: id, class, stored and computed scores, why."""


def main(words: Sequence[str]) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="hitui_runners charts",
        allow_abbrev=False,
        description="Runs the Visualization answers of results files again, in a sandbox, and compares the scores.",
    )
    parser.add_argument(
        "--check", nargs="+", type=Path, required=True, metavar="RESULTS", help="files or folders"
    )
    parser.add_argument(
        "--tables", type=Path, required=True, metavar="DIR", help="folder of the XLSX workbooks"
    )
    parser.add_argument(
        "--python", required=True, metavar="PATH", help="a Python with numpy, pandas, matplotlib and openpyxl"
    )
    parser.add_argument(
        "--jobs", type=int, default=max((os.cpu_count() or 1) - 1, 1), metavar="N", help="so many at a time"
    )
    parser.add_argument(
        "--without-walls",
        action="store_true",
        help="where there are neither bubblewrap nor user namespaces, run what a model wrote with limits alone: it can "
        "read your files then",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    arguments = parser.parse_args(words)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace) -> int:
    try:
        sandbox = find_sandbox(arguments.python, without_walls=arguments.without_walls)
        explaining = find_sandbox(arguments.python, _EXPLAINING, without_walls=arguments.without_walls)
    except NoSandbox as error:
        complain(f"error: charts stay unscored: {error}")
        return 1
    complain(sandbox.described)
    checker = Checker(arguments.tables, sandbox, explaining, max(arguments.jobs, 1))
    checked: list[Checked] = []
    for path in _files(arguments.check):
        try:
            results = load_results(path, warn)[0]
        except Unreadable as error:
            warn(f"{path}: {error}")
            continue
        try:
            found = checker.check(path, results)
        except SandboxBroke as error:
            complain(f"error: {path}: a program could not be run: {error}")
            return 1
        if found.counts:
            checked.append(found)
            if not arguments.json:
                say(_told(found))
    total = sum((found.counts for found in checked), Counter[str]())
    if arguments.json:
        say(
            json.dumps(
                {"sandbox": sandbox.described, "files": [_as_json(found) for found in checked]}, indent=1
            )
        )
    elif total:
        say(_summary(total))
    if not total:
        complain("error: no Visualization answers are in these files")
    return int(not total or total[UNEXPLAINED] > 0)


class Checker:
    """Compares file by file; an answer that stands in several is run once."""

    def __init__(self, tables: Path, sandbox: Sandbox, explaining: Sandbox, jobs: int) -> None:
        self._tables = tables
        self._sandbox = sandbox
        self._explaining = explaining
        self._jobs = jobs
        self._known: dict[ChartAnswer, Scored | NoWorkbook] = {}

    def check(self, path: Path, results: Iterable[Result]) -> Checked:
        """The Visualization answers of one file. Raises SandboxBroke."""
        charts = [
            result
            for result in results
            if result.get("QuestionType") == VISUALIZATION and not is_error(result)
        ]
        answers = [self._answer(result) for result in charts]
        wanted = [answer for answer in dict.fromkeys(answers) if answer not in self._known]
        pool = ThreadPoolExecutor(self._jobs)
        try:
            self._known.update(zip(wanted, pool.map(self._score, wanted), strict=True))
        finally:
            # After an error or Ctrl-C what has not begun does not begin.
            pool.shutdown(cancel_futures=True)
        nothing_read = not any(_passed(result) for result in charts)
        checked = Checked(path)
        for number, (result, answer) in enumerate(zip(charts, answers, strict=True)):
            scored = self._known[answer]
            kind = _class_of(result, scored, nothing_read)
            if kind == UNEXPLAINED:
                failed = [
                    earlier
                    for earlier, stored in zip(answers[:number], charts[:number], strict=True)
                    if _stored(stored).get("ECR") is False and isinstance(self._known[earlier], Scored)
                ]
                kind = self._explained(result, answer, failed)
            checked.counts[kind] += 1
            if kind != EQUAL:
                checked.differences.append(
                    {
                        "id": result["id"],
                        "class": kind,
                        "stored": result.get("Metrics"),
                        "computed": scored.metrics if isinstance(scored, Scored) else None,
                        "why": scored.why if isinstance(scored, Scored) else str(scored),
                    }
                )
        return checked

    def _answer(self, result: Result) -> ChartAnswer:
        name = Path(str(result.get("FileName"))).name
        return ChartAnswer(
            str(result.get("SubQType")),
            str(result["Prediction"]),
            str(result.get("Reference")),
            self._tables / f"{name}.xlsx",
        )

    def _score(self, answer: ChartAnswer) -> Scored | NoWorkbook:
        try:
            return score(answer, self._sandbox)
        except NoWorkbook as error:
            return error

    def _explained(self, result: Result, answer: ChartAnswer, failed: Sequence[ChartAnswer]) -> str:
        for count in _EARLIER:
            if not failed:
                break
            again = score(answer, self._explaining, failed[-count:])
            if _class_of(result, again, False) == EQUAL:
                return LEFT_FIGURE
            if count >= len(failed):
                break
        return UNEXPLAINED


def _class_of(result: Result, scored: Scored | NoWorkbook, nothing_read: bool) -> str:
    stored = _stored(result)
    if not isinstance(stored.get("ECR"), bool):
        return NOT_SCORED
    if isinstance(scored, NoWorkbook):
        return NO_WORKBOOK
    if stored["ECR"] == scored.metrics["ECR"]:
        if _passed(result) == (scored.metrics["Pass"] is True):
            return EQUAL
        if nothing_read:
            return NOTHING_READ
    return UNEXPLAINED


def _passed(result: Result) -> bool:
    """`Pass` is stored as true, false, 'None' or 'False'."""
    return _stored(result).get("Pass") is True


def _stored(result: Result) -> dict[str, Any]:
    metrics = result.get("Metrics")
    return metrics if isinstance(metrics, dict) else {}


def _files(paths: Iterable[Path]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(path.rglob("*.json*")) if path.is_dir() else [path]
        found.update((file, None) for file in inside if not path.is_dir() or RESULT_NAME.fullmatch(file.name))
    return list(found)


def _told(checked: Checked) -> str:
    lines = [
        f"{checked.path}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(checked.counts.items()))
    ]
    for one in checked.differences:
        if one["class"] not in (NO_WORKBOOK, NOT_SCORED):
            lines.append(
                f"  {one['id']}: {one['class']}: stored {one['stored']}, now {one['computed']}; {one['why']}"
            )
    return "\n".join(lines)


def _summary(total: Counter[str]) -> str:
    lines = [f"{sum(total.values())} answers"]
    lines += [f"{total[kind]:6}  {kind:18} {CLASSES[kind]}" for kind in CLASSES if total[kind]]
    return "\n".join(lines)


def _as_json(checked: Checked) -> dict[str, Any]:
    return {"path": str(checked.path), "counts": dict(checked.counts), "differences": checked.differences}
