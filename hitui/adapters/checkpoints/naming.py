"""What the names of folders say: which config a folder belongs to, its modality and its table format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hitui.domain.configs import MODALITIES, TABLE_FORMATS

_SUFFIX = re.compile(r"(?:^|_)(?:shard\d+|sc|merged)$")
"""Folders of the same config: X_shard0 (a part), X_sc (a rerun of one question type), X_merged."""


def bare_location(folder: Path) -> Path:
    """Where the config of a results folder lies: its own path without the suffixes of parts.

    X_shard0, X_sc, X_merged, X_merged/X_shard0 and X/X_shard0 all belong to X.
    """
    name = _bare(folder.name)
    parent = folder.parent
    if not name:
        return bare_location(parent) if parent.name else folder
    is_part = name != folder.name
    if is_part and _bare(parent.name) == name:
        return parent.parent / name
    return parent / name


def _bare(name: str) -> str:
    while True:
        shorter = _SUFFIX.sub("", name)
        if shorter == name:
            return name
        name = shorter


def short_names(locations: Iterable[Path]) -> dict[Path, str]:
    """Location → GROUP/FOLDER, with as many parents more as it takes where two would be equal."""
    names: dict[Path, str] = {}
    depth = dict.fromkeys(locations, 2)
    while True:
        by_name: dict[str, list[Path]] = {}
        for location, parts in depth.items():
            names[location] = "/".join(location.parts[-parts:]).lstrip("/")
            by_name.setdefault(names[location], []).append(location)
        equal = [
            location
            for group in by_name.values()
            if len(group) > 1
            for location in group
            if depth[location] < len(location.parts)
        ]
        if not equal:
            return names
        for location in equal:
            depth[location] += 1


def modality_and_format(texts: Iterable[str]) -> tuple[str | None, str | None]:
    """What texts such as `Qwen3-VL-8B-Instruct_mix_json_default` say, the first that tells wins.

    An image config has no format.
    """
    modality = table_format = None
    for text in texts:
        tokens = re.split(r"[^a-z0-9]+", text.lower())
        places = [place for place, token in enumerate(tokens) if token in MODALITIES]
        # `text_image_html` is about images: of several, the one before the format, else the first.
        before_format = [
            place for place in places if tokens[place + 1 : place + 2] and tokens[place + 1] in TABLE_FORMATS
        ]
        if modality is None and places:
            modality = tokens[(before_format or places)[0]]
        if table_format is None:
            table_format = next((token for token in tokens if token in TABLE_FORMATS), None)
    return modality, None if modality == "image" else table_format
