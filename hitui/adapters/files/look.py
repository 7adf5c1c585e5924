"""Looks at paths that may lie where this user may not look. `Path.is_file` and its like raise there."""

from __future__ import annotations

import os
from pathlib import Path


def is_file(path: Path | str) -> bool:
    """Whether it is a file; False also where that cannot be told."""
    return os.path.isfile(path)  # noqa: PTH113 - the method raises PermissionError


def is_dir(path: Path | str) -> bool:
    """Whether it is a folder; False also where that cannot be told."""
    return os.path.isdir(path)  # noqa: PTH112 - the method raises PermissionError
