"""What a command line says of charts."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from hitui_runners.realhitbench.charts.scorer import ChartOptions


def add_chart_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `chart_options` reads."""
    group = parser.add_argument_group("charts")
    group.add_argument(
        "--charts",
        action=argparse.BooleanOptionalAction,
        help="run the answers to Visualization questions; by default where that is possible",
    )
    group.add_argument("--tables", type=Path, metavar="DIR", help="folder of the XLSX workbooks")
    group.add_argument(
        "--chart-python",
        action="append",
        metavar="PATH",
        help="a Python with numpy, pandas, matplotlib and openpyxl; of several the first that has them (default: "
        "this one)",
    )
    group.add_argument(
        "--chart-jobs", type=_at_least_one, metavar="N", help="so many at once (default: one a core)"
    )
    group.add_argument(
        "--remember", type=Path, metavar="FILE", help="keep scores of charts there, and run none twice"
    )
    group.add_argument(
        "--run-charts-without-a-sandbox",
        action="store_true",
        help="where neither bubblewrap nor user namespaces can be had, run what a model wrote with limits on time, "
        "memory and processes alone: it can read all your files then, and change them",
    )


def chart_options(arguments: argparse.Namespace) -> ChartOptions:
    """What was said."""
    return ChartOptions(
        run=arguments.charts,
        tables=arguments.tables,
        pythons=tuple(arguments.chart_python or [sys.executable]),
        at_once=arguments.chart_jobs or _cores(),
        without_walls=arguments.run_charts_without_a_sandbox,
        remember=arguments.remember,
    )


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def _at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a number from 1 on is expected, not {text!r}")
    return int(text)
