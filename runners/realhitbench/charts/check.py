"""Compares stored ECR and Pass with those that are made now; every difference is put into a class.

Those of the class `left figure` are shown by running the earlier failed answers of the same file first: the
benchmark's own runs do not close the figures of an answer that fails, so that a later one draws on them. Those of the
class `newer library` are shown by undoing what the chart environment's libraries do otherwise than those of then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hitui_runners.realhitbench.charts import older
from hitui_runners.realhitbench.charts.explain import reason_of
from hitui_runners.realhitbench.charts.metrics import Scored
from hitui_runners.realhitbench.charts.scorer import ChartScorer, Outcome, Unscored
from hitui_runners.realhitbench.rescoring import is_true, truth
from hitui_runners.realhitbench.results import Result, TaskId

EQUAL = "equal"
NOT_RUN = "not run"
NOT_STORED = "nothing stored"
LEFT_FIGURE = "left figure"
NEWER = "newer library"
BY_CHANCE = "by chance"
NOTHING_READ = "nothing read then"
UNEXPLAINED = "unexplained"
CLASSES = {
    EQUAL: "stored and computed scores are the same",
    LEFT_FIGURE: "the same once the earlier failed answers, whose figures stayed open, run first",
    NEWER: "the same once what a library does otherwise since then is undone",
    BY_CHANCE: "another score each time, or with other random numbers",
    NOTHING_READ: "no chart of that file could be read when it was scored: every Pass there is false",
    NOT_RUN: "it cannot be run here",
    NOT_STORED: "no ECR and Pass are stored",
    UNEXPLAINED: "another score; other versions of the libraries than those that were used then may be why",
}
"""What can come out for one answer."""
ENOUGH_PASSING = 5
"""Where so many charts of a file pass now and none did then, it was not by the charts; of fewer, each may be wrong."""
DIFFERENT = (LEFT_FIGURE, NEWER, BY_CHANCE, NOTHING_READ, UNEXPLAINED)
"""Those in which a stored score is not the one made now."""
_TOO_SLOW = "its time was over here, twice, as it may be where a machine is busy; check again when it is not"


@dataclass(frozen=True)
class ChartDifference:
    """One answer whose scores are not both stored and made now, and the same."""

    task: TaskId
    kind: str
    """One of CLASSES."""
    stored: Any
    """Its `Metrics`, whatever they are."""
    computed: Mapping[str, Any] | None
    """None: it was not run."""
    why: str
    """Why it was not run, or why a score made now is false."""
    because: str = ""
    """What libraries do otherwise now, where that is why they differ."""


@dataclass
class ChartCheck:
    """The Visualization answers of one file; failed tasks have none."""

    counts: Counter[str] = field(default_factory=Counter)
    """By class."""
    differences: list[ChartDifference] = field(default_factory=list)
    """Of every answer that is not equal."""

    @property
    def explained(self) -> bool:
        return not self.counts[UNEXPLAINED]


def check_charts(results: Sequence[Result], scorer: ChartScorer, label: str) -> ChartCheck:
    """Compares the answers of one file; `label` is shown while they run.

    Which of them ran before another is told by their order in the file, and where that is of no help by their ids: a
    file may have been put together in another order than it ran in.
    """
    charts = [(result, answer) for result in results if (answer := scorer.answer(result)) is not None]
    scorer.run([result for result, _ in charts], label)
    outcomes = [scorer.outcome(answer) for _, answer in charts]
    passing = sum(isinstance(outcome, Scored) and outcome.metrics["Pass"] is True for outcome in outcomes)
    nothing_read = passing >= ENOUGH_PASSING and not any(_passed(result) for result, _ in charts)
    check = ChartCheck()
    failed = [
        (place, _rank(result["id"]), answer)
        for place, (result, answer) in enumerate(charts)
        if truth(_stored(result).get("ECR")) is False and isinstance(scorer.outcome(answer), Scored)
    ]
    by_id = sorted(failed, key=lambda one: one[1])
    for place, (result, answer) in enumerate(charts):
        outcome = scorer.outcome(answer)
        kind, because = _class_of(result, outcome, nothing_read), ""
        if kind == UNEXPLAINED and isinstance(outcome, Scored) and not outcome.settled:
            # Others ran beside it.
            outcome = scorer.run_alone(answer)
            if isinstance(outcome, Scored) and not outcome.settled:
                outcome = Unscored(_TOO_SLOW)
            kind = _class_of(result, outcome, nothing_read)
        if kind == UNEXPLAINED and isinstance(outcome, Scored):
            above = [one for other, _, one in failed if other < place]
            smaller = [one for _, other, one in by_id if other < _rank(result["id"])]
            orders = [above] if above == smaller else [above, smaller]
            reason = reason_of(answer, outcome, orders, scorer, partial(_as_stored, result))
            if reason is not None:
                kind = BY_CHANCE if reason.by_chance else LEFT_FIGURE if reason.left_figure else NEWER
                because = older.described(reason.changes)
        check.counts[kind] += 1
        if kind != EQUAL:
            computed = outcome.metrics if isinstance(outcome, Scored) else None
            check.differences.append(
                ChartDifference(result["id"], kind, result.get("Metrics"), computed, outcome.why, because)
            )
    return check


def _rank(task: TaskId) -> tuple[bool, int, str]:
    """Numbers by their size, texts behind them."""
    return (True, 0, task) if isinstance(task, str) else (False, task, "")


def _as_stored(result: Result, outcome: Outcome) -> bool:
    return _class_of(result, outcome, False) == EQUAL


def _class_of(result: Result, outcome: Outcome, nothing_read: bool) -> str:
    stored = _stored(result)
    if truth(stored.get("ECR")) is None:
        return NOT_STORED
    if not isinstance(outcome, Scored):
        return NOT_RUN
    if is_true(stored["ECR"]) == outcome.metrics["ECR"]:
        if _passed(result) == (outcome.metrics["Pass"] is True):
            return EQUAL
        if nothing_read:
            return NOTHING_READ
    return UNEXPLAINED


def _passed(result: Result) -> bool:
    """`Pass` is stored as a truth value, or as 'None'."""
    return is_true(_stored(result).get("Pass"))


def _stored(result: Result) -> dict[str, Any]:
    metrics = result.get("Metrics")
    return metrics if isinstance(metrics, dict) else {}
