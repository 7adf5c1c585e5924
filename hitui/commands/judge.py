"""`hitui judge`: has answers that no formula can score judged by the model that `hitui.toml` names."""

from __future__ import annotations

import argparse
import sys

from hitui.commands.ending import end_by_exception
from hitui.factory import build_services
from hitui.services.judging import judge_options, plan_judging
from hitui.services.scoring import run_scoring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="+",
        help="a file of results, a folder that holds some, or a config's name",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="ask this judge too about what another one, or the same with other prompts, has scored",
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 when an answer has no verdict, or no judge is named; 3 when there is no such config."""
    end_by_exception()
    catalogue = build_services(arguments.workspace).workspace.catalogue
    options = [f"--{name}" for name in ("again", "json") if getattr(arguments, name)]
    judging = plan_judging(catalogue, arguments.path)
    sys.stdout.flush()
    status, _ = run_scoring(judging, [*judge_options(catalogue), *options], capture=False, program="judge")
    return status
