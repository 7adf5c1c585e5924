"""A made-up benchmark in the layout of RealHiTBench: a few tables in every format, questions, pictures."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER = ("Harbour", "Boats", "Catch in tonnes")
ROWS = (("Lower Quay", 41, 1270.5), ("Northmouth", 17, 388.25), ("Saltby", 63, 2904.0), ("Wick End", 8, 97.5))


@dataclass
class Benchmark:
    """Question list and data folder."""

    folder: Path
    questions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def questions_file(self) -> Path:
        return self.folder / "questions.json"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def add_table(
        self, name: str, rows: tuple[tuple[object, ...], ...] = ROWS, one_line: bool = False
    ) -> None:
        """Writes the table in all formats, with a picture and a spreadsheet."""
        end = "" if one_line else "\n"
        every = (HEADER, *rows)
        texts = {
            f"html/{name}.html": "<table>"
            + end.join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in every)
            + "</table>",
            f"csv/{name}.csv": "\n".join(",".join(str(cell) for cell in row) for row in every),
            f"latex/{name}.txt": "\n".join(" & ".join(str(cell) for cell in row) + r" \\" for row in every),
            f"markdown/{name}.md": "\n".join(
                "| " + " | ".join(str(cell) for cell in row) + " |" for row in every
            ),
            f"json/{name}.json": json.dumps([dict(zip(HEADER, row, strict=True)) for row in rows], indent=1),
        }
        for path, text in texts.items():
            self._write(path, text.encode())
        self._write(f"image/{name}.png", png(96, 64))
        self._write(f"tables/{name}.xlsx", b"a spreadsheet, as far as anyone here asks")

    def ask(
        self,
        identifier: int | str,
        table: str,
        text: str,
        answer: str,
        kind: str = "Fact Checking",
        sub: str = "",
    ) -> None:
        self.questions.append(
            {
                "id": identifier,
                "FileName": table,
                "Question": text,
                "QuestionType": kind,
                "SubQType": sub or kind,
                "FinalAnswer": answer,
                "ProcessedAnswer": answer,
            }
        )
        self.save()

    def save(self) -> None:
        self.questions_file.write_text(json.dumps({"queries": self.questions}), encoding="utf-8")

    def _write(self, path: str, content: bytes) -> None:
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def harbours(folder: Path, questions: int = 6) -> Benchmark:
    """One table and so many questions about it, ids from 1 on."""
    folder.mkdir(parents=True, exist_ok=True)
    benchmark = Benchmark(folder)
    benchmark.add_table("harbours")
    for number in range(questions):
        name, boats, _ = ROWS[number % len(ROWS)]
        benchmark.ask(number + 1, "harbours", f"How many boats lie in {name}? (No. {number})", str(boats))
    return benchmark


def png(width: int, height: int, slope: int = 7) -> bytes:
    """A picture in grey (PNG specification, colour type 0); another for another `slope`."""
    first, lighter = bytes(x * slope % 256 for x in range(width)), bytes(range(256)) * 2
    rows = b"".join(
        b"\0" + first.translate(lighter[shade : shade + 256])
        for shade in (y * 3 % 256 for y in range(height))
    )
    return png_head(width, height) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def png_head(width: int, height: int) -> bytes:
    """The beginning of a picture of any size, without its pixels."""
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
