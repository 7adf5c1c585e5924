"""What is scored together: the results in one file, one folder, or all folders of a config.

A path that is a file is a unit of its own; a folder makes one unit of itself and of each folder below it that
holds results. Of the files of a unit the newer one counts, and an answer is never replaced by an error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitui_runners.errors import RunnerError
from hitui_runners.look import is_dir, is_file
from hitui_runners.realhitbench.check import torn_line
from hitui_runners.realhitbench.known import Known
from hitui_runners.realhitbench.rescoring import Notes, usable
from hitui_runners.realhitbench.results import (
    RESULT_NAME,
    Result,
    Unreadable,
    age_of,
    load_content,
    result_files,
)
from hitui_runners.stopping import stop_with_stdin


@dataclass(frozen=True)
class Unit:
    """Files that are read together, and where their scores are put."""

    name: str
    files: tuple[Path, ...]
    """Those that count less first."""
    scores: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its results lie, and at the end where its scores are put."""
        return tuple(dict.fromkeys([*(path.parent for path in self.files), self.scores.parent]))


def add_unit_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `named_units` reads."""
    parser.add_argument("path", nargs="*", type=Path, metavar="PATH", help="a file of results, or a folder")
    parser.add_argument("--plan", metavar="FILE", help="more of them, as JSON; -: from standard input")
    parser.add_argument(
        "--until-stdin-ends",
        action="store_true",
        help="a --plan on standard input is its first line, and its end asks to stop as SIGTERM does: this program "
        "does not outlive the one that holds the other end",
    )


def named_units(arguments: argparse.Namespace, refuse: Callable[[str], None]) -> list[Unit]:
    """What is to be scored or judged, each once. Raises RunnerError where a plan is of no use."""
    units = [unit for path in arguments.path for unit in units_of(path, refuse)]
    if arguments.plan is not None:
        units += _read_units(arguments.plan, refuse, one_line=arguments.until_stdin_ends)
    if arguments.until_stdin_ends:
        stop_with_stdin()
    return list(dict.fromkeys(units))


def units_of(path: Path, refuse: Callable[[str], None]) -> list[Unit]:
    """The units at or below a path; what cannot be one is told in a line."""
    if is_file(path):
        return [Unit(str(path), (path,), path.with_name(f"scores_{path.stem}.json"))]
    if not is_dir(path):
        what = "is no regular file" if os.path.lexists(path) else "is not there"
        refuse(f"{path}: {what}; give a file of results, or a folder that holds some")
        return []
    units = []
    for folder in _folders(path, refuse):
        files = _regular(result_files([folder]), refuse)
        if files:
            units.append(Unit(str(folder), files, folder / "scores.json"))
    if not units:
        refuse(f"{path}: holds no results (checkpoint.json, results.jsonl, results*.json)")
    return units


def results_of(
    unit: Unit, notes: Notes, warn: Callable[[str], None], refuse: Callable[[str], None]
) -> tuple[list[Result], list[str]] | None:
    """The results of a unit that count, and lines about its files; None where no file of it can be read.

    What is odd in results goes to `notes`, files that cannot be read to `refuse`.
    """
    lines: list[str] = []
    known = Known()
    read = False
    for path in unit.files:
        try:
            content = load_content(path, warn)
        except Unreadable as error:
            refuse(f"{path}: {error}; it is left out")
            continue
        read = True
        lines += [f"{path.name}: {line}" for line in torn_line(content)]
        known.take_in(path, age_of(path), usable(content.entries, notes))
    return (known.results(), lines) if read else None


def _read_units(plan: str, refuse: Callable[[str], None], *, one_line: bool) -> list[Unit]:
    """The units that a plan names; `-` is standard input, or its first line. Raises RunnerError where it is of no use.

    {"units": [{"path": …} | {"name": …, "folders": [those that count less first, …], "output": folder}, …]}
    """
    try:
        if plan != "-":
            text = Path(plan).read_bytes()
        else:
            text = sys.stdin.buffer.readline() if one_line else sys.stdin.buffer.read()
        entries = json.loads(text)["units"]
        return [unit for entry in entries for unit in _planned(entry, refuse)]
    except OSError as error:
        raise RunnerError(f"{plan}: the plan cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunnerError(f"{plan}: is no plan of what to score: {error}") from error


def _planned(entry: dict[str, Any], refuse: Callable[[str], None]) -> list[Unit]:
    if "path" in entry:
        return units_of(Path(entry["path"]), refuse)
    name, output = str(entry["name"]), Path(entry["output"])
    files = _regular(result_files([Path(folder) for folder in entry["folders"]]), refuse)
    if not files:
        refuse(f"{name}: there are no results in {output}")
        return []
    return [Unit(name, files, output / "scores.json")]


def _regular(files: Sequence[Path], refuse: Callable[[str], None]) -> tuple[Path, ...]:
    """Without pipes, which would be waited for without end, and whatever else only has the name of results."""
    for path in files:
        if not is_file(path):
            refuse(f"{path}: has the name of a file of results and is none, or out of reach; it is not read")
    return tuple(path for path in files if is_file(path))


def _folders(top: Path, refuse: Callable[[str], None]) -> Iterator[Path]:
    """The folder and those below it, by name; links are followed, hidden folders are not. Each comes once."""
    seen: set[tuple[int, int]] = set()
    stack = [top]
    while stack:
        folder = stack.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                names = sorted(
                    (entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")),
                    reverse=True,
                )
        except OSError as error:
            refuse(f"{folder}: cannot be listed: {error.strerror}; what lies below it is not scored")
            continue
        yield folder
        # A folder with the name of a results file is refused where its own folder is read.
        stack += [folder / name for name in names if not RESULT_NAME.fullmatch(name)]
