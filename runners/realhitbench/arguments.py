"""The command line of the evaluation program."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hitui_runners.engines import ENGINES, engine_class
from hitui_runners.engines.base import Engine
from hitui_runners.engines.options import at_least_one
from hitui_runners.realhitbench.questions import MODALITIES, TABLE_FORMATS
from hitui_runners.realhitbench.recovery import LAST_RUNG
from hitui_runners.realhitbench.store import SYNC_SECONDS

OF_ONE_CONFIG = ("modality", "format", "output", "ids", "ids_file", "earlier")
"""Options that a plan says for each of its configs."""
RECOVERIES = ("rerun", "at-once", "off")
PROMPT_ORDERS = ("benchmark", "table-first")


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The arguments; ends the process with status 2 when they cannot be meant."""
    named, _ = _engine_parser().parse_known_args(words)
    parser = evaluation_parser(engine_class(named.engine) if named.engine in ENGINES else None)
    arguments = parser.parse_args(words)
    _check_config(parser, arguments)
    return arguments


def evaluation_parser(engine: type[Engine] | None) -> argparse.ArgumentParser:
    """What is understood, with the options of an engine."""
    parser = argparse.ArgumentParser(
        prog="hitui_runners realhitbench",
        description="Runs RealHiTBench questions through an engine and stores every result as it comes.",
        epilog="Exit status: 0 every given task has a result (errors included), 1 failed, 78 failed, and would again until "
        "its setup changes, 2 wrong usage; "
        "stopped by SIGTERM 143, SIGINT 130, SIGUSR1 75.",
        allow_abbrev=False,
    )
    parser.add_argument("--engine", choices=tuple(ENGINES), required=True)
    parser.add_argument("--model", metavar="DIR", help="folder of the model")
    parser.add_argument("--questions", type=Path, required=True, metavar="FILE", help="the question list")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of html, csv, image, …"
    )
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help='JSON {"configs": [{"name", "modality", "format", "output", "ids" or "ids_file", "earlier"}, …]}: '
        "run these configs one after the other with one load of the model",
    )
    parser.add_argument("--modality", choices=MODALITIES)
    parser.add_argument("--format", choices=tuple(TABLE_FORMATS), help="of the tables; not for image")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results are written")
    parser.add_argument(
        "--earlier",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="one more folder with results of this config, which is only read; may be given again",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--ids-file", type=Path, metavar="FILE", help='JSON {"ids": […]}: run these tasks only'
    )
    which.add_argument("--ids", metavar="ID,…", help="run these tasks only")
    parser.add_argument(
        "--resume", action="store_true", help="leave out what has an answer; errors run again"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="resume also where the answers there were made with other settings; they are mixed then",
    )
    parser.add_argument("--max-queries", type=at_least_one, metavar="N", help="run at most N tasks")
    parser.add_argument(
        "--prompts", type=Path, metavar="PATH", help="the benchmark's own prompt file, or the folder of them"
    )
    parser.add_argument(
        "--prompt-order",
        choices=PROMPT_ORDERS,
        help="of --prompts: as they are (benchmark, the default), or table-first, so that questions over a table begin "
        "alike, which changes the prompt; our own wording always has the table first",
    )
    parser.add_argument(
        "--max-input-tokens",
        type=at_least_one,
        default=100_000,
        metavar="N",
        help="cut the middle of a table until the prompt has no more tokens than this (default 100000)",
    )
    parser.add_argument("--max-new-tokens", type=at_least_one, default=1024, metavar="N", help="default 1024")
    parser.add_argument(
        "--recovery",
        choices=RECOVERIES,
        default="rerun",
        help="when a task that ran out of memory is tried in a lighter form: when it is run again (default), at "
        "once, or never",
    )
    parser.add_argument(
        "--max-rungs",
        type=int,
        choices=range(LAST_RUNG + 1),
        default=LAST_RUNG,
        metavar="N",
        help=f"lighter forms that are tried: 1 half the pixels, 2 100000 tokens, 3 half of that, 4 half again "
        f"(default {LAST_RUNG})",
    )
    parser.add_argument(
        "--retry-exhausted",
        action="store_true",
        help="try tasks again from the start that ran out of memory in every form",
    )
    parser.add_argument(
        "--sync-seconds",
        type=_seconds,
        default=SYNC_SECONDS,
        metavar="S",
        help="put results on the disk when the last time is so long ago; 0: each of them (default 1)",
    )
    if engine is not None:
        engine.add_arguments(parser)
    return parser


def _check_config(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """One config by its options, or a plan."""
    if arguments.prompts is not None:
        arguments.prompt_order = arguments.prompt_order or PROMPT_ORDERS[0]
    elif arguments.prompt_order is not None:
        parser.error("--prompt-order is of the benchmark's own prompts; give them by --prompts")
    if arguments.plan is not None:
        given = [name for name in OF_ONE_CONFIG if getattr(arguments, name) not in (None, [])]
        if given:
            parser.error(f"--{given[0].replace('_', '-')} is said in the plan, for each of its configs")
        return
    absent = [f"--{name}" for name in ("modality", "output") if getattr(arguments, name) is None]
    if absent:
        parser.error(f"the following arguments are required: {', '.join(absent)} (or --plan)")
    if arguments.modality == "image":
        arguments.format = None
    elif arguments.format is None:
        parser.error(f"--format is needed for --modality {arguments.modality}")


def _engine_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--engine")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"seconds from 0 to 3600 are expected, not {text!r}")
    return seconds
