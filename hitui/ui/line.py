"""A line of the screen as data: spans of text with a role, no colours.

Widgets build lines from values and compare them with what they showed before; only what differs is
painted again.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

Span = tuple[str, str]
"""Text, and its role: a key of `theme.ROLES`, or empty for plain text."""
Line = tuple[Span, ...]


def width_of(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)


def fit_line(line: Line, width: int) -> Line:
    """The line in exactly `width` cells: cut with `…`, or padded."""
    missing = width - width_of(line)
    if missing >= 0:
        return (*line, (" " * missing, "")) if missing else line
    if width <= 0:
        return ()
    spans: list[Span] = []
    room = width - 1
    for text, role in line:
        cells = cell_len(text)
        if cells > room:
            spans.append((set_cell_size(text, room) + "…", role))
            break
        spans.append((text, role))
        room -= cells
    return tuple(spans)


def spread(left: Line, right: Line, width: int, *, filler: str = " ", filler_style: str = "") -> Line:
    """`left` and `right` at the two ends of `width` cells; `right` gives way where there is no room."""
    gap = width - width_of(left) - width_of(right)
    if gap < 1:
        return fit_line(left, width)
    return (*left, (filler * gap, filler_style), *right)


def joined(parts: list[Line], separator: Span) -> Line:
    spans: list[Span] = []
    for part in parts:
        if spans:
            spans.append(separator)
        spans.extend(part)
    return tuple(spans)
