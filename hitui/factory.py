"""Wires the services of one workspace, once, for the screen and for every command.

Each service is made when it is first asked for: a command that lists configs pays neither for NVML nor
for the supervisor's client.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hitui.errors import WorkspaceError
from hitui.paths import RuntimePaths, find_workspace, kept_readings_home
from hitui.settings import Settings, load_settings

if TYPE_CHECKING:
    from hitui.adapters.gpus.monitor import GpuMonitor
    from hitui.services.jobs import JobsService
    from hitui.services.progress import ProgressService
    from hitui.services.workspace import WorkspaceService


class Services:
    """What screens and commands ask for, in one workspace. `close` ends what was made."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def paths(self) -> RuntimePaths:
        return RuntimePaths.of(self.settings.root)

    @cached_property
    def workspace(self) -> WorkspaceService:
        from hitui.services.workspace import WorkspaceService

        return WorkspaceService(self.settings, kept_readings_home())

    @cached_property
    def gpus(self) -> GpuMonitor:
        from hitui.adapters.gpus import open_source
        from hitui.adapters.gpus.monitor import GpuMonitor

        return GpuMonitor(open_source)

    @cached_property
    def jobs(self) -> JobsService:
        from hitui.services.jobs import JobsService

        return JobsService(self.settings, self.paths)

    @cached_property
    def progress(self) -> ProgressService:
        from hitui.services.progress import ProgressService

        return ProgressService()

    def use(self, settings: Settings) -> None:
        """From now on the workspace's settings are these."""
        self.settings = settings
        self.jobs.use(settings)

    def close(self) -> None:
        made = vars(self)
        for name in ("progress", "jobs", "gpus", "workspace"):
            if name in made:
                made[name].close()


def build_services(workspace: str | None = None) -> Services:
    """Services of the workspace that the folder `workspace` (None: here) belongs to.

    Raises WorkspaceError when there is no such folder, SettingsError when its `hitui.toml` is refused.
    """
    root, file = find_workspace(folder_of(workspace))
    return Services(load_settings(root, file))


def folder_of(workspace: str | None) -> Path:
    """The folder `workspace` (None: here), absolute. Raises WorkspaceError when there is no such folder."""
    folder = Path(workspace or "")
    if not folder.is_absolute():
        try:
            folder = Path.cwd() / folder
        except FileNotFoundError as error:
            raise WorkspaceError(
                "the folder that you are in is gone (removed, or replaced by another); "
                "go there again with cd, or give the workspace's folder with -w"
            ) from error
    if not os.path.isdir(folder):  # noqa: PTH112 - the method raises for a name that is too long
        raise WorkspaceError(f"{folder}: is not a folder; give the workspace's folder with -w")
    return folder
