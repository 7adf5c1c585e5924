"""Puts the configs that `hitui.toml` declares together with those that were discovered.

A folder is the same one whatever path leads to it: a declared `output` may be a link to discovered results. It
then has the path by which it was discovered, which is the one that is watched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from hitui.adapters.checkpoints.naming import modality_and_format
from hitui.adapters.files.look import Identity, identity_of, is_dir
from hitui.domain.configs import Config
from hitui.settings import ConfigSettings, Settings

_PART = re.compile(r"(.+)_(?:shard\d+|merged)")
"""What runs on several GPUs and merges call the folders that they make beside a config's output."""


def join_declared(
    settings: Settings, discovered: Sequence[Config], lost: Iterable[Path]
) -> tuple[Config, ...]:
    """All configs by name: discovered and declared, those of one name or one output folder as one.

    `lost`: folders that were listed before and cannot be now; discovered configs below them stay.
    """
    by_name = {config.name: config for config in discovered}
    by_output = {config.output: config for config in discovered}
    known = {_same(folder): folder for config in discovered for folder in config.folders}

    def place(declared_folder: str) -> str:
        folder = str(settings.path(declared_folder))
        return known.get(_same(folder), folder)

    declared: dict[str, Config] = {}
    listed: dict[Path, dict[str, list[str]]] = {}
    for entry in settings.configs:
        output = None if entry.output is None else place(entry.output)
        found = by_name.get(entry.name) if output is None else by_output.get(output)
        config = _declare(settings, entry, found, output, map(place, entry.folders))
        own = Path(config.output)
        if own.parent not in listed:
            listed[own.parent] = _parts_in(own.parent)
        parts = listed[own.parent].get(own.name, ())
        folders = tuple(dict.fromkeys((*config.folders, *map(place, parts))))
        declared[entry.name] = replace(config, folders=folders)
    taken = {folder for config in declared.values() for folder in config.folders}
    rest = {}
    for config in discovered:
        folders = tuple(folder for folder in config.folders if folder not in taken)
        left = any(
            is_dir(folder) or any(Path(folder).is_relative_to(above) for above in lost) for folder in folders
        )
        if left and config.name not in declared:
            rest[config.name] = replace(
                config,
                folders=folders,
                runner=settings.default_runner if _answers(config.kind) else None,
            )
    return tuple(sorted((*declared.values(), *rest.values()), key=lambda config: config.name))


def _declare(
    settings: Settings,
    entry: ConfigSettings,
    found: Config | None,
    output: str | None,
    more_folders: Iterable[str],
) -> Config:
    if output is None and found is not None:
        output = found.output
    elif output is None:
        output = str(settings.output(entry))
    folders = (output, *(found.folders if found else ()), *more_folders)
    kind = found.kind if found is not None and entry.kind == "realhitbench" else entry.kind
    modality = table_format = None
    if _answers(kind):
        modality, table_format = modality_and_format(reversed(entry.name.split("/")[-2:]))
    if found is not None:
        modality, table_format = found.modality or modality, found.table_format or table_format
    modality = entry.modality or modality
    return Config(
        name=entry.name,
        kind=kind,
        folders=tuple(dict.fromkeys(folders)),
        output=output,
        modality=modality,
        table_format=None if modality == "image" else entry.format or table_format,
        runner=entry.runner or (settings.default_runner if _answers(kind) else None),
        declared=True,
    )


def _parts_in(parent: Path) -> dict[str, list[str]]:
    """Name of an output in `parent` → its parts there, also where no walk leads and where that name is a part's."""
    parts: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(parent))  # noqa: PTH208 - names of thousands of folders, no paths
    except OSError:
        return parts
    for name in names:
        match = _PART.fullmatch(name)
        if match is not None and is_dir(parent / name):
            parts.setdefault(match[1], []).append(str(parent / name))
    return parts


def _same(folder: str) -> Identity | str:
    """What is equal for two paths to one folder, as far as that can be told."""
    return identity_of(folder) or os.path.realpath(folder)


def _answers(kind: str) -> bool:
    """Whether the workspace's own runner can run configs of this kind: it answers questions, no more."""
    return kind == "realhitbench"
