"""Scores of results that are there already, made anew, and how the stored ones compare with them.

What is odd in a result is never an end: it is noted, and the result is scored as far as it can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hitui_runners.output import named
from hitui_runners.realhitbench.charts.metrics import Scored
from hitui_runners.realhitbench.charts.scorer import ChartScorer
from hitui_runners.realhitbench.questions import VISUALIZATION
from hitui_runners.realhitbench.results import Result, TaskId, is_error, is_result, plain_id, task_id
from hitui_runners.realhitbench.scoring import (
    JUDGED,
    NO_CHART,
    UNJUDGED,
    judged_score,
    text_score_names,
    text_scores,
)

TEXT_METRICS = ("EM", "F1", "ROUGE-L", "SacreBLEU")
CHART_METRICS = ("Pass", "ECR")
JUDGE_METRIC = "GPT_EVAL"
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_LARGEST = 1e9
"""No score is larger; a number beyond it is none, and may not even fit a float."""


class Kind(str, Enum):
    TEXT = "text"
    CHART = "chart"
    JUDGED = "judged"
    UNSCORED = "unscored"
    """A text without a reference that it can be compared with, or that a library broke on."""


@dataclass
class Notes:
    """What is odd, kind by kind; one line each."""

    _found: dict[str, list[int | str]] = field(default_factory=dict)

    def add(self, what: str, where: int | str) -> None:
        """`what`: a plural, and what was made of them; `where`: an id, or the number of an entry."""
        self._found.setdefault(what, []).append(where)

    def lines(self) -> list[str]:
        return [f"{what}: {len(where)} ({named(where)})" for what, where in self._found.items()]


@dataclass(frozen=True)
class Sample:
    """One result and its scores."""

    task: TaskId
    question_type: str
    """Empty where the result names none."""
    kind: Kind
    failed: bool
    metrics: Mapping[str, Any]
    """The scores as made now; those of judges as they are stored, and so are those of charts that are not run."""
    stored: Mapping[str, Any]
    run: bool = False
    """Whether it is a chart that was run."""
    why: str = ""
    """Of a chart that was run, why one of its scores is false."""


@dataclass(frozen=True)
class Mismatch:
    """A stored score that is another than the one made now."""

    task: TaskId
    metric: str
    stored: Any
    right: float


class Scorer:
    """Scores texts; equal pairs of reference and answer once."""

    def __init__(self) -> None:
        self.names = text_score_names()
        self._known: dict[tuple[str, str], dict[str, float]] = {}

    def scores(self, reference: str, prediction: str) -> dict[str, float]:
        """As `text_scores`; raises whatever a library raises."""
        pair = reference, prediction
        known = self._known.get(pair)
        if known is None:
            known = self._known[pair] = text_scores(reference, prediction)
        return known


def usable(entries: Iterable[object], notes: Notes) -> list[Result]:
    """The results among the entries of a file, each with its id as the question list has it."""
    results: list[Result] = []
    seen: set[TaskId] = set()
    for number, entry in enumerate(entries, start=1):
        if not is_result(entry):
            notes.add("entries without a usable id or without Prediction, left out, by number", number)
            continue
        given = task_id(entry)
        assert given is not None
        task = plain_id(given)
        if task != given:
            notes.add("ids that are numbers written as text, taken for those numbers", given)
        if task in seen:
            notes.add("ids that stand again in the same file, of each the result that counts is taken", task)
        seen.add(task)
        results.append({**entry, "id": task})
    return results


def sample_of(result: Result, scorer: Scorer, notes: Notes, charts: ChartScorer | None = None) -> Sample:
    """The scores of one result of `usable`; `charts` has run those of charts, without it they are as stored."""
    stored = result.get("Metrics")
    stored = stored if isinstance(stored, dict) else {}
    question_type = result.get("QuestionType")
    if not isinstance(question_type, str) or not question_type:
        notes.add("results without QuestionType, in a row of their own", result["id"])
        question_type = ""
    failed = is_error(result)
    answer = None if charts is None else charts.answer(result)
    not_run: str | None = None
    if charts is not None and answer is not None:
        outcome = charts.outcome(answer)
        if isinstance(outcome, Scored):
            return _run_chart(result, question_type, outcome, stored, notes)
        not_run = outcome.why
    kind, metrics = _scored(result, question_type, stored, scorer, notes, failed=failed)
    if not_run is not None:
        kept = all(name in metrics for name in CHART_METRICS)
        become = "kept as stored" if kept else "without ECR and Pass, which have no means then"
        notes.add(f"charts not run ({not_run}), {become}", result["id"])
    return Sample(result["id"], question_type, kind, failed, metrics, stored)


def _run_chart(
    result: Result, question_type: str, scored: Scored, stored: Mapping[str, Any], notes: Notes
) -> Sample:
    if not scored.walls:
        notes.add("charts run without a sandbox, as allowed", result["id"])
    is_stored = truth(stored.get("ECR")) is not None
    # A Pass that is false counts as one that is the text None.
    if is_stored and any(
        name in stored and is_true(stored[name]) != is_true(scored.metrics[name]) for name in CHART_METRICS
    ):
        notes.add("charts whose stored ECR or Pass is another, which `--check` explains", result["id"])
    return Sample(
        result["id"], question_type, Kind.CHART, False, scored.metrics, stored, run=True, why=scored.why
    )


def is_true(value: object) -> bool:
    """Whether an ECR or Pass is."""
    return truth(value) is True


def truth(value: object) -> bool | None:
    """The truth value that is stored as such, as its word, or as 1 or 0; None: it is none."""
    if isinstance(value, str):
        return _TRUTH.get(value.strip().lower())
    return value == 1 if isinstance(value, (bool, int, float)) and value in (0, 1) else None


def _scored(
    result: Result,
    question_type: str,
    stored: Mapping[str, Any],
    scorer: Scorer,
    notes: Notes,
    *,
    failed: bool,
) -> tuple[Kind, Mapping[str, Any]]:
    if question_type == VISUALIZATION:
        if failed:
            return Kind.CHART, NO_CHART
        if truth(stored.get("ECR")) is None:
            return Kind.CHART, {}
        return Kind.CHART, {name: stored[name] for name in CHART_METRICS if name in stored}
    if result.get("SubQType") in JUDGED:
        given = judged_score(stored.get(JUDGE_METRIC))
        return Kind.JUDGED, UNJUDGED if given is None else {JUDGE_METRIC: given}
    if failed:
        return Kind.TEXT, dict.fromkeys(scorer.names, 0.0)
    scores = _text_scores(result, scorer, notes)
    return (Kind.UNSCORED, {}) if scores is None else (Kind.TEXT, scores)


def _text_scores(result: Result, scorer: Scorer, notes: Notes) -> dict[str, float] | None:
    """None where there is nothing to compare, or nothing that can be."""
    reference, prediction = _text(result.get("Reference")), _text(result["Prediction"])
    if reference is None:
        notes.add("results without a Reference that is a text or a number, not scored", result["id"])
        return None
    if result["Prediction"] is None:
        notes.add("results whose Prediction is null, scored as empty answers", result["id"])
        prediction = ""
    if prediction is None:
        notes.add("results whose Prediction is neither text nor number, not scored", result["id"])
        return None
    for name in ("Reference", "Prediction"):
        if result[name] is not None and not isinstance(result[name], str):
            notes.add(f"results whose {name} is a number, compared as text", result["id"])
    try:
        return scorer.scores(reference, prediction)
    except Exception as error:  # noqa: BLE001
        # One answer that a library breaks on must not cost the scores of the others.
        notes.add(
            f"results on which a library of scores broke ({type(error).__name__}), not scored", result["id"]
        )
        return None


def mismatches(sample: Sample, result: Result, scorer: Scorer, notes: Notes) -> list[Mismatch] | None:
    """The stored text scores that are not those made now; None: none are stored, or none can be made.

    Those of a question that a judge is for are compared too, where a program stored some.
    """
    stored = {name: sample.stored[name] for name in TEXT_METRICS if name in sample.stored}
    if not stored or sample.kind is Kind.UNSCORED:
        return None
    right: Mapping[str, float] | None = sample.metrics
    if sample.kind is not Kind.TEXT:
        right = dict.fromkeys(scorer.names, 0.0) if sample.failed else _text_scores(result, scorer, notes)
    if right is None or not right.keys() & stored.keys():
        return None
    if right.keys() - stored.keys():
        notes.add("results whose stored scores are not all there, the others compared", sample.task)
    if any(isinstance(value, str) and stored_number(value) is not None for value in stored.values()):
        notes.add("results whose stored scores are text, taken for the numbers in it", sample.task)
    found = _differing(sample.task, stored, right)
    if found and sample.failed:
        # A failure has no answer, and scores nothing; some programs score the words of its error all the same.
        of_words = _text_scores(result, scorer, Notes())
        if of_words is not None and not _differing(sample.task, stored, of_words):
            notes.add("failed results whose stored scores are those of the words of the error", sample.task)
            return []
    return found


def _differing(task: TaskId, stored: Mapping[str, Any], right: Mapping[str, float]) -> list[Mismatch]:
    return [
        Mismatch(task, name, stored[name], value)
        for name, value in right.items()
        if name in stored and not _equal(stored[name], value)
    ]


def _equal(stored: object, right: float) -> bool:
    given = stored_number(stored)
    return given is not None and round(given, 2) == right


def number(value: object) -> float | None:
    """The value as a score; None where it is none: a text, true, NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Which NaN is not either.
    return float(value) if abs(value) <= _LARGEST else None


def stored_number(value: object) -> float | None:
    """The same of what a program stored, which may be the number as text, with a percent sign too."""
    if isinstance(value, str):
        try:
            value = float(value.strip().removesuffix("%"))
        except ValueError:
            return None
    return number(value)


def _text(value: object) -> str | None:
    """A text, or a number or truth value as Python writes it."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, (bool, int, float)) else None
