"""`hitui ls`: the configs, what is done of each and what a rerun would run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from hitui.commands.saying import warn
from hitui.commands.tables import iso_time, lines_of, short_time
from hitui.domain.configs import ConfigCondition, ConfigState
from hitui.domain.jobs import Job, Queued
from hitui.domain.progress import JobProgress, together
from hitui.errors import HituiError
from hitui.factory import Services, build_services
from hitui.services.progress import read_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a list of objects")


def run(arguments: argparse.Namespace) -> int:
    services = build_services(arguments.workspace)
    snapshot = services.workspace.scan_once()
    jobs = _active_jobs(services)
    rows: list[tuple[ConfigState, Sequence[Job]]] = [
        (state, jobs.get(state.name, ())) for state in snapshot.configs
    ]
    if arguments.json:
        print(
            json.dumps(
                [as_object(state, on_it, progress_of(on_it, state.name)) for state, on_it in rows],
                indent=2,
                ensure_ascii=False,
            )
        )
    elif rows:
        print("\n".join(_table(rows)))
    problems = [*snapshot.problems, *(problem for state in snapshot.configs for problem in state.problems)]
    if not rows:
        problems.append(
            f"{services.settings.root}: no results found below it; give the folder that holds them with -w, "
            "or name it as `[workspace] results` in hitui.toml"
        )
    elif _lacks_questions(services) and any(map(_needs_questions, snapshot.configs)):
        problems.append(
            f"{services.settings.root}: no question list found, so no total is known; "
            "name it as `[workspace] questions` in hitui.toml"
        )
    for problem in problems:
        warn(problem)
    return 0


def _needs_questions(state: ConfigState) -> bool:
    return state.config.kind == "realhitbench" and state.condition is ConfigCondition.UNCOUNTED


def _lacks_questions(services: Services) -> bool:
    """Whether none was found; of one that is named and not there, the workspace's problems tell."""
    declared = services.settings.workspace.questions
    return declared is None and services.workspace.catalogue.questions_file is None


def as_object(state: ConfigState, jobs: Sequence[Job], progress: JobProgress | None) -> dict[str, Any]:
    """One config as `--json` prints it. Times are local with their offset; a rate is tasks a second.

    Of the shards on it the first is its `job`; GPUs, rate and time left are those of all of them.
    """
    row: dict[str, Any] = {
        "name": state.name,
        "kind": state.config.kind,
        "unit": state.unit,
        "modality": state.config.modality,
        "format": state.config.table_format,
        "total": state.total,
        "done": state.done,
        "errors": state.errors,
        "missing": state.missing,
        "blocked": state.blocked,
        "pending": state.pending,
        "error_classes": {error_class.value: count for error_class, count in state.error_classes},
        "state": jobs[0].word if jobs else state.condition.value,
        "source": state.source,
        "updated": iso_time(state.updated),
        "problems": list(state.problems),
        "notes": list(state.notes),
    }
    if jobs:
        row |= {
            "job": jobs[0].id,
            "gpus": [uuid for job in jobs for uuid in job.gpus],
            "rate": progress.rate if progress else None,
            "eta_seconds": progress.eta_seconds if progress else None,
        }
    return row


def _active_jobs(services: Services) -> dict[str, tuple[Job, ...]]:
    """Config → the job that is on it, or the shards that are, else the first that waits for it.

    Starts no supervisor; the configs are listed also when none answers.
    """
    try:
        return services.jobs.foremost_once()
    except HituiError as error:
        warn(error)
        return {}


def progress_of(jobs: Sequence[Job], config: str) -> JobProgress | None:
    """Of a job of several configs what it says of this one; of shards what they come to."""
    started = [job for job in jobs if not isinstance(job.state, Queued)]
    progress = together([read_progress(job) for job in started]) if started else None
    return None if progress is None else progress.of(config)


def _table(rows: list[tuple[ConfigState, Sequence[Job]]]) -> list[str]:
    cells = []
    for state, jobs in rows:
        total = "?" if state.total is None else str(state.total)
        word = f"{jobs[0].word} {' '.join(f'#{job.id}' for job in jobs)}" if jobs else state.condition.value
        if state.problems:
            word += " !"
        unit = "" if state.unit == "tasks" else f" {state.units(state.total or 0)}"
        cells.append(
            (
                state.name,
                f"{state.done}/{total}{unit}",
                str(state.errors),
                str(state.missing),
                str(state.blocked),
                str(state.pending),
                word,
                short_time(state.updated),
            )
        )
    header = ("name", "done", "errors", "missing", "blocked", "pending", "state", "updated")
    return lines_of(header, cells, "<>>>>><>")
