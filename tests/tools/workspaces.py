"""Workspaces for tests: a writable copy of the real one where it is present, or the demo's."""

from __future__ import annotations

import shutil
from pathlib import Path

from hitui.demo.workspace import create_workspace
from tests.tools.real_data import real_data


def copy_real(folder: Path, source: Path) -> Path:
    """A writable copy of the results and question lists; tables are linked, for nothing writes into them."""
    shutil.copytree(source / "result", folder / "result")
    (folder / "data").mkdir()
    for entry in (source / "data").iterdir():
        if entry.is_dir():
            (folder / "data" / entry.name).symlink_to(entry, target_is_directory=True)
        else:
            shutil.copyfile(entry, folder / "data" / entry.name)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def complete_dataset(folder: Path, source: Path) -> None:
    """Makes the dataset of a copied workspace name for name what `FILES.txt` lists, with empty files."""
    data = folder / "data"
    for entry in data.iterdir():
        if entry.is_symlink():
            entry.unlink()
    for name in (source / "data" / "FILES.txt").read_text(encoding="utf-8").splitlines():
        path = data / name
        if "/" in name:
            path.parent.mkdir(exist_ok=True)
            path.touch()


def real_or_made_up_workspace(folder: Path) -> Path:
    source = real_data()
    if source is None:
        create_workspace(folder)
        return folder
    folder.mkdir(parents=True)
    return copy_real(folder, source)
