"""What values in `hitui.toml` must hold beyond their kind, each refusal with the file, the key and the mend."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from hitui.domain.configs import MODALITIES, TABLE_FORMATS
from hitui.domain.notices import NOTICE_KINDS
from hitui.domain.recovery import LAST_RUNG
from hitui.domain.units import parse_duration, parse_size
from hitui.errors import SettingsError
from hitui.settings.values import (
    CONFIG_KINDS,
    DTYPES,
    ENGINES,
    OF_ENGINES,
    PLACEHOLDERS,
    PROMPT_ORDERS,
    RECOVERIES,
    TRUNCATIONS,
    ConfigSettings,
    JudgeSettings,
    MatrixSettings,
    RunnerSettings,
    ServerKeys,
    Settings,
    SettingsFile,
)

FROM_ONE_ON = (
    "gpus", "shards", "concurrency", "max_input_tokens", "max_new_tokens", "max_pixels", "max_image_pixels"
)  # fmt: skip
"""Keys of a runner that are counts of something."""


def check(file: Path, settings: Settings, parsed: SettingsFile) -> None:
    """Raises SettingsError for the first value that cannot be meant."""
    _Checks(file, settings).run(parsed)


class _Checks:
    def __init__(self, file: Path, settings: Settings) -> None:
        self._file = file
        self._settings = settings

    def run(self, parsed: SettingsFile) -> None:
        self._check_sections()
        for name, runner in self._settings.runners.items():
            self._check_runner(f"[runner.{name}]", runner)
        for group, matrix in parsed.matrix.items():
            self._check_matrix(f"[matrix.{group}]", matrix)
        known_runners = tuple(self._settings.runners)
        self._one_of("[workspace] runner", self._settings.workspace.runner, known_runners)
        seen: set[str] = set()
        outputs: dict[Path, str] = {}
        for where, config in parsed.named_configs():
            if config.name in seen:
                self._refuse(where, "two configs have this name; rename one")
            seen.add(config.name)
            self._check_config(where, config, outputs)

    def _check_sections(self) -> None:
        settings = self._settings
        self._paths("[workspace] results", *settings.workspace.results)
        self._paths("[workspace] questions", settings.workspace.questions)
        self._paths("[workspace] data", settings.workspace.data)
        self._size("[gpus] min_free", settings.gpus.min_free)
        self._duration("[gpus] hold", settings.gpus.hold)
        self._duration("[queue] retry_pause", settings.queue.retry_pause)
        self._duration("[queue] join", settings.queue.join)
        self._duration("[queue] shortest_shard", settings.queue.shortest_shard)
        self._duration("[queue] quick", settings.queue.quick)
        self._duration_or_never("[queue] stall", settings.queue.stall)
        self._duration_or_never("[queue] gpu_lost", settings.queue.gpu_lost)
        if settings.queue.pause_after_errors < 0:
            self._refuse(
                "[queue] pause_after_errors",
                f"a number from 0 (never) on is expected, not {settings.queue.pause_after_errors}",
            )
        if settings.queue.retries < 0:
            self._refuse("[queue] retries", f"a number from 0 on is expected, not {settings.queue.retries}")
        self._paths("[charts] python", settings.charts.python)
        self._check_judge("[judge]", settings.judge)
        self._duration("[history] keep", settings.history.keep)
        for kind in settings.notify.on:
            self._one_of("[notify] on", kind, NOTICE_KINDS)
        for url in settings.notify.urls:
            if not re.match("[a-zA-Z][a-zA-Z0-9+.-]*://.", url):
                self._refuse(
                    "[notify] urls",
                    "each is an address of apprise, such as mailto://… or json://localhost:8080",
                )
        if any(index < 0 for index in settings.gpus.exclude):
            self._refuse(
                "[gpus] exclude", f"indices from 0 on are expected, not {min(settings.gpus.exclude)}"
            )
        percent = settings.gpus.max_utilization
        if not 0 <= percent <= 100:
            self._refuse("[gpus] max_utilization", f"a percentage from 0 to 100 is expected, not {percent}")

    def _check_runner(self, where: str, runner: RunnerSettings) -> None:
        if (runner.engine is None) == (runner.command is None):
            self._refuse(where, "either engine (ours) or command (yours, a list) is needed, and not both")
        if runner.command is not None:
            if not any(runner.command[:1]):
                self._refuse(where, "command is empty; name the program and its arguments")
            self._paths(f"{where} command", runner.command[0])
        paths = ("python", "adapter", "prompts", "cwd", *(("model",) if runner.model_is_a_folder else ()))
        for key in paths:
            self._paths(f"{where} {key}", getattr(runner, key))
        for variable in runner.env:
            if not variable or "=" in variable:
                self._refuse(f"{where} env", f"{variable!r} is no name of a variable")
        self._one_of(f"{where} engine", runner.engine, ENGINES)
        if runner.engine in ("transformers", "vllm") and runner.model is None:
            self._refuse(where, f"engine {runner.engine!r} needs model, the folder of the model")
        for key, engines in OF_ENGINES.items():
            if getattr(runner, key) is not None and runner.engine not in engines:
                names = " or ".join(map(repr, engines))
                self._refuse(f"{where} {key}", f"only the engine {names} has this key")
        part = runner.gpu_memory_utilization
        if part is not None and not 0 < part <= 1:
            self._refuse(
                f"{where} gpu_memory_utilization", f"a part above 0 and at most 1 is expected, not {part:g}"
            )
        self._check_server(where, runner)
        self._size(f"{where} min_free", runner.min_free)
        for key in FROM_ONE_ON:
            self._from_one_on(f"{where} {key}", getattr(runner, key))
        if runner.batch_tokens is not None and runner.batch_tokens < 0:
            self._refuse(
                f"{where} batch_tokens", f"a number from 0 on is expected, not {runner.batch_tokens}"
            )
        self._one_of(f"{where} dtype", runner.dtype, DTYPES)
        self._one_of(f"{where} truncation", runner.truncation, TRUNCATIONS)
        self._one_of(f"{where} prompt_order", runner.prompt_order, PROMPT_ORDERS)
        if runner.prompt_order is not None and runner.prompts is None:
            self._refuse(
                f"{where} prompt_order",
                "only the benchmark's own prompts have an order; give them by prompts",
            )
        self._check_ladder(where, runner)
        for key in ("recovery", "max_rungs", "recovery_gpus"):
            if runner.command is not None and getattr(runner, key) is not None:
                self._refuse(f"{where} {key}", "only runners with an engine of ours have a recovery ladder")
        if runner.shards > 1 and not runner.takes_shards:
            self._refuse(f"{where} shards", "its command needs {ids} or {ids_file}, and {output}; add them")
        for argument in runner.command or ():
            for name in re.findall(r"\{([a-z_]+)\}", argument):
                # Braces may mean something to the program; only what looks like a slip is refused.
                if name not in PLACEHOLDERS and _near(name, PLACEHOLDERS):
                    self._refuse(
                        f"{where} command", f"{{{name}}} is not known; {nearest(name, PLACEHOLDERS)}"
                    )

    def _check_server(self, where: str, runner: RunnerSettings) -> None:
        if runner.engine != "openai":
            return
        if runner.base_url is None:
            self._refuse(where, "engine 'openai' needs base_url, such as \"http://localhost:8000/v1\"")
        if runner.model is not None and not runner.model.strip():
            self._refuse(f"{where} model", "the name is empty; leave the key out if the server has only one")
        self._check_address(where, runner.base_url, runner)

    def _check_judge(self, where: str, judge: JudgeSettings) -> None:
        if judge == JudgeSettings():
            return
        for key in ("base_url", "model"):
            if not (getattr(judge, key) or "").strip():
                self._refuse(where, f"{key} is needed; without [judge] nothing is judged")
        self._paths(f"{where} prompts", judge.prompts)
        for key in ("concurrency", "max_input_tokens", "max_new_tokens"):
            self._from_one_on(f"{where} {key}", getattr(judge, key))
        self._check_address(where, judge.base_url or "", judge)

    def _check_address(self, where: str, base_url: str, keys: ServerKeys) -> None:
        """Where a server is, what it asks for, and how long it may take."""
        if not re.match("https?://[^/]", base_url):
            self._refuse(
                f"{where} base_url",
                f"an address such as http://localhost:8000/v1 is expected, not {base_url!r}",
            )
        if keys.api_key_env is not None and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", keys.api_key_env):
            # It may be the key itself, which belongs on no screen.
            self._refuse(
                f"{where} api_key_env", "the name of the variable that holds the key is expected, not the key"
            )
        for key in ("timeout", "patience"):
            text = getattr(keys, key)
            if text is not None:
                self._duration(f"{where} {key}", text)
                if not parse_duration(text):
                    self._refuse(f"{where} {key}", f"more than no time is expected, not {text}")

    def _check_ladder(self, where: str, keys: RunnerSettings | ConfigSettings) -> None:
        self._one_of(f"{where} recovery", keys.recovery, RECOVERIES)
        self._from_one_on(f"{where} recovery_gpus", keys.recovery_gpus)
        if keys.max_rungs is not None and not 0 <= keys.max_rungs <= LAST_RUNG:
            self._refuse(
                f"{where} max_rungs", f"a number from 0 to {LAST_RUNG} is expected, not {keys.max_rungs}"
            )

    def _check_matrix(self, where: str, matrix: MatrixSettings) -> None:
        for modality in matrix.modality:
            self._one_of(f"{where} modality", modality, MODALITIES)
        for table_format in matrix.format:
            self._one_of(f"{where} format", table_format, TABLE_FORMATS)
        if not matrix.modality:
            self._refuse(where, "modality is empty; name one of " + ", ".join(MODALITIES))
        if not matrix.format and set(matrix.modality) != {"image"}:
            self._refuse(where, "format is needed for text and mix; name some of " + ", ".join(TABLE_FORMATS))

    def _check_config(self, where: str, config: ConfigSettings, outputs: dict[Path, str]) -> None:
        """`outputs`: the config that writes into each folder, of those that were looked at before; added to."""
        if config.name.startswith("/") or ".." in Path(config.name).parts or not config.name.strip():
            self._refuse(where, "a name may not be empty, start with / or hold ..")
        self._one_of(f"{where} kind", config.kind, CONFIG_KINDS)
        self._one_of(f"{where} runner", config.runner, tuple(self._settings.runners))
        self._one_of(f"{where} modality", config.modality, MODALITIES)
        self._one_of(f"{where} format", config.format, TABLE_FORMATS)
        self._size(f"{where} min_free", config.min_free)
        self._from_one_on(f"{where} gpus", config.gpus)
        self._from_one_on(f"{where} shards", config.shards)
        self._check_ladder(where, config)
        self._duration_or_never(f"{where} stall", config.stall)
        self._paths(f"{where} folders", *config.folders)
        self._paths(f"{where} output", config.output)
        if config.kind == "realhitbench":
            other = outputs.setdefault(self._settings.output(config), config.name)
            if other != config.name:
                key = where if config.output is None else f"{where} output"
                self._refuse(key, f"{other!r} writes there too; give each a folder of its own")
        self._from_one_on(f"{where} total", config.total)
        if config.pattern is not None and not _is_glob(config.pattern):
            self._refuse(
                f"{where} pattern",
                f"a glob below the folder is expected, such as *.jsonl, not {config.pattern!r}",
            )

    def _refuse(self, where: str, what: str) -> NoReturn:
        raise SettingsError(f"{self._file}: {where}: {what}")

    def _one_of(self, where: str, value: str | None, known: tuple[str, ...]) -> None:
        if value is not None and value not in known:
            self._refuse(where, f"{value!r} is not known; {nearest(value, known)}")

    def _from_one_on(self, where: str, number: int | None) -> None:
        if number is not None and number < 1:
            self._refuse(where, f"a number from 1 on is expected, not {number}")

    def _size(self, where: str, text: str | None) -> None:
        if text is not None:
            try:
                parse_size(text)
            except ValueError as error:
                self._refuse(where, str(error))

    def _duration(self, where: str, text: str) -> None:
        try:
            parse_duration(text)
        except ValueError as error:
            self._refuse(where, str(error))

    def _duration_or_never(self, where: str, text: str | None) -> None:
        if text is not None and text != "never":
            try:
                parse_duration(text)
            except ValueError as error:
                self._refuse(where, f"{error}; or never")

    def _paths(self, where: str, *texts: str | None) -> None:
        for text in texts:
            if text is not None and not text.strip():
                self._refuse(where, "the path is empty; `.` is this folder")
            try:
                self._settings.path(text or "")
            except RuntimeError:
                self._refuse(where, f"{text}: whose home is meant? There is no such user")


def _near(key: str, known: tuple[str, ...]) -> str | None:
    """The known name that was most likely meant; None: none is near."""
    # Only a mistake needs it, and the screen's first paint waits for the settings.
    import difflib

    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.5)), None)


def nearest(key: str, known: tuple[str, ...]) -> str:
    """What to write instead of an unknown key or value, as messages end."""
    near = _near(key, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return "known are " + ", ".join(sorted(known)) if known else "there is none yet"


def _is_glob(pattern: str) -> bool:
    """Whether `Path.glob` takes it."""
    parts = pattern.split("/")
    return bool(parts[0]) and all(part == "**" or "**" not in part for part in parts)
