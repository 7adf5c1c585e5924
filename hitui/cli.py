"""The command line: finds the verb, loads its module, turns errors into one line and an exit status.

Modules of verbs are imported only when asked for, so that `hitui ls` does not pay for the screen.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence

from hitui import __version__
from hitui.errors import HituiError

COMMANDS: dict[str, str] = {
    "demo": "the dashboard on a made-up workspace that runs anywhere",
    "init": "look at what lies here and write a commented hitui.toml",
    "ls": "list the configs: done, errors, missing, blocked, pending",
    "ids": "list the task ids of a config, with reasons",
    "show": "print single results: question, reference, answer, scores, what was changed for it",
    "analyze": "report the missing tasks of all configs",
    "gpus": "list the GPUs",
    "run": "start or resume configs",
    "rerun": "run exactly what is pending",
    "verify": "say whether configs are whole",
    "merge": "write the results of a config that lie in several files into one",
    "score": "score results again, or check the scores that are stored",
    "judge": "have summaries and anomalies judged by a model behind a server",
    "rollback": "put a config back as it was before the first rerun",
    "queue": "list what waits and for what; change order, groups, limits and pauses",
    "jobs": "list the jobs",
    "wait": "return when jobs have ended, or all of them",
    "why": "say why a job waits, or whether a config would start",
    "stop": "stop jobs",
    "pause": "hold jobs back; one that runs gives its GPUs back and waits",
    "resume": "let held jobs start",
    "retry": "run what is pending of ended jobs again",
    "logs": "print the log of a job",
    "history": "list every job that there was, or all that is on record of one",
    "metrics": "print GPUs, queue, configs and jobs for Prometheus, or serve them",
    "supervisor": "start, stop, ask or install the background process",
    "doctor": "say what is here, what is not, and how to mend it",
}
"""Verb → one line of help. The module of verb X is `hitui.commands.X`; it has `add_arguments(parser)` and
`run(arguments) -> int`, and reads the workspace from `arguments.workspace` (a str, or None for here)."""


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser; only `verb` gets its own arguments, the others are listed with their help."""
    parser = argparse.ArgumentParser(
        prog="hitui",
        description="A terminal dashboard and controller for long GPU runs. Without a command: the dashboard.",
        epilog="Exit status: 0 done, 1 something failed, 2 wrong usage, 3 no such config or job, 130 interrupted.",
    )
    parser.add_argument(
        "-w",
        "--workspace",
        metavar="DIR",
        help="the workspace (default: here or the nearest parent with hitui.toml)",
    )
    parser.add_argument("--version", action="version", version=f"hitui {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND")
    for name, line in COMMANDS.items():
        subparser = verbs.add_parser(name, help=line, description=line)
        # The same option behind the verb; SUPPRESS keeps it from overwriting one given before the verb.
        subparser.add_argument(
            "-w", "--workspace", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        if name == verb:
            importlib.import_module(f"hitui.commands.{name}").add_arguments(subparser)
    return parser


def _verb(words: Sequence[str]) -> str | None:
    """The first word that is a command and not the folder behind `-w`, which may well be called `demo`."""
    before = ["", *words]
    for previous, word in zip(before, words, strict=False):
        if word in COMMANDS and previous not in ("-w", "--workspace"):
            return word
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may be no text in this locale; that must not end a listing.
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(_verb(words))
    arguments = parser.parse_args(words)
    if isinstance(sys.stdout, io.TextIOWrapper) and getattr(arguments, "json", False):
        # JSON is UTF-8 in any locale; what no UTF-8 can say, a lone surrogate, is escaped in it as Python does.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        module = importlib.import_module(f"hitui.commands.{arguments.verb or 'dashboard'}")
        status: int = module.run(arguments)
        sys.stdout.flush()
    except HituiError as error:
        from hitui.commands.saying import warn

        warn(error)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`hitui ls | head`); that is no failure of ours. Only, a wait ended
        # before anyone knew what came of it.
        _drop_output()
        return int(getattr(arguments, "wait", False))
    except RuntimeError as error:
        # Python names neither errno nor class for it.
        if str(error) != "can't start new thread":
            raise
        from hitui.commands.saying import warn

        warn("no more threads can be started; end some of your processes, or raise the limit (`ulimit -u`)")
        return 1
    except OSError as error:
        # Of an open stream that takes no more the error names no file.
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        from hitui.commands.saying import warn

        _drop_output()
        warn(f"cannot write: {error.strerror}; make room where the output goes")
        return 1
    return status


def _open_closed_streams() -> None:
    """Gives a command that was started without some of its streams empty ones.

    Otherwise the next file that is opened would take the place of one, and what is printed would go into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - until the end


def _drop_output() -> None:
    """What is still to be written would fail again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
