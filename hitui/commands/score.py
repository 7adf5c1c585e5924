"""`hitui score`: scores results again, in the runner's environment, or checks the scores that are stored."""

from __future__ import annotations

import argparse
import json

from hitui.commands.ending import end_by_exception
from hitui.commands.saying import warn
from hitui.commands.scheduling import whole_number
from hitui.errors import LaunchError
from hitui.factory import build_services
from hitui.services.scoring import chart_options, plan_scoring, run_scoring


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
    charts = parser.add_argument_group(
        "charts", "the programs that are the answers to Visualization questions"
    )
    charts.add_argument(
        "--charts",
        action=argparse.BooleanOptionalAction,
        help="run them; by default where that is possible, and what cannot be run keeps what is stored of it",
    )
    charts.add_argument(
        "--tables", metavar="DIR", help="folder of the XLSX workbooks (default: tables/ of the dataset)"
    )
    charts.add_argument(
        "--chart-jobs", type=_count, metavar="N", help="so many at once (default: one a core)"
    )
    charts.add_argument(
        "--run-charts-without-a-sandbox",
        action="store_true",
        help="where no sandbox can be had, run what a model wrote with limits on time, memory and processes alone: it "
        "can read your files then, and change them",
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 when something could not be scored, or a stored score is wrong; 3 when there is no such config."""
    end_by_exception()
    catalogue = build_services(arguments.workspace).workspace.catalogue
    calls = plan_scoring(catalogue, arguments.path, arguments.runner)
    options = [f"--{name}" for name in ("check", "json") if getattr(arguments, name)]
    if arguments.charts is not None:
        options.append("--charts" if arguments.charts else "--no-charts")
    if arguments.chart_jobs is not None:
        options += ["--chart-jobs", str(arguments.chart_jobs)]
    if arguments.run_charts_without_a_sandbox:
        options.append("--run-charts-without-a-sandbox")
    status, found = 0, []
    for call in calls:
        try:
            of_charts = () if arguments.charts is False else chart_options(catalogue, call, arguments.tables)
            ended, printed = run_scoring(call, [*options, *of_charts], capture=arguments.json)
        except LaunchError as error:
            warn(error)
            ended, printed = error.exit_status, b""
        status = max(status, ended)
        found += json.loads(printed or b"[]")
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return status


def _count(text: str) -> int:
    return whole_number(text, 1, 9999, "a number from 1 to 9999 is expected")
