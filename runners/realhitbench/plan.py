"""A plan: several configs for one launch, so that the model is loaded once.

    {"configs": [{"name": "g/text_html", "modality": "text", "format": "html", "output": "DIR",
                  "ids": [1, 2] | "ids_file": "FILE", "earlier": ["DIR", …]}, …]}

`format` is absent for image, `ids` or `ids_file` where all tasks are meant; `earlier` are more folders with
results of the config, which are read and never written. Everything else is said once, by options.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitui_runners.errors import RunnerError, SetupError, setup_error
from hitui_runners.realhitbench.questions import MODALITIES, TABLE_FORMATS

KEYS = ("name", "modality", "format", "output", "ids", "ids_file", "earlier")


@dataclass(frozen=True)
class PlannedConfig:
    """One config to run."""

    name: str | None
    """None: the only one, given by options."""
    modality: str
    table_format: str | None
    """Key of TABLE_FORMATS; None for image."""
    output: Path
    ids: frozenset[str] | None = None
    """As text, so that `5` from a command line finds 5 and "5"; None: all."""
    earlier: tuple[Path, ...] = ()
    """More folders with results of this config; only read."""


def config_of_options(arguments: argparse.Namespace) -> PlannedConfig:
    """The one config that the options give. Raises RunnerError."""
    ids = None
    if arguments.ids is not None:
        ids = frozenset(filter(None, (identifier.strip() for identifier in arguments.ids.split(","))))
    elif arguments.ids_file is not None:
        ids = _ids_in(arguments.ids_file)
    return PlannedConfig(
        None, arguments.modality, arguments.format, arguments.output, ids, tuple(arguments.earlier)
    )


def read_plan(path: Path, refuse: Callable[[str | None, str], None]) -> tuple[PlannedConfig, ...]:
    """The configs of the plan in `path`, in its order. Raises RunnerError where the file is of no use.

    An entry that cannot be meant is told to `refuse` (its name, if it has one, and a line), and left out.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise setup_error(f"{path}: the plan cannot be read: {error.strerror}; see --plan", error) from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: the plan is no JSON: {error}") from error
    entries = data.get("configs") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise SetupError(f'{path}: an object with a list "configs" that is not empty is expected')
    configs: list[PlannedConfig] = []
    names: set[str] = set()
    outputs: dict[Path, str] = {}
    for number, entry in enumerate(entries, start=1):
        name = entry.get("name") if isinstance(entry, dict) else None
        known = name if isinstance(name, str) and name else None
        try:
            config = _config(entry)
            if known in names:
                raise SetupError("a config before it has the same name; give each its own")
            output = config.output.resolve()
            if output in outputs:
                raise SetupError(f"{config.output}: {outputs[output]} writes there; give each its own output")
        except RunnerError as error:
            refuse(known, str(error) if known else f"{path}: config number {number}: {error}")
            continue
        names.add(str(config.name))
        outputs[output] = str(config.name)
        configs.append(config)
    return tuple(configs)


def _config(entry: Any) -> PlannedConfig:
    """Raises RunnerError, with a line that names the key."""
    if not isinstance(entry, dict):
        raise SetupError(f"an object with the keys {', '.join(KEYS)} is expected")
    if unknown := sorted(map(str, entry.keys() - set(KEYS))):
        raise SetupError(f"unknown key {', '.join(unknown)}; known are {', '.join(KEYS)}")
    name, output = _text(entry, "name"), _text(entry, "output")
    modality, table_format = entry.get("modality"), entry.get("format")
    if modality not in MODALITIES:
        raise SetupError(f"modality: one of {', '.join(MODALITIES)} is expected, not {modality!r}")
    if modality == "image":
        table_format = None
    elif not isinstance(table_format, str) or table_format not in TABLE_FORMATS:
        raise SetupError(f"format: one of {', '.join(TABLE_FORMATS)} is expected, not {table_format!r}")
    if "ids" in entry and "ids_file" in entry:
        raise SetupError("ids and ids_file: give one of them")
    ids = None
    if "ids" in entry:
        if not isinstance(entry["ids"], list):
            raise SetupError("ids: a list is expected")
        ids = frozenset(map(str, entry["ids"]))
    elif "ids_file" in entry:
        ids = _ids_in(Path(_text(entry, "ids_file")))
    earlier = entry.get("earlier", [])
    if not isinstance(earlier, list) or not all(isinstance(folder, str) for folder in earlier):
        raise SetupError("earlier: a list of folders is expected")
    return PlannedConfig(name, modality, table_format, Path(output), ids, tuple(map(Path, earlier)))


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise SetupError(f"{key}: a text is expected, not {value!r}")
    return value


def _ids_in(path: Path) -> frozenset[str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise setup_error(f"{path}: the ids cannot be read: {error.strerror}", error) from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: the ids are no JSON: {error}") from error
    ids = data.get("ids") if isinstance(data, dict) else None
    if not isinstance(ids, list):
        raise SetupError(f'{path}: an object with a list "ids" is expected')
    return frozenset(str(identifier) for identifier in ids)
