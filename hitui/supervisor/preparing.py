"""What a job is launched with: its folder, the files that tell its runner of its tasks, and the exact command."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hitui.adapters.executors.base import Launch
from hitui.adapters.processes import JOB_VARIABLE
from hitui.domain.jobs import Job
from hitui.supervisor.joining import Part
from hitui.supervisor.keeper import STOP_GRACE
from hitui.supervisor.launches import Launches

EVENTS = "events.jsonl"
"""The runner's event lines, in the job's folder."""


def prepare(
    launches: Launches,
    job: Job,
    parts: Sequence[Part],
    gpus: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    marker: str,
) -> Launch:
    """Makes the job's folder and what it needs there. May take as long as its disk does.

    `parts` are the configs that it runs, its own first; `environment` is that of whoever asked, `marker` what its
    processes carry. Raises LaunchError, naming key and mend, and OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    first = parts[0]
    ids_file, plan_file = folder / "ids.json", None
    if len(parts) > 1 or job.request.also:
        plan_file = folder / "plan.json"
        _write_json(plan_file, launches.plan(parts))
    elif first.ids is not None:
        _write_json(ids_file, {"ids": list(first.ids)})
    command = launches.command(first.request, first.ids, ids_file, gpus, environment, plan_file)
    events = str(folder / EVENTS)
    return Launch(
        folder=folder,
        marker=marker,
        argv=command.argv,
        environment=command.environment | {JOB_VARIABLE: marker, "HITUI_EVENTS": events},
        cwd=command.cwd,
        log=folder / "log",
        grace=STOP_GRACE,
    )


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(path)
