"""What a rerun changes for a task that ran out of memory: a ladder, climbed a rung at a time.

    rung 1        the image's pixels halved
    rung 2        the prompt cut to 100,000 tokens
    rungs 3, 4    to half of that, and half again

The runner climbs it and writes what it changed beside each answer (`Recovery`); its own copy of the ladder is
`runners/realhitbench/recovery.py`, since programs share files only. Here it says beforehand what a rerun will do.
A rung that changes nothing for a task is passed over; without a table to cut, rungs 2 to 4 halve the pixels again.
"""

from __future__ import annotations

import re

import msgspec

from hitui.domain.tasks import ErrorClass, Task

LAST_RUNG = 4
TEXT_BUDGET = 100_000
"""Tokens of rung 2."""
EXHAUSTED = "; recovery ladder exhausted"
"""At the end of an error's text when no rung is left: a rerun keeps that error, unless it is told to try again."""

_TOKENS = re.compile(r"too large \((\d{1,12}) tokens\)", re.IGNORECASE)


class Rung(msgspec.Struct, frozen=True):
    """How a task is tried."""

    number: int = 0
    """0: as the runner's settings say."""
    max_input_tokens: int | None = None
    """None: as the runner's settings say."""
    pixel_share: float = 1.0
    """Of the pixels that the image has otherwise."""

    def __str__(self) -> str:
        words = []
        if self.pixel_share != 1:
            words.append(f"1/{round(1 / self.pixel_share)} of the pixels")
        if self.max_input_tokens is not None:
            words.append(f"{self.max_input_tokens} tokens")
        return f"rung {self.number}: {' and '.join(words) or 'as it was'}" if self.number else "as it was"


class Ladder(msgspec.Struct, frozen=True):
    """The rungs of the tasks of one config."""

    limit: int = TEXT_BUDGET
    """Tokens that a prompt may have without any recovery."""
    max_rungs: int = LAST_RUNG
    """No rung above it is tried; 0: there is no ladder."""
    has_image: bool = False
    has_table: bool = True

    @classmethod
    def of(cls, modality: str | None, limit: int = TEXT_BUDGET, max_rungs: int = LAST_RUNG) -> Ladder:
        """The ladder of a config of this modality."""
        return cls(limit, max_rungs, modality in ("image", "mix"), modality != "image")

    def rerun(self, error: ErrorClass | None, text: str, tried: Rung) -> Rung | None:
        """Where a rerun of a failed task starts; None: every rung was tried.

        `error` and `text` of its newest result, `tried` of that result's `Recovery`. An error that is no
        out-of-memory is tried again as it was. Where nothing can be made lighter, the task gets one more chance
        as it is, which counts as the last rung: the memory may have been someone else's.
        """
        if not self.max_rungs:
            return Rung()
        if asked_rung(error) is None:
            return tried
        higher = self.above(tried, error, text)
        if higher is None and not tried.number:
            return Rung(self.max_rungs)
        return higher

    def above(self, tried: Rung, error: ErrorClass | None, text: str) -> Rung | None:
        """The next rung after an out-of-memory on `tried`; None: there is none, or `error` is none."""
        asked = asked_rung(error)
        if asked is None:
            return None
        had = _tokens(text) or tried.max_input_tokens or self.limit
        for number in range(max(asked, tried.number + 1), min(self.max_rungs, LAST_RUNG) + 1):
            if number == 1 or not self.has_table:
                if self.has_image:
                    return Rung(number, tried.max_input_tokens, tried.pixel_share / 2)
                continue
            budget = min(self.limit, TEXT_BUDGET) >> (number - 2)
            if 0 < budget < had:
                return Rung(number, budget, tried.pixel_share)
        return None


def asked_rung(error: ErrorClass | None) -> int | None:
    """The rung that an error asks for; None where it is no out-of-memory."""
    if error is ErrorClass.TEXT_TOO_LARGE:
        return 2
    return 1 if error is ErrorClass.IMAGE_TOO_LARGE else None


def is_exhausted(task: Task) -> bool:
    """Whether a rerun keeps the error of a task without trying it, since every rung was tried: the last one by its
    result's `Recovery`, or fewer where the error's own text says that for it there are no more.

    It counts as pending all the same: it has no answer. `--retry-exhausted` of the runner tries it again.
    """
    at_the_top = task.rung >= LAST_RUNG and asked_rung(task.error) is not None
    return task.pending and (at_the_top or task.reason.endswith(EXHAUSTED))


def rung_of(recovery: object) -> int:
    """The number of the rung that a result's `Recovery` names; 0 where it names none."""
    number = recovery.get("rung") if isinstance(recovery, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 0


def _tokens(text: str) -> int | None:
    found = _TOKENS.search(text)
    return int(found[1]) if found else None
