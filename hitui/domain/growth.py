"""How fast the results of a config grow, whoever writes them: for runners that say nothing of their progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import msgspec

from hitui.domain.configs import ConfigState
from hitui.domain.progress import RATE_WINDOW, JobProgress, eta_of

LONGEST_PAUSE = 3600.0
"""Seconds; what grows again after a longer one has begun anew."""
LEAST_MARKS = 3
"""Of what is written more seldom than the window is long: the first of two alone may be from another run."""


class Growth(msgspec.Struct, frozen=True):
    marks: tuple[tuple[float, int], ...] = ()
    """When the files changed, seconds since the epoch, and how much was done then; both grow from each to the next."""

    def after(self, state: ConfigState) -> Growth:
        """With what the files say now; nothing where they say less than before."""
        if not state.scanned or state.updated is None or state.problems:
            return self
        when, done = self.marks[-1] if self.marks else (0.0, -1)
        if state.done == done:
            return self
        if state.done < done:
            # Rolled back, or seen while it was written: what follows would look like growth.
            return Growth()
        mark = (state.updated, state.done)
        if not 0 <= state.updated - when <= LONGEST_PAUSE:
            return Growth((mark,))
        marks = (*(mark for mark in self.marks if mark[0] < state.updated), mark)
        recent = sum(1 for earlier, _ in marks if earlier >= state.updated - RATE_WINDOW)
        return Growth(marks[-max(recent, LEAST_MARKS) :])

    def progress(self, state: ConfigState, now: float, since: float = 0.0) -> JobProgress | None:
        """Rate and time left of the config, `now` and `since` in seconds since the epoch; None: it does not grow.

        `since`: what changed before that says nothing of what goes on now. The time since the last change counts as
        soon as it is longer than any between two, as with the ends of tasks.
        """
        marks = [mark for mark in self.marks if mark[0] >= since]
        within = [mark for mark in marks if mark[0] >= marks[-1][0] - RATE_WINDOW]
        if len(within) < 2 and len(marks) < LEAST_MARKS:
            return None
        if len(within) > 1:
            marks = within
        longest = max(after - before for (before, _), (after, _) in pairwise(marks))
        (first, begun), (last, done) = marks[0], marks[-1]
        if now - last > max(RATE_WINDOW, 2 * longest):
            return None
        rate = (done - begun) / (max(last, now - longest) - first)
        left = state.pending if state.total is not None else None
        return (
            JobProgress(rate=rate, eta_seconds=eta_of(0, left, rate), source="growth") if left != 0 else None
        )


NONE = Growth()


def grown(before: Mapping[str, Growth], states: Iterable[ConfigState]) -> dict[str, Growth]:
    """By config."""
    return {state.name: before.get(state.name, NONE).after(state) for state in states}
