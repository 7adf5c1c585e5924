"""Looks at paths that may lie where this user may not look, or that no path can be. `Path.is_file` and its like
raise there.
"""

from __future__ import annotations

import os
from pathlib import Path

_POINTER = b"version https://git-lfs"
"""How a file begins that stands for another one (Git LFS, pointer specification)."""
IS_POINTER = "is a Git LFS pointer; `git lfs pull` brings what it stands for"


def is_pointer(content: bytes) -> bool:
    """Whether this, or what begins so, is no content but says where it is to be had: see IS_POINTER."""
    return content.startswith(_POINTER)


def is_file(path: Path) -> bool:
    """Whether it is a file; False also where that cannot be told."""
    return os.path.isfile(path)  # noqa: PTH113 - the method raises PermissionError


def is_dir(path: Path) -> bool:
    """Whether it is a folder; False also where that cannot be told."""
    return os.path.isdir(path)  # noqa: PTH112 - the method raises PermissionError


def can_be_entered(path: Path) -> bool:
    """Whether it is a folder whose files this user may open."""
    return is_dir(path) and os.access(path, os.X_OK)
