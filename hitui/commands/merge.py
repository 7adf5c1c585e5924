"""`hitui merge`: one file with the results of a config that lie in several."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.reading import listed
from hitui.commands.saying import harmless, warn
from hitui.errors import HituiError, WorkspaceError
from hitui.factory import build_services
from hitui.services.merging import Merge, merge_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="+", help="a config's name, or the end of it")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it, for one config (default: <output>_merged/checkpoint_merged.json)",
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    """0, also where tasks are missing, which is said; 1 when one could not be merged; 3: no such config."""
    catalogue = build_services(arguments.workspace).workspace.catalogue
    configs = [catalogue.find(name) for name in dict.fromkeys(arguments.config)]
    if arguments.output is not None and len(configs) > 1:
        raise WorkspaceError(f"--output {arguments.output}: is one file, for one config; leave it out")
    merges = []
    for config in configs:
        try:
            merges.append(merge_results(catalogue.read(config), arguments.output))
        except HituiError as error:
            warn(error)
    if arguments.json:
        print(json.dumps([_as_object(merge) for merge in merges], indent=2, ensure_ascii=False))
    else:
        for merge in merges:
            print("\n".join(map(harmless, _lines(merge, catalogue))))
    for problem in catalogue.problems:
        warn(problem)
    return int(len(merges) < len(configs))


def _lines(merge: Merge, catalogue: Catalogue) -> list[str]:
    total = "" if merge.total is None else f" of {merge.total}"
    done = "written" if merge.written else "is up to date"
    lines = [f"{merge.config}: {catalogue.shown(merge.path)} {done}, {merge.answered}{total} answered"]
    for ids, words in (
        (merge.errors, "failed"),
        (merge.missing, "without a result"),
        (merge.blocked, "blocked, an input file is absent"),
        (merge.unknown, "not in the question list, at the end of the file"),
    ):
        if ids:
            lines.append(f"  {len(ids)} {words}: {listed(ids)}")
    if merge.total is None:
        lines.append("  without a question list nobody can say what is missing; sorted by id")
    if merge.copy is not None:
        lines.append(f"  what stood there before is kept as {merge.copy.name}")
    return lines


def _as_object(merge: Merge) -> dict[str, object]:
    return {
        "name": merge.config,
        "path": str(merge.path),
        "written": merge.written,
        "copy": None if merge.copy is None else str(merge.copy),
        "total": merge.total,
        "answered": merge.answered,
        "errors": list(merge.errors),
        "missing": list(merge.missing),
        "blocked": list(merge.blocked),
        "unknown": list(merge.unknown),
        "sources": [str(source) for source in merge.sources],
    }
