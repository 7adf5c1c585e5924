"""What is changed after an out-of-memory: a ladder, climbed a rung at a time and only by the tasks that failed.

    rung 1        the image's pixels halved
    rung 2        the prompt cut to 100,000 tokens
    rungs 3, 4    to half of that, and half again

What the rungs below changed stays changed. A rung that changes nothing for a task is passed over: pixels without
an image, a budget that the failed prompt was within already. Without a table to cut, rungs 2 to 4 halve the
pixels again. A table alone is cut: image tokens never are, the question never is.

Where a task starts is said by its newest failed result: at the rung that its error asks for, and above the one
that its `Recovery` names as tried. With more GPUs than that try had it is tried as it was first, and the ladder
begins anew: so several GPUs are the last rung, which whoever starts the run provides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

LAST_RUNG = 4
TEXT_BUDGET = 100_000
"""Tokens of rung 2."""
EXHAUSTED = "; recovery ladder exhausted"
"""At the end of an error of which no rung is left to try on one GPU."""

_IMAGE = re.compile(r"image too large(?! to open)", re.IGNORECASE)
_TEXT = re.compile(r"text too large", re.IGNORECASE)
_TOKENS = re.compile(r"too large \((\d{1,12}) tokens\)", re.IGNORECASE)


@dataclass(frozen=True)
class Rung:
    """How a task is tried."""

    number: int = 0
    """0: as the run's options say."""
    max_input_tokens: int | None = None
    """None: as the run's options say."""
    pixel_share: float = 1.0
    """Of the pixels that the image has otherwise."""
    gpus: int = 1
    """On how many it is tried."""
    is_wider: bool = False
    """These are more than the try before had."""

    @property
    def recovery(self) -> dict[str, object]:
        """What a result says of it under `Recovery`; empty on the ground of one GPU."""
        said: dict[str, object] = {"gpus": self.gpus} if self.gpus > 1 else {}
        if self.number:
            said["rung"] = self.number
        if self.max_input_tokens is not None:
            said["max_input_tokens"] = self.max_input_tokens
        if self.pixel_share != 1:
            said["pixel_share"] = self.pixel_share
        return said

    @property
    def is_changed(self) -> bool:
        """Whether it is lighter than the run's options say, or has more GPUs than the try before."""
        return self.is_wider or self.max_input_tokens is not None or self.pixel_share != 1


@dataclass(frozen=True)
class Ladder:
    """The rungs of one task."""

    limit: int
    """Tokens that a prompt may have without any recovery."""
    max_rungs: int = LAST_RUNG
    """No rung above it is tried; 0: there is no ladder."""
    has_image: bool = False
    has_table: bool = True
    gpus: int = 1
    """That the run has."""

    def rerun(self, prediction: str, recovery: Mapping[str, object]) -> Rung | None:
        """Where a task starts whose newest result is this error; None: every rung was tried.

        An error that is no out-of-memory is tried again as it was. Where nothing can be made lighter, the task
        gets one more chance as it is, which counts as the last rung: the memory may have been someone else's.
        """
        tried = tried_rung(recovery)
        if not self.max_rungs:
            return Rung(gpus=self.gpus)
        if asked_rung(prediction) is None:
            return replace(tried, gpus=self.gpus)
        if self.gpus > tried.gpus:
            return Rung(gpus=self.gpus, is_wider=True)
        higher = self.above(tried, prediction)
        if higher is None and not tried.number:
            return Rung(self.max_rungs, gpus=self.gpus)
        return higher

    def above(self, tried: Rung, prediction: str, tokens: int | None = None) -> Rung | None:
        """The next rung after an out-of-memory on `tried`; None: there is none, or `prediction` is none.

        `tokens` of the prompt that failed, its image included; None: as the error says, or unknown.
        """
        asked = asked_rung(prediction)
        if asked is None:
            return None
        had = tokens or _tokens(prediction) or tried.max_input_tokens or self.limit
        for number in range(max(asked, tried.number + 1), min(self.max_rungs, LAST_RUNG) + 1):
            if number == 1 or not self.has_table:
                if self.has_image:
                    return Rung(number, tried.max_input_tokens, tried.pixel_share / 2, self.gpus)
                continue
            budget = min(self.limit, TEXT_BUDGET) >> (number - 2)
            if 0 < budget < had:
                return Rung(number, budget, tried.pixel_share, self.gpus)
        return None


def asked_rung(prediction: str) -> int | None:
    """The rung that an error asks for; None where it is no out-of-memory."""
    if not prediction.startswith("[ERROR"):
        return None
    # A text that says both is one of a text, as the dashboard classes it.
    if _TEXT.search(prediction):
        return 2
    return 1 if _IMAGE.search(prediction) else None


def tried_rung(recovery: Mapping[str, object]) -> Rung:
    """The rung that a result's `Recovery` names; the ground where it names none."""
    number, gpus = _count(recovery.get("rung")), _count(recovery.get("gpus")) or 1
    if number is None:
        return Rung(gpus=gpus)
    share = recovery.get("pixel_share")
    return Rung(
        number,
        _count(recovery.get("max_input_tokens")),
        share if isinstance(share, float) and 0 < share < 1 else 1.0,
        gpus,
    )


def exhausted(gpus: int) -> str:
    """What an error ends with of which no rung is left to try on so many GPUs."""
    return EXHAUSTED + (f" on {gpus} GPUs" if gpus > 1 else "")


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _tokens(prediction: str) -> int | None:
    found = _TOKENS.search(prediction)
    return int(found[1]) if found else None
