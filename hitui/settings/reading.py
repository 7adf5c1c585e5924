"""Reads `hitui.toml` into settings: TOML, known keys, values of the right kind, in messages of the file's words."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from hitui.decoding import convert
from hitui.errors import SettingsError
from hitui.settings.checks import check, nearest
from hitui.settings.values import (
    ChartSettings,
    ConfigSettings,
    GpuSettings,
    HistorySettings,
    JudgeSettings,
    MatrixSettings,
    NotifySettings,
    QueueSettings,
    RunnerSettings,
    Settings,
    SettingsFile,
    WorkspaceSettings,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_settings(root: Path, file: Path | None) -> Settings:
    """Settings of the workspace `root`. Raises SettingsError with file, key and mend."""
    if file is None:
        return Settings(root=root)
    try:
        if not file.is_file():
            raise SettingsError(
                f"{file}: is no regular file, or leads nowhere; put the settings there, or remove it"
            )
        # Editors on other systems put a byte order mark before the text.
        data = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except RecursionError as error:
        raise SettingsError(f"{file}: is not valid TOML: it is nested too deep") from error
    except ValueError as error:
        # TOMLDecodeError is one; a number of thousands of digits is refused by `int` itself.
        raise SettingsError(f"{file}: is not valid TOML: {error}") from error
    parsed = _convert(file, data)
    settings = Settings(
        root=root,
        file=file,
        workspace=parsed.workspace,
        gpus=parsed.gpus,
        queue=parsed.queue,
        history=parsed.history,
        notify=parsed.notify,
        judge=parsed.judge,
        charts=parsed.charts,
        runners=parsed.runner,
        configs=tuple(config for _, config in parsed.named_configs()),
    )
    check(file, settings, parsed)
    return settings


def _convert(file: Path, data: dict[str, Any]) -> SettingsFile:
    _refuse_unknown(file, "", data, SettingsFile)
    for where, table, kind, written in _tables(data):
        if kind is not list:
            _refuse_unknown(file, where, table, kind)
        try:
            convert(table, kind)
        except msgspec.ValidationError as error:
            mend = f"; write {written}" if kind is list or not isinstance(table, dict) else ""
            raise SettingsError(f"{file}: [{where}]{_readable(str(error))}{mend}") from error
        _refuse_no_name(f"{file}: [{where}]", where)
        for key, value in table.items():
            for text in _texts(value):
                _refuse_no_name(f"{file}: [{where}] {key}", text)
    return convert(data, SettingsFile)


def _tables(data: dict[str, Any]) -> list[tuple[str, Any, Any, str]]:
    """Each table of the file: its name in messages, the table, what it must be, how such a one is written."""
    tables: list[tuple[str, Any, Any, str]] = [
        (section, data[section], kind, f"[{section}]")
        for section, kind in (
            ("workspace", WorkspaceSettings),
            ("gpus", GpuSettings),
            ("queue", QueueSettings),
            ("history", HistorySettings),
            ("notify", NotifySettings),
            ("judge", JudgeSettings),
            ("charts", ChartSettings),
        )
        if section in data
    ]
    for section, kind, name in (("runner", RunnerSettings, "NAME"), ("matrix", MatrixSettings, "GROUP")):
        named = data.get(section, {})
        own = named if isinstance(named, dict) else {"": named}
        tables += [
            (f"{section}.{key}".strip("."), entry, kind, f"[{section}.{name}]") for key, entry in own.items()
        ]
    entries = data.get("config", [])
    if not isinstance(entries, list):
        return [*tables, ("config", entries, list, "[[config]]")]
    for number, entry in enumerate(entries, start=1):
        called = (entry.get("name") if isinstance(entry, dict) else None) or f"number {number}"
        tables.append((f"config {called}", entry, ConfigSettings, "[[config]]"))
    return tables


def _texts(value: object) -> Iterator[str]:
    """Every text in a value, the keys of tables too."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield from _texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from _texts(below)
    elif isinstance(value, str):
        yield value


def _refuse_no_name(where: str, text: str) -> None:
    """Nearly every text comes to be part of a file's name, an argument or a variable."""
    if "\0" in text:
        raise SettingsError(f"{where}: holds a NUL character, as no file's name can")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        # Only where the locale is not one of UTF-8.
        raise SettingsError(
            f"{where}: holds {text[error.start]!r}, as no file's name can in this locale ({error.encoding});"
            " set LC_ALL=C.UTF-8"
        ) from error


def _refuse_unknown(file: Path, section: str, table: object, struct: type[msgspec.Struct]) -> None:
    if not isinstance(table, dict):
        return
    known = struct.__struct_fields__
    for key in table:
        if key not in known:
            where = f"[{section}] " if section else ""
            raise SettingsError(f"{file}: {where}unknown key {key!r}; {nearest(key, known)}")


_WORDS = {
    "int": "a whole number",
    "float": "a fraction",
    "bool": "true or false",
    "str": "a text",
    "array": "a list",
    "object": "a table",
}
_EXAMPLES = {
    "hold": ' (such as "10s")',
    "stall": ' (such as "30m")',
    "keep": ' (such as "90d")',
    "min_free": ' (such as "20GiB")',
}


def _readable(message: str) -> str:
    """`Expected `int`, got `str` - at `$.exclude[0]`` in this file's words, the key put first."""
    what, _, place = message.partition(" - at `$")
    key = place.strip(".`").replace("[...]", "")
    lacking = re.search("missing required field (`.*`)", what)
    if lacking is not None:
        return f": {lacking[1]} is needed"
    expected, got = re.findall(r"`(\w+)", what)
    wanted = f"{_WORDS[expected]} is expected{_EXAMPLES.get(key, '')}"
    return f"{' ' if key else ''}{key}: {wanted}, not {_WORDS.get(got, f'a {got}')}"
