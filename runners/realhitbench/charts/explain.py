"""Finds out why an answer's stored ECR and Pass are others than those made now, by running its program otherwise.

A reason counts where the stored scores come out with it, so that nothing is explained by what was only suspected; chance
does where other random numbers make other scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from hitui_runners.realhitbench.charts import older
from hitui_runners.realhitbench.charts.metrics import ChartAnswer, Scored
from hitui_runners.realhitbench.charts.scorer import ChartScorer, Outcome

_EARLIER = (1, 2, 3, 5, 8, 16, 32, 64, 128)
"""So many failed answers before one are run first, until its scores are the stored ones."""
_OTHER_RANDOM_NUMBERS = "import random\nrandom.seed(1)\nimport numpy\nnumpy.random.seed(1)"


@dataclass(frozen=True)
class Reason:
    """Why scores differ."""

    left_figure: bool = False
    """Earlier failed answers left figures to this one."""
    changes: tuple[str, ...] = ()
    """What libraries do otherwise now: names in `older.CHANGES`."""
    by_chance: bool = False
    """It comes out differently with other random numbers, or each time."""


def reason_of(
    answer: ChartAnswer,
    outcome: Scored,
    orders: Sequence[Sequence[ChartAnswer]],
    scorer: ChartScorer,
    as_stored: Callable[[Outcome], bool],
) -> Reason | None:
    """Why `outcome` is not what is stored; None: nothing that is known makes it so.

    `orders`: the failed answers before this one, in each order in which they may have run, the last one last.
    """
    changes = older.since_then(scorer.python.versions) if scorer.python is not None else []

    def enough(before: Sequence[ChartAnswer], undone: Sequence[str]) -> bool:
        first = older.undoing(undone) if undone else ""
        return as_stored(scorer.run_alone(answer, before, first=first))

    if changes and enough((), changes):
        return Reason(changes=_needed(changes, partial(enough, ())))
    for before in _earlier(orders):
        # Most like the benchmark's own runs, and so where their scores come out first.
        if enough(before, changes):
            needed = () if not changes or enough(before, ()) else _needed(changes, partial(enough, before))
            return Reason(left_figure=True, changes=needed)
    again = scorer.run_alone(answer, first=_OTHER_RANDOM_NUMBERS)
    if isinstance(again, Scored) and again.settled and again.metrics != outcome.metrics:
        return Reason(by_chance=True)
    return None


def _earlier(orders: Iterable[Sequence[ChartAnswer]]) -> Iterator[Sequence[ChartAnswer]]:
    """More and more of the failed answers before one, in each order."""
    for failed in orders:
        for count in sorted({min(count, len(failed)) for count in _EARLIER} - {0}):
            yield failed[-count:]


def _needed(changes: Sequence[str], enough: Callable[[Sequence[str]], bool]) -> tuple[str, ...]:
    """The fewest of the changes that are enough, where all are and none is not: halves are tried, and halves of these."""

    def least(besides: list[str], among: list[str], *, tried: bool) -> list[str]:
        """Of those `among` which are enough together with those `besides`. `tried`: the latter alone are not."""
        if not tried and enough(besides):
            return []
        if len(among) == 1:
            return among
        one, other = among[: len(among) // 2], among[len(among) // 2 :]
        of_other = least(besides + one, other, tried=False)
        return least(besides + of_other, one, tried=not of_other) + of_other

    return tuple(least([], list(changes), tried=True))
