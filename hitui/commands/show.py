"""`hitui show CONFIG ID…`: single results, of each the one that counts, with all that is on record of it."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from hitui.commands.saying import harmless
from hitui.errors import WorkspaceError
from hitui.factory import build_services
from hitui.services.results import Result, facts_of, read_results

LEAST_WIDTH, MOST_WIDTH = 60, 120
"""Of a line; longer ones are hard to read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a config's name, or the end of it")
    parser.add_argument(
        "ids", metavar="ID", nargs="+", help="of a task; `hitui ids CONFIG` lists those pending"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    """0 also where a task has no result, which is said; 1 where there is no such task; 3: no such config."""
    catalogue = build_services(arguments.workspace).workspace.catalogue
    reading = catalogue.read(catalogue.find(arguments.config))
    results = read_results(reading)
    wanted = list(dict.fromkeys(arguments.ids))
    for word in wanted:
        if word not in results:
            raise WorkspaceError(
                f"{reading.state.name}: no task {word}, neither in a question list nor with a result"
            )
    if arguments.json:
        objects = [_as_object(results[word]) for word in wanted]
        print(json.dumps(objects, indent=2, ensure_ascii=False))
        return 0
    width = min(MOST_WIDTH, max(LEAST_WIDTH, shutil.get_terminal_size((MOST_WIDTH, 24)).columns))
    for number, word in enumerate(wanted):
        lines = list(_lines(results[word], width))
        print("\n".join(lines if number == 0 else ["", *lines]))
    return 0


def _as_object(result: Result) -> dict[str, Any]:
    """`result` as it stands in its file; None: there is none. A task that no list has is of no status."""
    task = result.task
    return {
        "id": result.id,
        "status": None if task is None else task.status.value,
        "class": None if task is None or task.error is None else task.error.value,
        "reason": "" if task is None else task.reason,
        "result": result.content,
    }


def _lines(result: Result, width: int) -> Iterator[str]:
    facts = facts_of(result)
    label = max(len(harmless(key)) for key, _ in facts) + 2
    for key, told in facts:
        parts = [
            part
            for line in told.splitlines() or [""]
            for part in textwrap.wrap(harmless(line), max(20, width - label), replace_whitespace=False)
            or [""]
        ]
        for number, part in enumerate(parts):
            yield f"{harmless(key) if number == 0 else '':{label}}{part}".rstrip()
