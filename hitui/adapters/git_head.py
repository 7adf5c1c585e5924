"""Which commit a folder stands at, read from the files of its repository; git itself is not run.

The layout is that of gitrepository-layout(5): `.git` is a folder, or in worktrees and submodules a file that
names one; `HEAD` holds a commit or the name of a branch, whose commit stands in a file of that name or in
`packed-refs`, in worktrees those of the folder that `commondir` names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_COMMIT = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LARGEST = 1 << 24
"""Bytes; a file of references beyond that is not read."""


class Head(NamedTuple):
    commit: str
    """Empty: nothing was committed yet."""
    branch: str
    """Empty: none is checked out."""


def read_head(folder: Path) -> Head | None:
    """The head of the repository that `folder` lies in; None: in none, or in one that cannot be read."""
    for above in (folder, *folder.parents):
        entry = above / ".git"
        try:
            if entry.is_dir():
                return _read(entry)
            if entry.is_file():
                named = _text(entry).removeprefix("gitdir:").strip()
                return _read(above / named)
        except (OSError, ValueError):
            return None
    return None


def _read(repository: Path) -> Head:
    said = _text(repository / "HEAD").strip()
    if not said.startswith("ref:"):
        return Head(_commit(said), "")
    reference = said.removeprefix("ref:").strip()
    branch = reference.removeprefix("refs/heads/")
    common = repository
    if (repository / "commondir").is_file():
        common = repository / _text(repository / "commondir").strip()
    for place in (repository, common):
        if ".." not in reference.split("/") and (place / reference).is_file():
            return Head(_commit(_text(place / reference).strip()), branch)
    packed = common / "packed-refs"
    for line in _text(packed).splitlines() if packed.is_file() else ():
        commit, _, name = line.partition(" ")
        if name == reference:
            return Head(_commit(commit), branch)
    return Head("", branch)


def _commit(text: str) -> str:
    if _COMMIT.fullmatch(text) is None:
        raise ValueError("no commit")
    return text


def _text(path: Path) -> str:
    if not path.is_file():
        # A pipe would be waited for, and a repository is looked for in folders above too, where others may write.
        raise ValueError("no file")
    with path.open("rb") as file:
        return file.read(_LARGEST).decode()
