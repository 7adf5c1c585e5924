"""Where the header rows of a table stand in its text, by format; roughly: no parser of any of these formats."""

from __future__ import annotations

import re

HEADER_ROWS = 4
"""So many rows at the beginning are taken for headers where nothing marks them: a title, and headers that nest."""

_HEAD_END = re.compile(r"</thead\s*>", re.IGNORECASE)
_ROW = re.compile(r"<(?:thead|tr)\b", re.IGNORECASE)
_TABULAR = re.compile(r"\\begin\{(?:long|x)?tab")
_ROW_ENDS = {
    "html": re.compile(r"</tr\s*>", re.IGNORECASE),
    "latex": re.compile(r"\\\\"),
    "json": re.compile(r"\}"),
}
_LINE_END = re.compile(r"\n")


def header_rows(table: str, table_format: str | None) -> tuple[int, int]:
    """The characters from which to which they stand; in HTML that is behind styles, which may be longer than rows.

    `table_format`: a key of the benchmark's formats; None, or another: lines are rows.
    """
    start = 0
    if table_format == "html":
        found = _ROW.search(table)
        if found is None:
            return 0, 0
        start = found.start()
        head = _HEAD_END.search(table, start)
        if head is not None:
            return start, head.end()
    elif table_format == "latex":
        found = _TABULAR.search(table)
        start = 0 if found is None else found.start()
    end = start
    ends = _ROW_ENDS.get(table_format or "", _LINE_END).finditer(table, start)
    for _, row_end in zip(range(HEADER_ROWS), ends, strict=False):
        end = row_end.end()
    return start, end
