"""What the program `score` prints: tables and lines for people, JSON for programs."""

from __future__ import annotations

import contextlib
import math
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hitui_runners.output import named
from hitui_runners.realhitbench.aggregates import METRICS, OVERALL, Difference, Row
from hitui_runners.realhitbench.charts.check import (
    CLASSES,
    DIFFERENT,
    EQUAL,
    NOT_RUN,
    NOT_STORED,
    UNEXPLAINED,
    ChartCheck,
)
from hitui_runners.realhitbench.check import Check
from hitui_runners.realhitbench.rescoring import JUDGE_METRIC
from hitui_runners.realhitbench.results import TaskId, encode
from hitui_runners.realhitbench.units import Unit

_COLUMNS = 80
"""Of the narrowest terminal in which a table is not to be broken."""
_LONGEST_TYPE = 23
"""Columns: no type of the benchmark's has a longer name."""
_MOST_SHOWN = 5
"""Of the scores of one file that differ; `--json` has all."""


def unit_lines(unit: Unit, rows: Mapping[str, Row], notes: Sequence[str], written: bool | None) -> list[str]:
    """Head, means by question type, and what is to be said of them."""
    overall = rows.get(OVERALL, Row())
    lines = [f"{unit.name}: {_some(overall.results, 'result')}, {overall.failed} failed (each counts as 0)"]
    lines += [f"  {line}" for line in _table(rows)] if rows else []
    lines += [f"  {line}" for line in _without_scores(overall)]
    lines += [f"  {note}" for note in notes]
    if written is not None:
        lines.append(f"  {'written to' if written else 'as before in'} {unit.scores}")
    return lines


