"""`hitui ids`: the task ids of one config, with why each is where it is."""

from __future__ import annotations

import argparse
import json

from hitui.commands.saying import warn
from hitui.domain.tasks import ErrorClass, Task, TaskStatus
from hitui.factory import build_services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a config's name, or the end of it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pending", action="store_true", help="what a rerun would run (the default)")
    which.add_argument("--errors", action="store_true", help="failed, with the error")
    which.add_argument("--missing", action="store_true", help="never answered, inputs present")
    which.add_argument("--blocked", action="store_true", help="an input file is absent")
    parser.add_argument(
        "--class",
        dest="error_class",
        metavar="CLASS",
        choices=[error_class.value for error_class in ErrorClass],
        help="only with this error: " + ", ".join(error_class.value for error_class in ErrorClass),
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    """0 also when no task is listed; 3 when there is no such config."""
    catalogue = build_services(arguments.workspace).workspace.catalogue
    reading = catalogue.read(catalogue.find(arguments.config))
    chosen = [task for task in reading.tasks if _is_chosen(task, arguments)]
    if arguments.json:
        print(json.dumps([_as_object(task) for task in chosen], indent=2, ensure_ascii=False))
    else:
        for task in chosen:
            error_class = task.error.value if task.error else "-"
            print(f"{_one_line(str(task.id))}\t{task.status.value}\t{error_class}\t{_one_line(task.reason)}")
    for problem in (*catalogue.problems, *reading.state.problems):
        warn(problem)
    if reading.state.unit != "tasks":
        warn(f"{reading.state.name}: counts {reading.state.unit}, not tasks: there are no ids to list")
    return 0


def _is_chosen(task: Task, arguments: argparse.Namespace) -> bool:
    if arguments.error_class is not None and task.error != arguments.error_class:
        return False
    if arguments.errors:
        return task.status is TaskStatus.ERROR
    if arguments.missing:
        return task.status is TaskStatus.MISSING
    if arguments.blocked:
        return task.status is TaskStatus.BLOCKED
    return task.pending


def _as_object(task: Task) -> dict[str, object]:
    return {
        "id": task.id,
        "status": task.status.value,
        "class": task.error.value if task.error else None,
        "reason": task.reason,
        "rung": task.rung,
    }


def _one_line(text: str) -> str:
    """Ids and error texts come from programs: what could move the cursor or break the line is made visible."""
    return "".join(letter if letter.isprintable() else " " if letter in "\r\n\t" else "�" for letter in text)
