"""`hitui score`: scores results again, in the runner's environment, or checks the scores that are stored."""

from __future__ import annotations

import argparse
import json

from hitui.commands.saying import warn
from hitui.errors import LaunchError
from hitui.factory import build_services
from hitui.services.scoring import plan_scoring, run_scoring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="+",
        help="a file of results, a folder that holds some, or a config's name",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the stored scores and means; write nothing"
    )
    parser.add_argument(
        "--runner", metavar="NAME", help="score with the Python of this runner (default: of the config's own)"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 when something could not be scored, or a stored score is wrong; 3 when there is no such config."""
    catalogue = build_services(arguments.workspace).workspace.catalogue
    calls = plan_scoring(catalogue, arguments.path, arguments.runner)
    options = [f"--{name}" for name in ("check", "json") if getattr(arguments, name)]
    status, found = 0, []
    for call in calls:
        try:
            ended, printed = run_scoring(call, options, capture=arguments.json)
        except LaunchError as error:
            warn(error)
            ended, printed = error.exit_status, b""
        status = max(status, ended)
        found += json.loads(printed or b"[]")
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return status
