"""Moments as people write them: `22:00`, `2026-01-31 08:00`, `+2h30m`.

What a clock shows is turned into a moment by the rules of this machine's time zone. A time that the clocks skip
(02:30 in the night in which they jump from 02:00 to 03:00) is as long after midnight as it would be without the
jump; one that they show twice is the first of the two that has not passed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from hitui.domain.units import parse_duration

LONGEST_DAYS = 3660
"""What lies further ahead is a slip."""
_EXAMPLES = "22:00, 2026-01-31 08:00 or +2h30m"


def parse_moment(text: str, now: float) -> float:
    """The moment that a text names, in seconds since the epoch; `now` as well.

    Raises ValueError for what is no time, and for a date that has passed. A time without a date is the next one.
    """
    moment = _moment(text.strip(), now)
    if moment is None:
        raise ValueError(f"a time such as {_EXAMPLES} is expected, not {text!r}")
    if moment > now + LONGEST_DAYS * 86400:
        raise ValueError(f"{text.strip()} is more than ten years ahead")
    return moment


def _moment(text: str, now: float) -> float | None:
    """None: it is written in no way that is known."""
    if text.startswith("+"):
        try:
            return now + parse_duration(text[1:])
        except ValueError:
            return None
    match = re.fullmatch(r"(?:(\d{4})-(\d\d)-(\d\d)[ T]+)?(\d{1,2}):(\d\d)(?::(\d\d))?", text, re.ASCII)
    if match is None:
        return None
    clock = (int(match[4]), int(match[5]), int(match[6] or 0))
    today = datetime.fromtimestamp(now).date()
    try:
        if match[1] is not None:
            days = [date(int(match[1]), int(match[2]), int(match[3]))]
        else:
            days = [today, today + timedelta(days=1)]
        moments = [moment for day in days for moment in _shown(day, clock)]
    except ValueError as error:
        raise ValueError(f"{text}: there is no such time: {error}") from error
    ahead = next((moment for moment in moments if moment > now), None)
    if ahead is None:
        raise ValueError(f"{text} has passed: it is {datetime.fromtimestamp(now):%Y-%m-%d %H:%M} now")
    return ahead


def _shown(day: date, clock: tuple[int, int, int]) -> Iterator[float]:
    """The moments at which the clocks of this machine show that, the first first."""
    hour, minute, second = clock
    shown = datetime(day.year, day.month, day.day, hour, minute, second)
    first, last = shown.timestamp(), shown.replace(fold=1).timestamp()
    yield first
    # Of a time that is skipped it lies before the first one, and is none of its moments.
    if last > first:
        yield last
