"""Whether the answers that are scored together were made with the same settings: means of others compare nothing.

A run that would mix them is refused (run_record.py) unless it is forced, and who reads the means later may know
nothing of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from hitui_runners.realhitbench.results import Result, is_error
from hitui_runners.realhitbench.run_record import (
    RecordedRun,
    Unusable,
    differences,
    recorded_runs,
    shown,
    with_folders,
)
from hitui_runners.realhitbench.store import RUN


def mixture(results: Iterable[Result], folders: Sequence[Path]) -> list[str]:
    """A line for each kind of settings beside those of most answers, with how many it made; none where all are alike.

    `folders`: where the results lie, with what is on record there. What is not on record is not compared, nor are
    failed tasks.
    """
    marks = (result.get(RUN) for result in results if not is_error(result))
    counts = Counter(mark for mark in marks if isinstance(mark, str))
    kinds: list[tuple[RecordedRun, int]] = []
    for run in _recorded(folders):
        count = counts.pop(run.id, 0)
        if not count:
            continue
        alike = next((at for at, (kind, _) in enumerate(kinds) if _same(kind, run)), None)
        if alike is None:
            kinds.append((run, count))
        else:
            kinds[alike] = (kinds[alike][0], kinds[alike][1] + count)
    if len(kinds) < 2:
        return []
    (most, number), *others = sorted(kinds, key=lambda kind: -kind[1])
    return [
        f"mixed: {_made(count)} with other settings than {number}: {_told(most, run)}"
        for run, count in others
    ]


def _made(count: int) -> str:
    return f"{count} {'answer was' if count == 1 else 'answers were'} made"


def _told(most: RecordedRun, run: RecordedRun) -> str:
    found = differences(most.settings, run.settings)
    return shown(with_folders(found, most.beside, run.beside), "{key} {now} instead of {before}")


def _same(one: RecordedRun, other: RecordedRun) -> bool:
    return not differences(one.settings, other.settings)


def _recorded(folders: Iterable[Path]) -> list[RecordedRun]:
    found: list[RecordedRun] = []
    for folder in folders:
        try:
            found += recorded_runs(folder)
        except Unusable:
            # Whoever resumes there is told so; for the scores it is as if nothing were on record.
            continue
    return found
