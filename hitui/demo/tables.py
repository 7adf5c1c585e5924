"""Made-up hierarchical tables, written in every format that a config may ask for.

Everything here is invented: places, counts, units. A table has a title, two header rows of which the upper
spans pairs of columns, grouped rows and a total.
"""

from __future__ import annotations

import csv
import html
import io
import json
import random
import struct
import zipfile
import zlib
from pathlib import Path

import msgspec

SUFFIXES = {"html": "html", "csv": "csv", "latex": "txt", "markdown": "md", "json": "json"}
"""Table format → ending of its files, as the benchmark lays them out."""

_SUBJECTS = (
    ("harbour", "Goods handled in small harbours", ("Inbound", "Outbound"), "thousand tonnes"),
    ("library", "Loans of public libraries", ("Adults", "Children"), "loans"),
    ("orchard", "Harvest of village orchards", ("Apples", "Pears"), "crates"),
    ("tram", "Passengers of tram lines", ("Weekdays", "Weekends"), "thousand"),
    ("river", "Water levels at river gauges", ("Spring", "Autumn"), "centimetres"),
    ("bakery", "Loaves sold by bakeries", ("Rye", "Wheat"), "loaves"),
)
_PLACES = (
    "Alderwick", "Brackenford", "Calder Mill", "Dunsby", "Eastholm", "Farrow", "Glenmoor", "Harrowgate End",
    "Inverleigh", "Jutland Quay", "Kestrel Bay", "Lowmarsh", "Merrow", "Northolt Green", "Oakhanger", "Pikeham",
)  # fmt: skip


class Table(msgspec.Struct, frozen=True):
    name: str
    """Stem of its files."""
    title: str
    upper: tuple[str, ...]
    """Upper header: one entry a pair of columns."""
    lower: tuple[str, ...]
    """Lower header: one entry a column of numbers."""
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    """Place and its numbers; the last row is the total."""

    @property
    def header(self) -> tuple[str, ...]:
        """Column names with the upper header put in front: `Inbound 2019`."""
        return ("Place", *(f"{self.upper[number // 2]} {lower}" for number, lower in enumerate(self.lower)))


def make_table(number: int, dice: random.Random) -> Table:
    subject, title, upper, unit = _SUBJECTS[number % len(_SUBJECTS)]
    year = 2012 + number % 9
    places = dice.sample(_PLACES, k=dice.randint(5, 11))
    rows = [(place, tuple(dice.randint(12, 4800) for _ in range(4))) for place in places]
    total = tuple(sum(numbers[column] for _, numbers in rows) for column in range(4))
    return Table(
        name=f"{subject}-table{number // len(_SUBJECTS) + 1:02d}",
        title=f"{title}, {year} and {year + 1} ({unit})",
        upper=upper,
        lower=(str(year), str(year + 1)) * 2,
        rows=(*rows, ("Total", total)),
    )


def write_table(table: Table, data: Path) -> None:
    """Writes the table below `data` in all text formats, as picture and as workbook."""
    texts = {
        "csv": _csv(table),
        "html": _html(table),
        "json": _json(table),
        "latex": _latex(table),
        "markdown": _markdown(table),
    }
    for table_format, text in texts.items():
        _file(data, table_format, table.name, SUFFIXES[table_format]).write_text(text, encoding="utf-8")
    _file(data, "image", table.name, "png").write_bytes(_png(table))
    _file(data, "tables", table.name, "xlsx").write_bytes(_xlsx(table))


def _file(data: Path, folder: str, name: str, suffix: str) -> Path:
    (data / folder).mkdir(parents=True, exist_ok=True)
    return data / folder / f"{name}.{suffix}"


def _grid(table: Table) -> list[list[str]]:
    upper = [""] + [name for pair in table.upper for name in (pair, "")]
    body = [[place, *(str(number) for number in numbers)] for place, numbers in table.rows]
    return [[table.title, "", "", "", ""], upper, ["Place", *table.lower], *body]


def _csv(table: Table) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(_grid(table))
    return text.getvalue()


def _html(table: Table) -> str:
    lines = ["<!DOCTYPE html>", "<html><body><table>", f"<caption>{html.escape(table.title)}</caption>"]
    pairs = "".join(f'<th colspan="2">{html.escape(name)}</th>' for name in table.upper)
    lines.append(f'<tr><th rowspan="2">Place</th>{pairs}</tr>')
    lines.append("<tr>" + "".join(f"<th>{name}</th>" for name in table.lower) + "</tr>")
    for place, numbers in table.rows:
        cells = "".join(f"<td>{number}</td>" for number in numbers)
        lines.append(f"<tr><td>{html.escape(place)}</td>{cells}</tr>")
    return "\n".join([*lines, "</table></body></html>", ""])


def _json(table: Table) -> str:
    keys = [table.title, *(f"Unnamed: {number}" for number in range(1, 5))]
    records = [dict(zip(keys, row, strict=True)) for row in _grid(table)[1:]]
    return json.dumps(records, indent=2) + "\n"


def _latex(table: Table) -> str:
    lines = [
        r"\begin{table}[]",
        r"\begin{tabular}{lrrrr}",
        rf"\multicolumn{{5}}{{l}}{{\textbf{{{table.title}}}}} \\",
    ]
    lines.append(" & ".join(["", *(rf"\multicolumn{{2}}{{c}}{{{name}}}" for name in table.upper)]) + r" \\")
    lines += [" & ".join(row) + r" \\" for row in _grid(table)[2:]]
    return "\n".join([*lines, r"\end{tabular}", r"\end{table}", ""])


def _markdown(table: Table) -> str:
    rows = _grid(table)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * 5, *lines[1:], ""])


def _png(table: Table) -> bytes:
    """An 8-bit grey picture of the table's grid, without text (PNG specification, RFC 2083)."""
    width, row_height = 480, 18
    height = row_height * (len(table.rows) + 3) + 1
    line = bytes([0, *([96] * width)])
    between = bytes([0, *(96 if x % 96 == 0 else 255 for x in range(width))])
    pixels = b"".join(line if y % row_height == 0 else between for y in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def _xlsx(table: Table) -> bytes:
    """The smallest workbook that readers accept (ECMA-376: one sheet, strings in place)."""
    cells = []
    for number, row in enumerate(_grid(table), start=1):
        parts = [
            f"<c><v>{value}</v></c>"
            if value.isdigit()
            else f'<c t="inlineStr"><is><t>{html.escape(value)}</t></is></c>'
            for value in row
        ]
        cells.append(f'<row r="{number}">{"".join(parts)}</row>')
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kinds}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kinds}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}">'
        '<sheets><sheet name="table" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{"".join(cells)}</sheetData></worksheet>',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), '<?xml version="1.0" encoding="UTF-8"?>' + text)
    return buffer.getvalue()
