"""`hitui demo`: the dashboard on a made-up workspace that runs anywhere."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from hitui.adapters.gpus import SIMULATED_VARIABLE, make_source
from hitui.adapters.gpus.monitor import GpuMonitor
from hitui.commands.dashboard import require_terminal
from hitui.demo.gpus import LivelyGpus
from hitui.demo.workspace import create_workspace, has_workspace
from hitui.errors import WorkspaceError
from hitui.factory import build_services, folder_of
from hitui.paths import state_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", metavar="DIR", help="where the made-up workspace lies (default: in the state folder)"
    )
    parser.add_argument("--fresh", action="store_true", help="write the workspace anew")
    parser.add_argument(
        "--simulated", action="store_true", help="simulate the GPUs even where there are real ones"
    )
    parser.add_argument(
        "--no-screen", action="store_true", help="only write the workspace and say where it is"
    )


def run(arguments: argparse.Namespace) -> int:
    if not arguments.no_screen:
        require_terminal()
    folder = _folder(arguments.folder)
    if not has_workspace(folder):
        create_workspace(folder)
    elif arguments.fresh:
        _require_no_jobs(folder)
        create_workspace(folder)
    gpu_folder = folder / ".simulated-gpus"
    lively = LivelyGpus(gpu_folder) if arguments.simulated or not _has_gpus() else None
    if lively is not None:
        os.environ[SIMULATED_VARIABLE] = str(gpu_folder)
        lively.start()
    try:
        if arguments.no_screen:
            print(folder)
            if lively is not None:
                print(f"{SIMULATED_VARIABLE}={gpu_folder}")
            return 0
        from hitui.ui.app import run_dashboard

        return run_dashboard(build_services(str(folder)))
    finally:
        if lively is not None:
            lively.close()


def _folder(named: str | None) -> Path:
    """Absolute: the supervisor, which reads the GPUs of that folder too, works in another one."""
    if not named:
        return state_home() / "demo"
    return Path(named) if Path(named).is_absolute() else folder_of(None) / named


def _require_no_jobs(folder: Path) -> None:
    """Raises WorkspaceError while jobs run there: their results would be lost under them."""
    active = [job.id for job in build_services(str(folder)).jobs.read_once().jobs if job.active]
    if active:
        words = " ".join(map(str, active))
        raise WorkspaceError(
            f"{folder}: jobs are active in it; `hitui -w {folder} stop {words}` first, then write it anew"
        )


def _has_gpus() -> bool:
    """Whether the machine's own driver answers with at least one GPU."""
    return bool(GpuMonitor(lambda: make_source("nvml")).read_once().gpus)
