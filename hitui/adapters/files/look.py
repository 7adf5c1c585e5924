"""Looks at paths that may lie where this user may not look. `Path.is_file` and its like raise there."""

from __future__ import annotations

import os
from pathlib import Path

Identity = tuple[int, int]
"""Device and inode: which folder a path is, whatever it is called."""


def is_file(path: Path | str) -> bool:
    """Whether it is a file; False also where that cannot be told."""
    return os.path.isfile(path)  # noqa: PTH113 - the method raises PermissionError


def is_dir(path: Path | str) -> bool:
    """Whether it is a folder; False also where that cannot be told."""
    return os.path.isdir(path)  # noqa: PTH112 - the method raises PermissionError


def identity_of(folder: Path | str) -> Identity | None:
    """None when there is nothing, or that cannot be told."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - takes text as well
    except OSError:
        return None
    return status.st_dev, status.st_ino


def can_be_listed(folder: Path | str) -> bool:
    """Whether it is a folder whose entries can be read now."""
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True
