"""An engine without a model: it looks the answer up in the table, so that the whole workflow runs anywhere.

It takes a moment a task, claims memory on simulated GPUs, and now and then fails as real runs do. Whether a task
fails is decided by its id and by whether it failed before: what has failed once succeeds when run again. Its
answers are mostly wrong and say nothing about any model; every result names this engine.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import html
import json
import os
import re
import time
from pathlib import Path

from hitui_runners.engines.base import Engine, Prompt, Reply, image_too_large, text_too_large, visible_gpus
from hitui_runners.engines.simulated_gpus import GpuClaim
from hitui_runners.errors import RunnerError
from hitui_runners.output import say

LONGEST_SECONDS = 1.0
CHARACTERS_PER_TOKEN = 4
PIXELS_PER_TOKEN = 32 * 32
"""As of Qwen3-VL: patches of 16 × 16, four of them a token."""
_CODE = """import pandas as pd
import matplotlib.pyplot as plt

table = pd.read_excel("table.xlsx")
table.select_dtypes("number").head(5).plot()
plt.show()"""
_WORD = re.compile(r"[^\W_]+")
_COMMON = frozenset((
    "the", "a", "an", "of", "in", "and", "or", "to", "is", "was", "were", "are", "for", "which", "what",
    "how", "many", "by", "on", "at", "from", "with",
))  # fmt: skip


class DemoEngine(Engine):
    """Looks for the row that shares most words with the question."""

    name = "demo"
    needs_tables = False
    speed_options = ("demo_seconds", "demo_failure_rate", "demo_memory_tokens")

    def __init__(self, seconds: float, failure_rate: float, memory_tokens: int | None) -> None:
        self._seconds = seconds
        self._failure_rate = failure_rate
        self._memory_tokens = None if memory_tokens is None else memory_tokens * visible_gpus()
        self._claim = GpuClaim.from_environment()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--demo-seconds",
            type=float,
            default=os.environ.get("HITUI_DEMO_SECONDS", "0.3"),
            metavar="S",
            help="about how long a task takes, at most a second (default 0.3; HITUI_DEMO_SECONDS)",
        )
        parser.add_argument(
            "--demo-failure-rate",
            type=float,
            default=os.environ.get("HITUI_DEMO_FAILURE_RATE", "0.02"),
            metavar="SHARE",
            help="which share of the tasks fails the first time (default 0.02; HITUI_DEMO_FAILURE_RATE)",
        )
        parser.add_argument(
            "--demo-memory-tokens",
            type=int,
            default=os.environ.get("HITUI_DEMO_MEMORY_TOKENS"),
            metavar="N",
            help="run out of memory at prompts of more tokens, on each GPU that it has (default: never;"
            " HITUI_DEMO_MEMORY_TOKENS)",
        )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> DemoEngine:
        seconds: float = arguments.demo_seconds
        failure_rate: float = arguments.demo_failure_rate
        if not 0 <= seconds <= 3600:
            raise RunnerError(f"--demo-seconds: a time in seconds is expected, not {seconds}")
        if not 0 <= failure_rate <= 1:
            raise RunnerError(f"--demo-failure-rate: a share from 0 to 1 is expected, not {failure_rate}")
        memory_tokens: int | None = arguments.demo_memory_tokens
        if memory_tokens is not None and memory_tokens < 1:
            raise RunnerError(f"--demo-memory-tokens: a number from 1 on is expected, not {memory_tokens}")
        return cls(seconds, failure_rate, memory_tokens)

    def load(self) -> None:
        say("Demo engine: answers are looked up in the table, no model is loaded")
        if self._claim is not None:
            self._claim.take()
        time.sleep(min(self._seconds, LONGEST_SECONDS))

    def answer(self, prompt: Prompt) -> Reply:
        time.sleep(min(self._seconds * (0.5 + _chance(prompt.task_id, "seconds")), LONGEST_SECONDS))
        table, recovery = _cut(prompt)
        tokens = _tokens(prompt, table)
        size = png_size(prompt.image) if prompt.image is not None else None
        pixels = 0 if size is None else int(size[0] * size[1] * prompt.pixel_share)
        if size is not None and prompt.pixel_share != 1:
            recovery["max_pixels"] = pixels
        if self._memory_tokens is not None and tokens + pixels // PIXELS_PER_TOKEN > self._memory_tokens:
            failure = image_too_large(size, tokens) if size is not None else text_too_large(tokens)
            failure.recovery = recovery
            raise failure
        if not prompt.failed_before and _chance(prompt.task_id, "failure") < self._failure_rate:
            if _chance(prompt.task_id, "kind") < 0.25:
                return Reply("The demo engine leaves its answer out this time.", tokens, 10)
            raise image_too_large(size, tokens) if size is not None else text_too_large(tokens)
        if prompt.writes_code:
            answer = _CODE
        else:
            answer = look_up(prompt.question, table_rows(table, prompt.table_format)) or "not found"
        new_tokens = max(1, len(answer) // CHARACTERS_PER_TOKEN)
        return Reply(f"[Final Answer]: {answer}", tokens, new_tokens, recovery)

    def close(self) -> None:
        if self._claim is not None:
            self._claim.release()


def _tokens(prompt: Prompt, table: str) -> int:
    return (len(prompt.before) + len(table) + len(prompt.after)) // CHARACTERS_PER_TOKEN


def _cut(prompt: Prompt) -> tuple[str, dict[str, object]]:
    """The head of the table, as much as fits, and what a result says of that."""
    uncut = _tokens(prompt, prompt.table)
    if prompt.max_input_tokens is None or uncut <= prompt.max_input_tokens:
        return prompt.table, {}
    kept = max(0, prompt.max_input_tokens * CHARACTERS_PER_TOKEN - len(prompt.before) - len(prompt.after))
    return prompt.table[:kept], {"max_input_tokens": prompt.max_input_tokens, "uncut_tokens": uncut}


def _chance(task_id: int | str, what: str) -> float:
    """A number from 0 to 1 that depends on its arguments alone."""
    digest = hashlib.sha256(f"{what}:{task_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def look_up(question: str, rows: list[list[str]]) -> str | None:
    """The cell that answers best: of the row that shares most words with the question, the one in the column
    whose header does, else its first number. None for an empty table."""
    wanted = _words(question)
    with_numbers = [row for row in rows if any(re.search(r"\d", cell) for cell in row[1:])]
    scored = [(len(wanted & _words(" ".join(row))), row) for row in with_numbers or rows if any(row)]
    if not scored:
        return None
    best = max(scored, key=lambda entry: entry[0])[1]
    headers = [row for row in rows[:4] if row is not best]
    candidates = [
        (sum(len(wanted & _words(row[column])) for row in headers if column < len(row)), -column, cell)
        for column, cell in enumerate(best)
        if column and cell
    ]
    if candidates and max(candidates)[0]:
        return max(candidates)[2]
    return next((cell for cell in best[1:] if re.search(r"\d", cell)), None) or next(filter(None, best), None)


def table_rows(table: str, table_format: str | None) -> list[list[str]]:
    """Rows of cells, roughly: enough for a look-up, no parser of any of these formats."""
    if table_format == "html":
        rows = re.findall(r"<tr\b.*?(?=<tr\b|</table|\Z)", table, re.DOTALL | re.IGNORECASE)
        cells = [
            re.findall(r"<t[dh]\b[^>]*>(.*?)(?=<t[dh]\b|</t[dhr]|\Z)", row, re.DOTALL | re.I) for row in rows
        ]
        return [[_folded(html.unescape(re.sub(r"<[^>]*>", " ", cell))) for cell in row] for row in cells]
    if table_format == "latex":
        rows = re.split(r"\\\\(?:\s|$)", table)
        return [[_folded(re.sub(r"\\\w+|[{}]", " ", cell)) for cell in row.split("&")] for row in rows]
    if table_format == "markdown":
        return [[_folded(cell) for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    if table_format == "json":
        return _json_rows(table)
    try:
        return [[_folded(cell) for cell in row] for row in csv.reader(table.splitlines())]
    except csv.Error:
        return [[_folded(cell) for cell in line.split(",")] for line in table.splitlines()]


def _json_rows(table: str) -> list[list[str]]:
    try:
        data = json.loads(table)
    except (ValueError, RecursionError):
        return []
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    headers = [_folded(str(key)) for key in entries[0]] if entries else []
    return [
        headers,
        *([_folded("" if cell is None else str(cell)) for cell in entry.values()] for entry in entries),
    ]


def _folded(text: str) -> str:
    return " ".join(text.split())


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(text.lower()) if word not in _COMMON)


def png_size(path: Path) -> tuple[int, int] | None:
    """(width, height) from the head of a PNG file; None when it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError:
        return None
    if len(head) < 24 or not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