def _table(rows: Mapping[str, Row]) -> list[str]:
    """The means, in lines that fit a terminal; verdicts, which hardly any type has, in one below."""
    used = [name for name in METRICS if name != JUDGE_METRIC]
    table = [["question type", "results", *used]]
    judged = []
    for name, row in rows.items():
        means, label = row.rounded(), _cut(one_line(name), _LONGEST_TYPE)
        table.append(
            [label, str(row.results), *(f"{means[key]:.2f}" if key in means else "" for key in used)]
        )
        if JUDGE_METRIC in means:
            judged.append(f"{label} {means[JUDGE_METRIC]:.2f}")
    widths = [max(map(_columns, column)) for column in zip(*table, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= _COLUMNS else " "
    lines = []
    for label, *cells in table:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append(gap.join([label + " " * (widths[0] - _columns(label)), *padded]).rstrip())
    return lines + ([f"{JUDGE_METRIC}: {', '.join(judged)}"] if judged else [])


def _columns(text: str) -> int:
    """How many a terminal takes for it."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _cut(text: str, columns: int) -> str:
    """The text, or as much of its beginning as finds room before the sign that there is more."""
    if _columns(text) <= columns:
        return text
    while _columns(text) >= columns:
        text = text[:-1]
    return f"{text}…"


def _some(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _without_scores(overall: Row) -> list[str]:
    lines = []
    if overall.unjudged:
        lines.append(
            f"unjudged: {_some(overall.unjudged, 'result')}, in no mean; `hitui judge` asks a judge about them"
        )
    if overall.charts_unscored:
        lines.append(
            f"{_some(overall.charts_unscored, 'chart')} of {overall.charts} without ECR and Pass, so there is no"
            " mean of these"
        )
    return lines


def check_lines(check: Check) -> list[str]:
    """What the comparison of one file came to; the scores that differ only in part."""
    row = check.row
    besides = [
        f"{count} {words}"
        for count, words in (
            (row.failed, "failed"),
            (row.charts, "for charts"),
            (row.unjudged, "not judged"),
            (check.not_stored, "without stored scores"),
        )
        if count
    ]
    told = f" ({', '.join(besides)})" if besides else ""
    lines = [
        f"{check.path}: {_some(row.results, 'result')}{told}; "
        f"{check.equal} of {check.compared} stored scores equal"
    ]
    lines += _chart_lines(check.charts)
    lines += [
        f"  task {found.task}: {found.metric} is stored as {found.stored!r}, right is {found.right:.2f}"
        for found in check.mismatches[:_MOST_SHOWN]
    ]
    if len(check.mismatches) > _MOST_SHOWN:
        rest = check.mismatches[_MOST_SHOWN:]
        lines.append(
            f"  and {len(rest)} more, of task {named(list(dict.fromkeys(one.task for one in rest)))}"
        )
    lines += [f"  {path.name}: {_difference(difference)}" for path, difference in check.differences]
    return lines + [f"  {note}" for note in check.notes]


def _chart_lines(check: ChartCheck) -> list[str]:
    """What the comparison of charts came to; those that are not run by their reason."""
    if not check.counts:
        return []
    counts = ", ".join(f"{check.counts[kind]} {kind}" for kind in CLASSES if check.counts[kind])
    lines = [f"  charts: {counts}"] if set(check.counts) != {NOT_RUN} else []
    idle: dict[str, list[TaskId]] = {}
    for one in check.differences:
        if one.kind in DIFFERENT:
            now = f"{dict(one.computed or {})}" + (f" ({one.why})" if one.why else "")
            now += f": {one.because}" if one.because else ""
            lines.append(f"  task {one.task}: {one.kind}: stored {_scores(one.stored)}, now {now}")
        elif one.kind == NOT_RUN:
            idle.setdefault(one.why, []).append(one.task)
    return lines + [f"  charts not run ({why}): {len(tasks)} ({named(tasks)})" for why, tasks in idle.items()]


def _scores(stored: Any) -> dict[str, Any]:
    return {name: stored.get(name) for name in ("ECR", "Pass")}


def class_lines(checks: Sequence[Check]) -> list[str]:
    """How many charts of all files are in which class, and what that means; none where stored scores are right."""
    total = sum((check.charts.counts for check in checks), Counter[str]())
    if not any(total[kind] for kind in DIFFERENT):
        return []
    return [f"{total[kind]:6} {kind:17} {CLASSES[kind]}" for kind in CLASSES if total[kind]]


def _difference(difference: Difference) -> str:
    stored = difference.stored
    shown = f"{stored:.2f}" if isinstance(stored, float) and abs(stored) >= 1 else repr(stored)
    right = "there is none" if difference.right is None else f"{difference.right:.2f}"
    why = f"it {difference.why}" if difference.why else "no known mistake gives that"
    return f"{difference.row}, {difference.metric}: stored {shown}, right {right}: {why}"


def total_line(checks: Sequence[Check]) -> str:
    """The last line: all files together."""
    compared = sum(check.compared for check in checks)
    equal = sum(check.equal for check in checks)
    wrong = [difference for check in checks for _, difference in check.differences]
    means = sum(check.means for check in checks)
    charts = sum((check.charts.counts for check in checks), Counter[str]())
    unexplained = sum(not difference.why for difference in wrong)
    line = f"{_some(len(checks), 'file')}: {equal} of {compared} stored scores equal"
    if means:
        line += f"; {len(wrong)} of {means} stored means wrong"
        if wrong:
            line += (
                f", {unexplained} of them without an explanation" if unexplained else ", each explained above"
            )
    if ran := sum(charts.values()) - charts[NOT_RUN] - charts[NOT_STORED]:
        line += f"; {charts[EQUAL]} of {_some(ran, 'chart')} equal"
        different = sum(charts[kind] for kind in DIFFERENT)
        if different:
            line += f", {different} different, {charts[UNEXPLAINED]} of them without an explanation"
    if charts[NOT_RUN]:
        line += f"; {_some(charts[NOT_RUN], 'chart')} not run"
    if charts[NOT_STORED]:
        line += f"; {_some(charts[NOT_STORED], 'chart')} without stored ECR and Pass"
    return line


def check_as_object(check: Check) -> dict[str, Any]:
    """One file as `--json` prints it."""
    row = check.row
    return {
        "path": str(check.path),
        "passed": check.passed,
        "results": row.results,
        "failed": row.failed,
        "charts": row.charts,
        "chart_classes": {kind: check.charts.counts[kind] for kind in CLASSES},
        "chart_differences": [
            {
                "id": one.task,
                "class": one.kind,
                "stored": one.stored,
                "computed": one.computed,
                "why": one.why or None,
                "because": one.because or None,
            }
            for one in check.charts.differences
        ],
        "unjudged": row.unjudged,
        "not_stored": check.not_stored,
        "compared": check.compared,
        "equal": check.equal,
        "mismatches": [
            {"id": found.task, "metric": found.metric, "stored": found.stored, "right": found.right}
            for found in check.mismatches
        ],
        "means": check.means,
        "differences": [
            {
                "path": str(path),
                "row": difference.row,
                "metric": difference.metric,
                "stored": difference.stored,
                "right": difference.right,
                "why": difference.why or None,
            }
            for path, difference in check.differences
        ],
        "notes": check.notes,
    }


def as_lines(lines: Iterable[str]) -> bytes:
    """As a terminal may see them, in the encoding of stdout."""
    text = "".join(f"{one_line(line)}\n" for line in lines)
    return text.encode(sys.stdout.encoding if sys.stdout else "utf-8", errors="backslashreplace")


def as_json(value: object) -> bytes:
    """UTF-8 in any locale, and JSON for every reader."""
    return encode(_plain(value), indent=2) + b"\n"


def put_out(content: bytes) -> None:
    """Raises OSError where stdout takes no more; that whoever read it went away is no error."""
    if sys.stdout is not None:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()


def one_line(text: str) -> str:
    """The text without anything that a terminal would act on, line ends too."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def _plain(value: object) -> object:
    """Without the numbers that JSON has not: NaN and the infinities become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
