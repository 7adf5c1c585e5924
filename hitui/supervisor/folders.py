"""Folders that only their owner may enter: sockets, logs and environments of jobs lie in them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hitui.errors import SupervisorError


def private_folder(path: Path, variable: str) -> None:
    """Makes sure that `path` is a folder of ours that no one else can enter. Raises SupervisorError, which
    names the environment `variable` that puts it elsewhere.

    On a shared machine another user may have put something in the place of a folder below /tmp.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise SupervisorError(f"{path}: is not a folder of yours; set {variable} to one that is")
        if status.st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise SupervisorError(
            f"{path}: {error.strerror}; runtime state needs a local folder that you can write: set {variable}"
        ) from error
