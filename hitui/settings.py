"""`hitui.toml`: what it may say, read strictly.

Every key is checked: an unknown one is refused with the file, the key and the nearest known one; a value
of the wrong kind with what was expected. Sizes and times carry units. Relative paths are relative to the
file. Settings are values that are handed on, never a global.
"""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hitui.domain.configs import MODALITIES, TABLE_FORMATS
from hitui.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGINES = ("transformers", "demo")
PLACEHOLDERS = (
    "name",
    "modality",
    "format",
    "ids",
    "ids_file",
    "output",
    "questions",
    "data",
    "model",
    "gpus",
)
"""What a runner's `command` may hold in braces."""
CONFIG_KINDS = ("realhitbench", "hf_trainer", "line_count", "file_set")

_SIZE_UNITS = {"B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _SIZE_UNITS[f"{_letter}B"] = 1000**_power
    _SIZE_UNITS[f"{_letter}iB"] = 1024**_power
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class WorkspaceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    results: list[str] = []
    """Folders below which results are looked for; empty: the whole workspace."""
    questions: str | None = None
    """The question list; None: the one that the results fit is looked for."""
    data: str | None = None
    """The folder with `csv/`, `html/`, …, `image/`, `tables/`; None: looked for beside the questions."""
    runner: str | None = None
    """Runner of the configs that name none; None: the only one there is, if there is only one."""


class GpuSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exclude: list[int] = []
    min_free: str = "20GiB"
    max_utilization: int = 10
    hold: str = "10s"

    @property
    def min_free_bytes(self) -> int:
        return parse_size(self.min_free)

    @property
    def hold_seconds(self) -> float:
        return parse_duration(self.hold)


class RunnerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[runner.NAME]`: ours (`engine`) or anyone's (`command`), never both."""

    engine: str | None = None
    python: str | None = None
    model: str | None = None
    prompts: str | None = None
    """Folder or file of the benchmark's own prompts, read as literals; None: our wording."""
    max_input_tokens: int | None = None
    max_new_tokens: int | None = None
    command: list[str] | None = None
    cwd: str | None = None
    env: dict[str, str] = {}
    min_free: str | None = None
    """Free memory that a GPU needs for it; None: `[gpus] min_free`. `0B`: it needs no GPU."""


class ConfigSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    kind: str = "realhitbench"
    runner: str | None = None
    modality: str | None = None
    format: str | None = None
    output: str | None = None
    """Folder that runs write into; None: the discovered folder of that name, else below the first
    results folder."""
    folders: list[str] = []
    """More folders that are read together with `output`."""
    min_free: str | None = None
    total: int | None = None
    """How many lines or files there should be (`line_count`, `file_set`)."""
    pattern: str | None = None
    """Which files are counted, as a glob below `output` (`line_count`, `file_set`)."""


class MatrixSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[matrix.GROUP]`: one config for each modality times format, named GROUP/MODALITY_FORMAT."""

    modality: list[str]
    runner: str | None = None
    format: list[str] = []
    min_free: str | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    workspace: WorkspaceSettings = WorkspaceSettings()
    gpus: GpuSettings = GpuSettings()
    runner: dict[str, RunnerSettings] = {}
    config: list[ConfigSettings] = []
    matrix: dict[str, MatrixSettings] = {}


class Settings(msgspec.Struct, frozen=True):
    """The settings of one workspace; with no file, all defaults."""

    root: Path
    """The workspace, absolute."""
    file: Path | None = None
    """None: there is no `hitui.toml`."""
    workspace: WorkspaceSettings = WorkspaceSettings()
    gpus: GpuSettings = GpuSettings()
    runners: dict[str, RunnerSettings] = {}
    configs: tuple[ConfigSettings, ...] = ()
    """Declared ones, matrices unfolded."""

    def path(self, text: str) -> Path:
        """A path of the file, made absolute."""
        expanded = Path(text).expanduser()
        return expanded if expanded.is_absolute() else self.root / expanded

    @property
    def default_runner(self) -> str | None:
        if self.workspace.runner is not None:
            return self.workspace.runner
        return next(iter(self.runners)) if len(self.runners) == 1 else None

    def min_free_bytes(self, config: str, runner: str | None) -> int:
        """Free bytes that a GPU must have for this config: its own, its runner's, the workspace's."""
        declared = next((entry for entry in self.configs if entry.name == config), None)
        if declared is not None and declared.min_free is not None:
            return parse_size(declared.min_free)
        settings = self.runners.get(runner) if runner else None
        if settings is not None and settings.min_free is not None:
            return parse_size(settings.min_free)
        return self.gpus.min_free_bytes


def parse_size(text: str) -> int:
    """Bytes of `20GiB`, `500MB`, `1.5 TiB`. Raises ValueError without a known unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)\s*", text)
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError(f"a size with its unit is expected, such as 20GiB or 500MB, not {text!r}")
    return int(float(match[1]) * _SIZE_UNITS[match[2]])


