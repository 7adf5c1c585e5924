"""The command line of the evaluation program."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hitui_runners.engines import ENGINES, engine_class
from hitui_runners.realhitbench.questions import MODALITIES, TABLE_FORMATS


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments; ends the process with status 2 when they cannot be meant."""
    parser = argparse.ArgumentParser(
        prog="hitui_runners realhitbench",
        description="Runs RealHiTBench questions through an engine and stores every result as it comes.",
        epilog="Exit status: 0 every given task has a result (errors included), 1 failed, 2 wrong usage; "
        "stopped by SIGTERM 143, SIGINT 130, SIGUSR1 75.",
        allow_abbrev=False,
    )
    parser.add_argument("--engine", choices=tuple(ENGINES), required=True)
    parser.add_argument("--model", metavar="DIR", help="folder of the model")
    parser.add_argument("--questions", type=Path, required=True, metavar="FILE", help="the question list")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of html, csv, image, …"
    )
    parser.add_argument("--modality", choices=MODALITIES, required=True)
    parser.add_argument("--format", choices=tuple(TABLE_FORMATS), help="of the tables; not for image")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where results are written")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--ids-file", type=Path, metavar="FILE", help='JSON {"ids": […]}: run these tasks only'
    )
    which.add_argument("--ids", metavar="ID,…", help="run these tasks only")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what has an answer; errors run again"
    )
    parser.add_argument("--max-queries", type=_at_least_one, metavar="N", help="run at most N tasks")
    parser.add_argument(
        "--prompts", type=Path, metavar="PATH", help="the benchmark's own prompt file, or the folder of them"
    )
    parser.add_argument(
        "--max-input-tokens",
        type=_at_least_one,
        default=100_000,
        metavar="N",
        help="cut the middle of a table until the prompt has no more tokens than this (default 100000)",
    )
    parser.add_argument(
        "--max-new-tokens", type=_at_least_one, default=1024, metavar="N", help="default 1024"
    )
    named, _ = _engine_parser().parse_known_args(words)
    if named.engine in ENGINES:
        engine_class(named.engine).add_arguments(parser)
    arguments = parser.parse_args(words)
    if arguments.modality == "image":
        arguments.format = None
    elif arguments.format is None:
        parser.error(f"--format is needed for --modality {arguments.modality}")
    return arguments


def _engine_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--engine")
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 on is expected, not {text}")
    return number
