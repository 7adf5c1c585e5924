"""Numbers and names as the screen writes them: pure functions, cell widths respected, units written once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from rich.cells import cell_len, chop_cells, set_cell_size

from hitui.domain.units import moment as moment

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
_GIB = 1024**3


def gigabytes(size: int | float) -> str:
    """GiB without unit: `7.5`, `67.9`, `141`; one decimal below 100, never `80.0` for a round value."""
    value = size / _GIB
    if value >= 99.95:
        return f"{value:.0f}"
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def size_text(size: int | float) -> str:
    """A size with its unit: `512 B`, `1.5 KiB`, `200 MiB`."""
    value = float(size)
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    unit = units[0]
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """At most two units and five cells: `8s`, `4m`, `1h12`, `2d04`; minutes alone from one minute on."""
    if seconds < 59.5:
        return f"{max(0, round(seconds))}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}"
    hours = round(minutes / 60)
    return f"{hours // 24}d{hours % 24:02d}"


def long_duration(seconds: float) -> str:
    """As a sentence says it: `40s`, `4m`, `1h 12m`, `2d 4h`."""
    if seconds < 3570:
        return duration(seconds)
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours}h {rest}m" if rest else f"{hours}h"
    days, rest = divmod(round(minutes / 60), 24)
    return f"{days}d {rest}h" if rest else f"{days}d"


def rate(per_second: float | None) -> str:
    """Tasks a minute, an hour or a second, whichever gives a readable number: `3.9/m`, `12/h`, `2.1/s`."""
    if per_second is None or per_second <= 0:
        return ""
    for factor, unit in ((1.0, "s"), (60.0, "m"), (3600.0, "h")):
        value = per_second * factor
        if value >= 0.995 or unit == "h":
            return f"{value:.0f}/{unit}" if value >= 9.95 else f"{value:.1f}/{unit}"
    raise AssertionError("the last unit always returns")


def bar(fraction: float, width: int) -> tuple[str, str]:
    """A bar of `width` cells in eighths, as its filled and its empty part.

    What is not quite full never looks full, and what is not quite empty never looks empty.
    """
    if width <= 0:
        return "", ""
    fraction = min(1.0, max(0.0, fraction))
    eighths = int(fraction * width * 8)
    if fraction > 0 and eighths == 0:
        eighths = 1
    if fraction < 1 and eighths == width * 8:
        eighths -= 1
    whole, rest = divmod(eighths, 8)
    filled = "█" * whole + (_EIGHTHS[rest] if rest else "")
    return filled, "·" * (width - len(filled))


def sparkline(values: Iterable[float | None], width: int, top: float = 100.0) -> str:
    """The last `width` values as columns of eighths; a space where nothing was measured."""
    cells = [
        " " if value is None else _LEVELS[min(7, max(0, int(value / top * 8)))]
        for value in list(values)[-width:]
    ]
    return "".join(cells).rjust(width)


def fit(text: str, width: int) -> str:
    """`text` in exactly `width` cells, cut at the end with `…` or padded on the right."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(set_cell_size(text, width - 1).rstrip() + "…", width)


def fit_right(text: str, width: int) -> str:
    """`text` right-aligned in exactly `width` cells; cut at the end where it is longer."""
    missing = width - cell_len(text)
    return " " * missing + text if missing >= 0 else fit(text, width)


def fit_tail(text: str, width: int) -> str:
    """`text` in exactly `width` cells, cut at the front: names of one group differ at their end."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    kept = text
    while cell_len(kept) > width - 1:
        kept = kept[1:]
    return set_cell_size("…" + kept, width)


def wrapped(line: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells."""
    import textwrap

    width = max(10, width)
    if line.isascii():
        return textwrap.wrap(line, width) or [""]
    lines, rest = [], line.expandtabs().rstrip()
    # A character may be two cells wide, and none is wider.
    while len(rest) > width or cell_len(rest) > width:
        room = len(chop_cells(rest[:width], width)[0])
        space = rest.rfind(" ", 1, room + 1)
        end = space if space > 0 else room
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, rest]


def gpu_name(name: str) -> str:
    """The model alone: `NVIDIA A800-SXM4-80GB` → `A800`, `NVIDIA GeForce RTX 4090` → `RTX 4090`."""
    short = re.sub(r"\b(NVIDIA|GeForce|Tesla|Quadro|Graphics|GPU)\b", "", name)
    short = re.sub(r"[- ](SXM\d?|PCIe?|HBM\de?|NVL|\d+ ?GB).*$", "", short, flags=re.IGNORECASE)
    return " ".join(short.split()) or name


def ranges(labels: Iterable[int]) -> str:
    """`0,2,5-7` of indices; neighbours are joined from three on."""
    numbers = sorted(set(labels))
    parts: list[str] = []
    position = 0
    while position < len(numbers):
        end = position
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        if end - position >= 2:
            parts.append(f"{numbers[position]}-{numbers[end]}")
        else:
            parts += [str(number) for number in numbers[position : end + 1]]
        position = end + 1
    return ",".join(parts)


def clock(epoch: float) -> str:
    """`14:03`, local time."""
    return time.strftime("%H:%M", time.localtime(epoch))


def short_name(config: str) -> str:
    """The last part of a config's name, as jobs are spoken of."""
    return config.rsplit("/", 1)[-1]
