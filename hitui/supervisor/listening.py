"""Where a supervisor listens, and how it is found: its socket, and a link to that in the state folder.

Two environments of one user may name different folders for sockets: cron, `su` and containers know nothing of a login's,
and that is not there before the first login and after the last one. The state folder is the same in all.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from msgspec.structs import replace

from hitui.errors import SupervisorError
from hitui.paths import RuntimePaths
from hitui.supervisor.client import SupervisorClient, socket_address
from hitui.supervisor.folders import private_folder


class SupervisorSocket:
    """The socket of one supervisor. Only the holder of the supervisor's lock may make one: it replaces what is there, unless
    someone listens."""

    def __init__(self, paths: RuntimePaths) -> None:
        self._paths = paths
        self._place = paths.socket

    def open(self) -> socket.socket:
        """Listens where the paths say, or in the temporary folder where there is no folder for sockets. Raises
        SupervisorError and OSError."""
        self._place = self._paths.socket
        try:
            _make_folders(self._place)
        except SupervisorError:
            if self._paths.has_runtime_home:
                raise
            self._place = self._paths.socket_elsewhere
            _make_folders(self._place)
        self._check_free()
        listener = _listen(self._place)
        _link(self._paths.socket_link, self._place)
        return listener

    def _check_free(self) -> None:
        """Raises SupervisorError where another supervisor listens: the lock that keeps them apart lies in the state folder,
        and two of one workspace, which see nothing of each other's jobs, run a config twice."""
        try:
            # One that is being killed may still take a connection, and does not answer.
            pid = SupervisorClient(replace(self._paths, runtime=self._place.parent)).status()["pid"]
        except SupervisorError:
            return
        raise SupervisorError(
            f"{self._place}: process {pid} listens there, a supervisor of this workspace with another state folder than "
            f"{self._paths.state}; set HOME and XDG_STATE_HOME as it has them, or end it, its jobs go on"
        )

    def is_there(self) -> bool:
        """Whether it can be found: all folders for sockets may be cleared away at any time."""
        return self._place.exists()

    def remove(self) -> None:
        for path in (self._place, self._paths.socket_link):
            with contextlib.suppress(OSError):
                path.unlink()


def _make_folders(place: Path) -> None:
    private_folder(place.parent.parent, "XDG_RUNTIME_DIR")
    private_folder(place.parent, "XDG_RUNTIME_DIR")


def _listen(place: Path) -> socket.socket:
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_address(place) as address:
        listener.bind(address)
    place.chmod(0o600)
    listener.listen(64)
    listener.setblocking(False)
    return listener


def _link(link: Path, place: Path) -> None:
    beside = link.with_name(f"{link.name}.{os.getpid()}")
    # On a full disk it is found by whoever has the same folder for sockets, as most have.
    with contextlib.suppress(OSError):
        beside.unlink(missing_ok=True)
        beside.symlink_to(place)
        beside.replace(link)
