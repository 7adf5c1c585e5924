"""`hitui.toml`: what it may say, read strictly.

Every key is checked: an unknown one is refused with the file, the key and the nearest known one; a value
of the wrong kind with what was expected. Sizes and times carry units. Relative paths are relative to the
file. Settings are values that are handed on, never a global.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from hitui.domain.configs import MODALITIES, TABLE_FORMATS
from hitui.domain.notices import NOTICE_KINDS
from hitui.domain.units import parse_duration, parse_size
from hitui.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGINES = ("transformers", "demo")
PLACEHOLDERS = (
    "name", "modality", "format", "ids", "ids_file", "output", "questions", "data", "model", "gpus"
)  # fmt: skip
"""What a runner's `command` may hold in braces."""
CONFIG_KINDS = ("realhitbench", "hf_trainer", "line_count", "file_set")


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


class QueueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    retries: int = 2
    """How often a job that crashes is tried again."""
    retry_pause: str = "15s"
    """Before the first retry; each further pause is longer."""
    resume: bool = False
    """Whether jobs that a restart of the machine interrupted go on by themselves."""
    join: str = "30m"
    """Jobs that load the same model run in one process while together they take no longer; `0s`: never."""
    quick: str = "10s"
    """A job that fails within so long of its start died at once: two in a row stop their group."""
    stall: str = "30m"
    """A job without output, event line or use of its GPU for so long is taken for stalled; `never`."""
    restart_stalled: bool = False
    """Whether a stalled job is taken for crashed, and tried again."""
    pause_after_errors: int = 20
    """A job is paused after so many tasks that failed one after the other; 0: never."""
    gpu_lost: str = "30s"
    """A job is taken elsewhere when its GPU is lost for so long; `never`."""

    @property
    def retry_pause_seconds(self) -> float:
        return parse_duration(self.retry_pause)

    @property
    def join_seconds(self) -> float:
        return parse_duration(self.join)

    @property
    def quick_seconds(self) -> float:
        return parse_duration(self.quick)

    @property
    def stall_seconds(self) -> float | None:
        return _duration_or_never(self.stall)

    @property
    def gpu_lost_seconds(self) -> float | None:
        return _duration_or_never(self.gpu_lost)


def _duration_or_never(text: str) -> float | None:
    """Seconds; None: never. Raises ValueError for neither."""
    return None if text == "never" else parse_duration(text)


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keep: str = "90d"
    """How long jobs that have ended are kept, with log and event lines; the last 200 always are."""

    @property
    def keep_seconds(self) -> float:
        return parse_duration(self.keep)


class NotifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    urls: list[str] = []
    """Where notifications go, in the notation of apprise; empty: none are sent."""
    on: tuple[str, ...] = NOTICE_KINDS
    """Of what, of NOTICE_KINDS."""


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
    gpus: int = 1
    """How many GPUs one job of it takes."""
    share: bool = False
    """Whether it may share a GPU with other jobs of this workspace that say so too."""


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
    gpus: int | None = None
    """None: as its runner says, as for `share`."""
    share: bool | None = None
    total: int | None = None
    """How many lines or files there should be (`line_count`, `file_set`)."""
    pattern: str | None = None
    """Which files are counted, as a glob below `output` (`line_count`, `file_set`)."""
    stall: str | None = None
    """None: as `[queue]` says, as for `restart_stalled` and `resume`."""
    restart_stalled: bool | None = None
    resume: bool | None = None

    @property
    def stall_seconds(self) -> float | None:
        return None if self.stall is None else _duration_or_never(self.stall)


class MatrixSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[matrix.GROUP]`: one config for each modality times format, named GROUP/MODALITY_FORMAT."""

    modality: list[str]
    runner: str | None = None
    format: list[str] = []
    min_free: str | None = None
    gpus: int | None = None
    share: bool | None = None
    stall: str | None = None
    restart_stalled: bool | None = None
    resume: bool | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    workspace: WorkspaceSettings = WorkspaceSettings()
    gpus: GpuSettings = GpuSettings()
    queue: QueueSettings = QueueSettings()
    history: HistorySettings = HistorySettings()
    notify: NotifySettings = NotifySettings()
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
    queue: QueueSettings = QueueSettings()
    history: HistorySettings = HistorySettings()
    notify: NotifySettings = NotifySettings()
    runners: dict[str, RunnerSettings] = {}
    configs: tuple[ConfigSettings, ...] = ()
    """Declared ones, matrices unfolded."""

    def path(self, text: str) -> Path:
        """A path of the file, made absolute. Raises RuntimeError for `~USER` without such a user."""
        expanded = Path(text).expanduser()
        return expanded if expanded.is_absolute() else self.root / expanded

    def shown(self, path: Path | str) -> str:
        """A path as messages show it: relative to the workspace where it lies in it."""
        path = Path(path)
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

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
        runners=parsed.runner,
        configs=tuple(config for _, config in _named_configs(parsed)),
    )
    _check(file, settings, parsed)
    return settings


def _convert(file: Path, data: dict[str, Any]) -> _File:
    _refuse_unknown(file, "", data, _File)
    for where, table, kind, written in _tables(data):
        if kind is not list:
            _refuse_unknown(file, where, table, kind)
        try:
            msgspec.convert(table, kind)
        except msgspec.ValidationError as error:
            mend = f"; write {written}" if kind is list or not isinstance(table, dict) else ""
            raise SettingsError(f"{file}: [{where}]{_readable(str(error))}{mend}") from error
        for key, value in table.items():
            if _holds_nul(value):
                raise SettingsError(f"{file}: [{where}] {key}: holds a NUL character, as no file's name can")
    return msgspec.convert(data, _File)


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


def _holds_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_nul, (*value, *value.values())))
    return any(map(_holds_nul, value)) if isinstance(value, list) else "\0" in str(value)


def _refuse_unknown(file: Path, section: str, table: object, struct: type[msgspec.Struct]) -> None:
    if not isinstance(table, dict):
        return
    known = struct.__struct_fields__
    for key in table:
        if key not in known:
            where = f"[{section}] " if section else ""
            raise SettingsError(f"{file}: {where}unknown key {key!r}; {_nearest(key, known)}")


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


def _named_configs(parsed: _File) -> list[tuple[str, ConfigSettings]]:
    """All configs, matrices unfolded, each with its name in messages."""
    named = [(f"[[config]] {config.name!r}", config) for config in parsed.config]
    for group, matrix in parsed.matrix.items():
        for modality in matrix.modality:
            formats: list[str | None] = [None] if modality == "image" else list(matrix.format)
            for table_format in formats:
                config = ConfigSettings(
                    name=f"{group}/{modality}" + (f"_{table_format}" if table_format else ""),
                    runner=matrix.runner,
                    modality=modality,
                    format=table_format,
                    min_free=matrix.min_free,
                    gpus=matrix.gpus,
                    share=matrix.share,
                    stall=matrix.stall,
                    restart_stalled=matrix.restart_stalled,
                    resume=matrix.resume,
                )
                named.append((f"[matrix.{group}] {config.name!r}", config))
    return named


def _check(file: Path, settings: Settings, parsed: _File) -> None:
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

    def duration(where: str, text: str) -> None:
        try:
            parse_duration(text)
        except ValueError as error:
            refuse(where, str(error))

    def duration_or_never(where: str, text: str | None) -> None:
        if text is not None and text != "never":
            try:
                parse_duration(text)
            except ValueError as error:
                refuse(where, f"{error}; or never")

    def paths(where: str, *texts: str | None) -> None:
        for text in texts:
            if text is not None and not text.strip():
                refuse(where, "the path is empty; `.` is this folder")
            try:
                settings.path(text or "")
            except RuntimeError:
                refuse(where, f"{text}: whose home is meant? There is no such user")

    paths("[workspace] results", *settings.workspace.results)
    paths("[workspace] questions", settings.workspace.questions)
    paths("[workspace] data", settings.workspace.data)
    size("[gpus] min_free", settings.gpus.min_free)
    duration("[gpus] hold", settings.gpus.hold)
    duration("[queue] retry_pause", settings.queue.retry_pause)
    duration("[queue] join", settings.queue.join)
    duration("[queue] quick", settings.queue.quick)
    duration_or_never("[queue] stall", settings.queue.stall)
    duration_or_never("[queue] gpu_lost", settings.queue.gpu_lost)
    if settings.queue.pause_after_errors < 0:
        refuse(
            "[queue] pause_after_errors",
            f"a number from 0 (never) on is expected, not {settings.queue.pause_after_errors}",
        )
    if settings.queue.retries < 0:
        refuse("[queue] retries", f"a number from 0 on is expected, not {settings.queue.retries}")
    duration("[history] keep", settings.history.keep)
    for kind in settings.notify.on:
        one_of("[notify] on", kind, NOTICE_KINDS)
    for url in settings.notify.urls:
        if not re.match("[a-zA-Z][a-zA-Z0-9+.-]*://.", url):
            refuse(
                "[notify] urls", "each is an address of apprise, such as mailto://… or json://localhost:8080"
            )
    if any(index < 0 for index in settings.gpus.exclude):
        refuse("[gpus] exclude", f"indices from 0 on are expected, not {min(settings.gpus.exclude)}")
    percent = settings.gpus.max_utilization
    if not 0 <= percent <= 100:
        refuse("[gpus] max_utilization", f"a percentage from 0 to 100 is expected, not {percent}")
    for name, runner in settings.runners.items():
        where = f"[runner.{name}]"
        if (runner.engine is None) == (runner.command is None):
            refuse(where, "either engine (ours) or command (yours, a list) is needed, and not both")
        if runner.command is not None:
            if not any(runner.command[:1]):
                refuse(where, "command is empty; name the program and its arguments")
            paths(f"{where} command", runner.command[0])
        for key in ("python", "model", "prompts", "cwd"):
            paths(f"{where} {key}", getattr(runner, key))
        for variable in runner.env:
            if not variable or "=" in variable:
                refuse(f"{where} env", f"{variable!r} is no name of a variable")
        one_of(f"{where} engine", runner.engine, ENGINES)
        if runner.engine == "transformers" and runner.model is None:
            refuse(where, "engine 'transformers' needs model, the folder of the model")
        size(f"{where} min_free", runner.min_free)
        if runner.gpus < 1:
            refuse(f"{where} gpus", f"a number from 1 on is expected, not {runner.gpus}")
        for key in ("max_input_tokens", "max_new_tokens"):
            number = getattr(runner, key)
            if number is not None and number < 1:
                refuse(f"{where} {key}", f"a number from 1 on is expected, not {number}")
        for argument in runner.command or ():
            for name in re.findall(r"\{([a-z_]+)\}", argument):
                # Braces may mean something to the program; only what looks like a slip is refused.
                if name not in PLACEHOLDERS and _near(name, PLACEHOLDERS):
                    refuse(f"{where} command", f"{{{name}}} is not known; {_nearest(name, PLACEHOLDERS)}")
    for group, matrix in parsed.matrix.items():
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
    outputs: dict[Path, str] = {}
    for where, config in _named_configs(parsed):
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
        if config.gpus is not None and config.gpus < 1:
            refuse(f"{where} gpus", f"a number from 1 on is expected, not {config.gpus}")
        duration_or_never(f"{where} stall", config.stall)
        paths(f"{where} folders", *config.folders)
        paths(f"{where} output", config.output)
        if config.output is not None and config.kind == "realhitbench":
            other = outputs.setdefault(settings.path(config.output), config.name)
            if other != config.name:
                refuse(f"{where} output", f"{other!r} writes there too; give each a folder of its own")
        if config.total is not None and config.total < 1:
            refuse(f"{where} total", f"a number from 1 on is expected, not {config.total}")
        if config.pattern is not None and not _is_glob(config.pattern):
            refuse(
                f"{where} pattern",
                f"a glob below the folder is expected, such as *.jsonl, not {config.pattern!r}",
            )


def _is_glob(pattern: str) -> bool:
    """Whether `Path.glob` takes it."""
    parts = pattern.split("/")
    return bool(parts[0]) and all(part == "**" or "**" not in part for part in parts)
