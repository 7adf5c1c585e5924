"""What the dashboard knows of the recovery ladder, which runners climb after an out-of-memory.

    rung 1        the image's pixels halved
    rung 2        the prompt cut to 100,000 tokens
    rungs 3, 4    to half of that, and half again
    then          the same with more GPUs, the whole prompt first

The runner chooses the rung of each task and writes what it changed beside the answer (`Recovery`); the ladder is in
`runners/realhitbench/recovery.py`, since programs share files only. Who starts it decides on how many GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from hitui.domain.tasks import ErrorClass, Task

LAST_RUNG = 4
TEXT_BUDGET = 100_000
"""Tokens of rung 2."""
EXHAUSTED = "; recovery ladder exhausted"
"""At the end of an error's text when no rung is left on one GPU: a rerun keeps that error, unless it is told to try
again or has more GPUs; of several ` on N GPUs` follows."""

_EXHAUSTED = re.compile(re.escape(EXHAUSTED) + r"(?: on (\d{1,4}) GPUs)?$")
OUT_OF_MEMORY = (ErrorClass.TEXT_TOO_LARGE, ErrorClass.IMAGE_TOO_LARGE)


def exhausted_on(task: Task) -> int | None:
    """The number of GPUs on which a task was tried at every rung, so that a rerun on no more of them keeps its error.

    None: there are rungs left. It counts as pending all the same: it has no answer. `--retry-exhausted` of the
    runner tries it again.
    """
    return error_exhausted_on(task.error, task.reason, task.rung) if task.pending else None


def error_exhausted_on(error: ErrorClass | None, text: str, rung: int) -> int | None:
    """The same by the error's class, its text and the rung that its result's `Recovery` names."""
    if error not in OUT_OF_MEMORY:
        return None
    said = _EXHAUSTED.search(text)
    if said is not None:
        return int(said[1] or 1)
    return 1 if rung >= LAST_RUNG else None


def gpus_for(tried: Collection[int | None], gpus: int, most: int) -> int:
    """On how many GPUs to run pending tasks: `gpus`, or `most` where nothing is left for them on fewer.

    `tried` is what `exhausted_on` says of each. While one of them can be tried on fewer, that comes first; what was
    tried on `most` is for a person.
    """
    nothing_left = all(count is not None and count >= gpus for count in tried)
    return most if nothing_left and any(count is not None and count < most for count in tried) else gpus


def rung_of(recovery: object) -> int:
    """The number of the rung that a result's `Recovery` names; 0 where it names none."""
    number = recovery.get("rung") if isinstance(recovery, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 0
