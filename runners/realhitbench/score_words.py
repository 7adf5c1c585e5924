"""What the program `score` prints: tables and lines for people, JSON for programs."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hitui_runners.output import named
from hitui_runners.realhitbench.aggregates import METRICS, OVERALL, Difference, Row
from hitui_runners.realhitbench.check import Check
from hitui_runners.realhitbench.rescoring import JUDGE_METRIC
from hitui_runners.realhitbench.results import encode
from hitui_runners.realhitbench.units import Unit

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
    used = [name for name in METRICS if name != JUDGE_METRIC or name in rows[OVERALL].means]
    table = [["question type", "results", *used]]
    for name, row in rows.items():
        means = row.rounded()
        table.append([name, str(row.results), *(f"{means[key]:.2f}" if key in means else "" for key in used)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]


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
            f"charts are not run here, and {overall.charts_unscored} of {overall.charts} have no stored ECR and"
            " Pass: both are left out"
        )
    elif overall.charts:
        lines.append(f"charts are not run here: ECR and Pass are what is stored of {overall.charts}")
    return lines


def check_lines(check: Check) -> list[str]:
    """What the comparison of one file came to; the scores that differ only in part."""
    besides = [
        f"{count} {words}"
        for count, words in (
            (check.failed, "failed"),
            (check.charts, "for charts, not run"),
            (check.unjudged, "not judged"),
            (check.not_stored, "without stored scores"),
        )
        if count
    ]
    told = f" ({', '.join(besides)})" if besides else ""
    lines = [
        f"{check.path}: {_some(check.results, 'result')}{told}; "
        f"{check.equal} of {check.compared} stored scores equal"
    ]
    lines += [
        f"  task {found.task}: {found.metric} is stored as {found.stored!r}, right is {found.right:.2f}"
        for found in check.mismatches[:_MOST_SHOWN]
    ]
    if len(check.mismatches) > _MOST_SHOWN:
        rest = [found.task for found in check.mismatches[_MOST_SHOWN:]]
        lines.append(f"  and {len(rest)} more: task {named(rest)}")
    lines += [f"  {path.name}: {_difference(difference)}" for path, difference in check.differences]
    return lines + [f"  {note}" for note in check.notes]


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
    charts = sum(check.charts for check in checks)
    unexplained = sum(not difference.why for difference in wrong)
    line = f"{_some(len(checks), 'file')}: {equal} of {compared} stored scores equal"
    if means:
        line += f"; {len(wrong)} of {means} stored means wrong"
        if wrong:
            line += (
                f", {unexplained} of them without an explanation" if unexplained else ", each explained above"
            )
    if charts:
        line += f"; {_some(charts, 'chart')} unscored: ECR and Pass are taken as stored"
    return line


def check_as_object(check: Check) -> dict[str, Any]:
    """One file as `--json` prints it."""
    return {
        "path": str(check.path),
        "passed": check.passed,
        "results": check.results,
        "failed": check.failed,
        "charts": check.charts,
        "unjudged": check.unjudged,
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
