"""`hitui verify`: says whether configs are whole."""

from __future__ import annotations

import argparse
import json

from hitui.adapters.checkpoints.reading import listed
from hitui.commands.saying import harmless, warn
from hitui.domain.configs import ConfigState
from hitui.factory import build_services
from hitui.services.verification import Verdict, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", nargs="+", help="a config's name, or the end of it")
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    """0 when all are whole, 1 when one is not, 3 when there is no such config."""
    catalogue = build_services(arguments.workspace).workspace.catalogue
    configs = [catalogue.find(name) for name in arguments.config]
    verdicts = [verify(catalogue.read(config)) for config in configs]
    if arguments.json:
        print(json.dumps([_as_object(verdict) for verdict in verdicts], indent=2, ensure_ascii=False))
    else:
        for verdict in verdicts:
            print("\n".join(map(harmless, _lines(verdict))))
    for problem in catalogue.problems:
        warn(problem)
    broken = [verdict.state.name for verdict in verdicts if not verdict.whole]
    if broken:
        can_rerun = any(_can_rerun(verdict.state) for verdict in verdicts)
        mend = "; `hitui rerun` runs what is pending" if can_rerun else ""
        warn(f"not whole: {', '.join(broken)}{mend}")
    return 1 if broken else 0


def _can_rerun(state: ConfigState) -> bool:
    """Not where answers may be hidden in a file that cannot be read, nor for steps of a trainer."""
    return bool(state.pending) and state.unit == "tasks" and not state.hides_answers


def _lines(verdict: Verdict) -> list[str]:
    state = verdict.state
    total = "?" if state.total is None else state.total
    units = state.units(state.done if state.total is None else state.total)
    lines = [
        f"{state.name}: {'whole' if verdict.whole else 'not whole'}, {state.done} of {total} {units} done"
    ]
    lines += [f"  {defect}" for defect in verdict.defects]
    if verdict.blocked:
        lines.append(f"  {len(verdict.blocked)} blocked, an input file is absent: {listed(verdict.blocked)}")
    return lines


def _as_object(verdict: Verdict) -> dict[str, object]:
    return {
        "name": verdict.state.name,
        "whole": verdict.whole,
        "total": verdict.state.total,
        "done": verdict.state.done,
        "defects": list(verdict.defects),
        "blocked": list(verdict.blocked),
    }
