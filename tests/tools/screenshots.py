"""`python -m tests.tools.screenshots FOLDER`: the pictures of the README, from the demo workspace as it runs.

The real program: its services, its supervisor, demo runners on simulated GPUs; only the terminal is not one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from hitui.adapters.gpus import SIMULATED_VARIABLE
from hitui.demo.gpus import LivelyGpus
from hitui.demo.workspace import create_workspace
from hitui.factory import build_services
from hitui.supervisor.client import SupervisorClient
from hitui.ui.app import Dashboard

WIDE, SMALL = (120, 36), (80, 24)
PATIENCE_SECONDS = 60.0


async def until(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    """Raises TimeoutError when it does not come about."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_SECONDS
    while not condition():
        if loop.time() > end:
            raise TimeoutError("the screen did not come to where the picture is taken")
        await pilot.pause(0.1)


def running(app: Dashboard) -> int:
    """How many jobs have told of a task or more."""
    active = {job.id for job in app.jobs_snapshot.jobs if job.active}
    return sum(1 for job, progress in app.progress.items() if job in active and (progress.done or 0) >= 3)


async def take(
    workspace: Path, pictures: Path, size: tuple[int, int], wanted: tuple[str, ...], prefix: str = ""
) -> None:
    services = build_services(str(workspace))
    app = Dashboard(services)

    def picture(name: str) -> None:
        if name not in wanted:
            return
        path = pictures / f"{prefix}{name}.svg"
        path.write_text(app.export_screenshot(title="hitui"), encoding="utf-8")
        print(path)  # noqa: T201 - a command

    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.workspace_snapshot is not None and not app.workspace_snapshot.scanning)
        await until(pilot, lambda: app.gpu_snapshot is not None)
        main = app.screen
        if not running(app):
            await pilot.press("R")
            await until(pilot, lambda: app.screen is not main)
            picture("launch")
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is main)
        await until(pilot, lambda: running(app) >= 2)
        await until(pilot, lambda: not app._notifications)
        runs = {
            name for job in app.jobs_snapshot.jobs if job.active and job.gpus for name in job.request.configs
        }
        assert app.workspace_snapshot is not None
        # The one of which there is most to be seen.
        most = max(
            (state for state in app.workspace_snapshot.configs if state.name in runs),
            key=lambda state: state.pending,
        )
        main.select_config(most.name)  # type: ignore[attr-defined]
        await pilot.pause(1.5)
        picture("main")
        await pilot.press("enter")
        await pilot.pause(1.0)
        picture("config")
        await pilot.press("escape")
        await pilot.press("question_mark")
        await pilot.pause(0.5)
        picture("help")
        await pilot.press("escape")
        await pilot.press("Q")
        await pilot.pause(1.0)
        picture("queue")
    app.close_services()


def main() -> int:
    pictures = Path(sys.argv[1])
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gpus = folder / "gpus"
        os.environ.update(
            {
                "XDG_CACHE_HOME": str(folder / "cache"),
                "XDG_STATE_HOME": str(folder / "state"),
                "XDG_RUNTIME_DIR": str(folder / "run"),
                "HITUI_GPU_LOCKS": str(folder / "locks"),
                SIMULATED_VARIABLE: str(gpus),
                "HITUI_DEMO_SECONDS": "0.6",
            }
        )
        workspace = folder / "demo"
        create_workspace(workspace)
        lively = LivelyGpus(gpus)
        lively.start()
        try:
            asyncio.run(take(workspace, pictures, WIDE, ("launch", "main", "config", "help", "queue")))
            asyncio.run(take(workspace, pictures, SMALL, ("main",), "small-"))
        finally:
            lively.close()
            client = SupervisorClient(build_services(str(workspace)).paths)
            jobs = [job.id for job in client.jobs().jobs if job.active]
            client.stop(jobs)
            client.stop(jobs)
            client.shut_down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