def parse_duration(text: str) -> float:
    """Seconds of `10s`, `1h30m`, `2 min`. Raises ValueError without units."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhd])", text)
    rest = re.sub(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhd])", "", text)
    if not parts or rest.strip():
        raise ValueError(f"a time with its unit is expected, such as 10s or 1h30m, not {text!r}")
    return sum(float(number) * _TIME_UNITS[unit] for number, unit in parts)


def load_settings(root: Path, file: Path | None) -> Settings:
    """Settings of the workspace `root`. Raises SettingsError with file, key and mend."""
    if file is None:
        return Settings(root=root)
    if not file.is_file():
        raise SettingsError(
            f"{file}: is no regular file, or leads nowhere; put the settings there, or remove it"
        )
    try:
        # Editors on other systems put a byte order mark before the text.
        data = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: is not valid TOML: {error}") from error
    parsed = _convert(file, data)
    settings = Settings(
        root=root,
        file=file,
        workspace=parsed.workspace,
        gpus=parsed.gpus,
        runners=parsed.runner,
        configs=tuple(itertools.chain(parsed.config, _unfold(parsed.matrix))),
    )
    _check(file, settings, parsed.matrix)
    return settings


_T = TypeVar("_T", bound=msgspec.Struct)


def _convert(file: Path, data: dict[str, Any]) -> _File:
    _refuse_unknown(file, "", data, _File)
    sections: tuple[tuple[str, type[msgspec.Struct]], ...] = (
        ("workspace", WorkspaceSettings),
        ("gpus", GpuSettings),
    )
    for section, struct in sections:
        _refuse_unknown(file, section, data.get(section), struct)
    for section, struct in (("runner", RunnerSettings), ("matrix", MatrixSettings)):
        table = data.get(section)
        if isinstance(table, dict):
            for name, entry in table.items():
                _refuse_unknown(file, f"{section}.{name}", entry, struct)
    entries = data.get("config")
    if isinstance(entries, list):
        for number, entry in enumerate(entries, start=1):
            named = entry.get("name") if isinstance(entry, dict) else None
            _refuse_unknown(file, f"config {named or f'number {number}'}", entry, ConfigSettings)
    try:
        return msgspec.convert(data, _File)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{file}: {_readable(str(error))}") from error


def _refuse_unknown(file: Path, section: str, table: object, struct: type[msgspec.Struct]) -> None:
    if not isinstance(table, dict):
        return
    known = struct.__struct_fields__
    for key in table:
        if key not in known:
            raise SettingsError(
                f"{file}: {f'[{section}] ' if section else ''}unknown key {key!r}; {_nearest(key, known)}"
            )


def _near(key: str, known: tuple[str, ...]) -> str | None:
    """The known name that was most likely meant; None: none is near."""
    # Only a mistake needs it, and the screen's first paint waits for the settings.
    import difflib

    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.5)), None)


def _nearest(key: str, known: tuple[str, ...]) -> str:
    near = _near(key, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return "known are " + ", ".join(sorted(known)) if known else "there is none yet"


def _readable(message: str) -> str:
    """`Expected `int`, got `str` - at `$.gpus.max_utilization`` with the key put first."""
    match = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*)`)?", message, re.DOTALL)
    if match is None or not match[2]:
        return message
    return f"{match[2].replace('[...]', '')}: {match[1][0].lower()}{match[1][1:]}"


def _unfold(matrices: dict[str, MatrixSettings]) -> list[ConfigSettings]:
    configs = []
    for group, matrix in matrices.items():
        for modality in matrix.modality:
            formats: list[str | None] = [None] if modality == "image" else list(matrix.format)
            configs += [
                ConfigSettings(
                    name=f"{group}/{modality}" + (f"_{table_format}" if table_format else ""),
                    runner=matrix.runner,
                    modality=modality,
                    format=table_format,
                    min_free=matrix.min_free,
                )
                for table_format in formats
            ]
    return configs


def _check(file: Path, settings: Settings, matrices: dict[str, MatrixSettings]) -> None:
    def refuse(where: str, what: str) -> None:
        raise SettingsError(f"{file}: {where}: {what}")

    def one_of(where: str, value: str | None, known: tuple[str, ...]) -> None:
        if value is not None and value not in known:
            refuse(where, f"{value!r} is not known; {_nearest(value, known)}")

    def size(where: str, text: str | None) -> None:
        if text is not None:
            try:
                parse_size(text)
            except ValueError as error:
                refuse(where, str(error))

    size("[gpus] min_free", settings.gpus.min_free)
    try:
        parse_duration(settings.gpus.hold)
    except ValueError as error:
        refuse("[gpus] hold", str(error))
    if any(index < 0 for index in settings.gpus.exclude):
        refuse("[gpus] exclude", f"indices from 0 on are expected, not {min(settings.gpus.exclude)}")
    if not 0 <= settings.gpus.max_utilization <= 100:
        refuse(
            "[gpus] max_utilization",
            f"a percentage from 0 to 100 is expected, not {settings.gpus.max_utilization}",
        )
    for name, runner in settings.runners.items():
        where = f"[runner.{name}]"
        if (runner.engine is None) == (runner.command is None):
            refuse(
                where, "either engine (ours) or command (yours, a list of arguments) is needed, and not both"
            )
        if runner.command is not None and not runner.command:
            refuse(where, "command is empty; name the program and its arguments")
        one_of(f"{where} engine", runner.engine, ENGINES)
        if runner.engine == "transformers" and runner.model is None:
            refuse(where, "engine 'transformers' needs model, the folder of the model")
        size(f"{where} min_free", runner.min_free)
        for key in ("max_input_tokens", "max_new_tokens"):
            number = getattr(runner, key)
            if number is not None and number < 1:
                refuse(f"{where} {key}", f"a number from 1 on is expected, not {number}")
        for argument in runner.command or ():
            for name in re.findall(r"\{([a-z_]+)\}", argument):
                # Braces may mean something to the program; only what looks like a slip is refused.
                if name not in PLACEHOLDERS and _near(name, PLACEHOLDERS):
                    refuse(f"{where} command", f"{{{name}}} is not known; {_nearest(name, PLACEHOLDERS)}")
    for group, matrix in matrices.items():
        where = f"[matrix.{group}]"
        for modality in matrix.modality:
            one_of(f"{where} modality", modality, MODALITIES)
        for table_format in matrix.format:
            one_of(f"{where} format", table_format, TABLE_FORMATS)
        if not matrix.modality:
            refuse(where, "modality is empty; name one of " + ", ".join(MODALITIES))
        if not matrix.format and set(matrix.modality) != {"image"}:
            refuse(where, "format is needed for text and mix; name some of " + ", ".join(TABLE_FORMATS))
    known_runners = tuple(settings.runners)
    one_of("[workspace] runner", settings.workspace.runner, known_runners)
    seen: set[str] = set()
    for config in settings.configs:
        where = f"[[config]] {config.name!r}"
        if config.name in seen:
            refuse(where, "two configs have this name; rename one")
        seen.add(config.name)
        if config.name.startswith("/") or ".." in Path(config.name).parts or not config.name.strip():
            refuse(where, "a name may not be empty, start with / or hold ..")
        one_of(f"{where} kind", config.kind, CONFIG_KINDS)
        one_of(f"{where} runner", config.runner, known_runners)
        one_of(f"{where} modality", config.modality, MODALITIES)
        one_of(f"{where} format", config.format, TABLE_FORMATS)
        size(f"{where} min_free", config.min_free)
