"""`hitui rollback`: a config as it was before the first rerun."""

from __future__ import annotations

import argparse

from hitui.commands.saying import harmless
from hitui.errors import WorkspaceError
from hitui.factory import build_services
from hitui.services.rollback import roll_back


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a config's name, or the end of it")


def run(arguments: argparse.Namespace) -> int:
    """0, also when there was nothing to roll back; 1 while a job runs on it; 3 when there is no such config."""
    services = build_services(arguments.workspace)
    catalogue = services.workspace.catalogue
    config = catalogue.find(arguments.config)
    job = services.jobs.read_once().active_for(config.name)
    if job is not None:
        raise WorkspaceError(f"{config.name}: job {job.id} is {job.word} on it; `hitui stop {job.id}` first")
    done = roll_back(config)
    if not done:
        folder = catalogue.shown(config.output)
        print(harmless(f"{config.name}: nothing to roll back, no run of hitui wrote into {folder}"))
    for rollback in done:
        if rollback.kept_in is not None:
            moved = ", ".join(rollback.moved)
            print(harmless(f"{config.name}: {moved} moved to {catalogue.shown(rollback.kept_in)}"))
        for name in rollback.restored:
            shown = catalogue.shown(rollback.folder / name)
            print(harmless(f"{config.name}: {shown} is again the one from before the first rerun"))
    return 0
