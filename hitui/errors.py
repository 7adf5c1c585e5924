"""Everything that hitui itself raises.

    HituiError
    ├── SettingsError      hitui.toml says something that cannot be meant
    ├── WorkspaceError     a folder, question list or result file cannot be used
    ├── NoSuchName         no such config or job
    ├── SupervisorError    the supervisor cannot be reached, or refused
    └── LaunchError        a job cannot be started as asked

Each carries one line for the user: what is wrong, where, and the mend.
"""

from __future__ import annotations


class HituiError(Exception):
    """One line for stderr; `exit_status` is what the command ends with."""

    exit_status = 1


class SettingsError(HituiError):
    """`hitui.toml` is refused: the message names file, key and the nearest known key."""


class WorkspaceError(HituiError):
    """A folder or file of the workspace cannot be used."""


class NoSuchName(HituiError):
    """No config or job of that name."""

    exit_status = 3


class SupervisorError(HituiError):
    """The supervisor did not answer, or refused."""


class LaunchError(HituiError):
    """A job cannot be started as asked."""
