"""Opens a workspace for commands on jobs: what runs there can be seen and ended while its `hitui.toml` is broken."""

from __future__ import annotations

from hitui.commands.saying import warn
from hitui.errors import SettingsError
from hitui.factory import Services, build_services, folder_of
from hitui.paths import find_workspace
from hitui.settings import Settings


def open_for_jobs(workspace: str | None) -> Services:
    """As `build_services`; settings that are refused are said on stderr, and those of a bare workspace stand in.

    For commands to which they do not matter. Raises WorkspaceError when there is no such folder.
    """
    try:
        return build_services(workspace)
    except SettingsError as error:
        warn(error)
        root, _ = find_workspace(folder_of(workspace))
        return Services(Settings(root=root))
