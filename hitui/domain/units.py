"""Sizes, times and numbers of things as people write them."""

from __future__ import annotations

import re
import time

_SIZE_UNITS = {"B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _SIZE_UNITS[f"{_letter}B"] = 1000**_power
    _SIZE_UNITS[f"{_letter}iB"] = 1024**_power
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MOST_UNITS = 1e15
"""More of a unit than this is a slip."""


def parse_size(text: str) -> int:
    """Bytes of `20GiB`, `500MB`, `1.5 TiB`. Raises ValueError without a known unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)\s*", text)
    if match is None or match[2] not in _SIZE_UNITS or float(match[1]) > _MOST_UNITS:
        raise ValueError(f"a size with its unit is expected, such as 20GiB or 500MB, not {text!r}")
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def parse_duration(text: str) -> float:
    """Seconds of `10s`, `1h30m`, `2 min`. Raises ValueError without units."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhd])", text)
    rest = re.sub(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhd])", "", text)
    if not parts or rest.strip() or any(float(number) > _MOST_UNITS for number, _ in parts):
        raise ValueError(f"a time with its unit is expected, such as 10s or 1h30m, not {text!r}")
    return sum(float(number) * _TIME_UNITS[unit] for number, unit in parts)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `3 jobs`; `many` where it is not `one` with an s behind it."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def duration_words(seconds: float) -> str:
    """`45 s`, `35 min`, `2 h 5 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def moment(epoch: float, now: float) -> str:
    """`14:03` today, else `2026-01-31 14:03`, local time."""
    then = time.localtime(epoch)
    same_day = then[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M", then)
