"""What `hitui.toml` may say, as values: one struct a table, each key with what it means.

Sizes and times carry units, as they are written; the properties give bytes and seconds.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from hitui.domain.notices import USUAL_KINDS
from hitui.domain.units import parse_duration, parse_size

ENGINES = ("transformers", "vllm", "openai", "demo")
OF_ENGINES = {
    **dict.fromkeys(("base_url", "api_key_env", "timeout", "patience"), ("openai",)),
    "concurrency": ("openai", "vllm"),
    "gpu_memory_utilization": ("vllm",),
    "shared_prefixes": ("transformers",),
    "batch_tokens": ("transformers",),
    "adapter": ("transformers",),
    "dtype": ("transformers", "vllm"),
    "truncation": ("transformers", "vllm"),
    "max_image_pixels": ("transformers", "vllm"),
    "max_pixels": ("transformers", "vllm", "openai"),
    "prompt_order": ENGINES,
}
"""Keys of a runner that some engines have, and which."""
PLACEHOLDERS = (
    "name", "modality", "format", "ids", "ids_file", "output", "questions", "data", "model", "gpus"
)  # fmt: skip
"""What a runner's `command` may hold in braces."""
RECOVERIES = ("rerun", "at-once", "off")
DTYPES = ("bfloat16", "float16", "float32")
TRUNCATIONS = ("tokens", "original")
PROMPT_ORDERS = ("benchmark", "table-first")
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
    shortest_shard: str = "5m"
    """A config is split over several GPUs as far as each of them has so much to do; `0s`: as far as it goes."""
    gpu_lost: str = "30s"
    """A job is taken elsewhere when its GPU is lost for so long; `never`."""

    @property
    def retry_pause_seconds(self) -> float:
        return parse_duration(self.retry_pause)

    @property
    def join_seconds(self) -> float:
        return parse_duration(self.join)

    @property
    def shortest_shard_seconds(self) -> float:
        return parse_duration(self.shortest_shard)

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
    on: tuple[str, ...] = USUAL_KINDS
    """Of what, of NOTICE_KINDS. With `gpu_free` among them the supervisor always reads the GPUs."""


class ChartSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    python: str | None = None
    """The Python on which the programs of Visualization answers run; None: the runner's, or else hitui's own."""


class ServerKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server that speaks OpenAI's API, and how it is asked."""

    base_url: str | None = None
    """Such as `http://localhost:8000/v1`."""
    api_key_env: str | None = None
    """The variable that holds the server's key, never the key; None: it needs none."""
    concurrency: int | None = None
    """How many prompts it, or vLLM, is asked at once; None: 8, and 32 for the engine `vllm`."""
    timeout: str | None = None
    """How long one answer may take; None: 10 minutes."""
    patience: str | None = None
    """How long a server is asked again that is busy or not there; None: 5 minutes."""

    @property
    def timeout_seconds(self) -> float | None:
        return None if self.timeout is None else parse_duration(self.timeout)

    @property
    def patience_seconds(self) -> float | None:
        return None if self.patience is None else parse_duration(self.patience)


class JudgeSettings(ServerKeys, frozen=True, forbid_unknown_fields=True):
    """The model that `hitui judge` asks about summaries and anomalies; nothing is asked without `base_url`."""

    model: str | None = None
    """Its name there, such as `gpt-4o`; needed, since verdicts name it."""
    prompts: str | None = None
    """The benchmark's own `gpt_eval_prompt.py`, or its folder, read as literals; None: our wording."""
    max_input_tokens: int | None = None
    """To about so many a prompt is cut, in its table; None: never."""
    max_new_tokens: int | None = None
    """Of its reply; None: 2048."""


class RunnerSettings(ServerKeys, frozen=True, forbid_unknown_fields=True):
    """One `[runner.NAME]`: ours (`engine`) or anyone's (`command`), never both; OF_ENGINES says which has what."""

    engine: str | None = None
    python: str | None = None
    model: str | None = None
    """The folder of the model; for `openai` its name on the server, None: the only one there is."""
    adapter: str | None = None
    """The folder of an adapter, as LoRA, that is put onto the model; None: none is."""
    dtype: str | None = None
    """What the model computes in, one of DTYPES; None: bfloat16 on GPUs, float32 on the CPU."""
    gpu_memory_utilization: float | None = None
    """Which part of a GPU's memory `vllm` sets aside, up to 1; None: as it does by itself."""
    prompts: str | None = None
    """Folder or file of the benchmark's own prompts, read as literals; None: our wording."""
    prompt_order: str | None = None
    """Of those prompts, one of PROMPT_ORDERS; None: the benchmark's. Our wording always has the table first."""
    truncation: str | None = None
    """How a table is cut that is too long, one of TRUNCATIONS; None: to the budget in tokens."""
    max_pixels: int | None = None
    """Pictures are scaled down to so many; None: as the model does."""
    max_image_pixels: int | None = None
    """No picture of more is opened; None: 178,956,970."""
    shared_prefixes: bool | None = None
    """Whether what a prompt shares with the one before is computed only once; None: yes."""
    batch_tokens: int | None = None
    """At most so many tokens of prompts are answered together; 0: each alone, None: as the runner does."""
    max_input_tokens: int | None = None
    max_new_tokens: int | None = None
    command: list[str] | None = None
    cwd: str | None = None
    env: dict[str, str] = {}
    min_free: str | None = None
    """Free memory that a GPU needs for it; None: `[gpus] min_free`, and nothing for `openai`. `0B`: it needs no GPU."""
    gpus: int = 1
    """How many GPUs one job of it takes."""
    shards: int = 1
    """Into how many jobs at most a config is split, each on GPUs of its own."""
    recovery: str | None = None
    """When a task that ran out of memory is tried in a lighter form, one of RECOVERIES; None: when it is rerun."""
    max_rungs: int | None = None
    """How many lighter forms are tried; None: all."""
    recovery_gpus: int | None = None
    """How many GPUs tasks get that ran out of memory in each of them on fewer; None: no more than ever."""
    share: bool = False
    """Whether it may share a GPU with other jobs of this workspace that say so too."""

    @property
    def model_is_a_folder(self) -> bool:
        """Whether `model` is a path, and not a server's name for it."""
        return self.engine != "openai"

    @property
    def takes_shards(self) -> bool:
        """Whether it can be told which tasks to run, and where to write."""
        if self.command is None:
            return True
        text = " ".join(self.command)
        return "{output}" in text and ("{ids}" in text or "{ids_file}" in text)


class _RunKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be said of one config as of all of a matrix."""

    runner: str | None = None
    min_free: str | None = None
    gpus: int | None = None
    """None: as its runner says, as for the next five."""
    shards: int | None = None
    share: bool | None = None
    recovery: str | None = None
    max_rungs: int | None = None
    recovery_gpus: int | None = None
    stall: str | None = None
    """None: as `[queue]` says, as for `restart_stalled` and `resume`."""
    restart_stalled: bool | None = None
    resume: bool | None = None


class ConfigSettings(_RunKeys, frozen=True, forbid_unknown_fields=True):
    name: str
    kind: str = "realhitbench"
    modality: str | None = None
    format: str | None = None
    output: str | None = None
    """Folder that runs write into; None: the discovered folder of that name, else below the first
    results folder."""
    folders: list[str] = []
    """More folders that are read together with `output`."""
    total: int | None = None
    """How many lines or files there should be (`line_count`, `file_set`)."""
    pattern: str | None = None
    """Which files are counted, as a glob below `output` (`line_count`, `file_set`)."""

    @property
    def stall_seconds(self) -> float | None:
        return None if self.stall is None else _duration_or_never(self.stall)


class MatrixSettings(_RunKeys, frozen=True, forbid_unknown_fields=True):
    """`[matrix.GROUP]`: one config for each modality times format, named GROUP/MODALITY_FORMAT."""

    modality: list[str]
    format: list[str] = []


class SettingsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the file may say, table by table."""

    workspace: WorkspaceSettings = WorkspaceSettings()
    gpus: GpuSettings = GpuSettings()
    queue: QueueSettings = QueueSettings()
    history: HistorySettings = HistorySettings()
    notify: NotifySettings = NotifySettings()
    judge: JudgeSettings = JudgeSettings()
    charts: ChartSettings = ChartSettings()
    runner: dict[str, RunnerSettings] = {}
    config: list[ConfigSettings] = []
    matrix: dict[str, MatrixSettings] = {}

    def named_configs(self) -> list[tuple[str, ConfigSettings]]:
        """All configs, matrices unfolded, each with its name in messages."""
        named = [(f"[[config]] {config.name!r}", config) for config in self.config]
        for group, matrix in self.matrix.items():
            shared = {key: getattr(matrix, key) for key in _RunKeys.__struct_fields__}
            for modality in matrix.modality:
                formats: list[str | None] = [None] if modality == "image" else list(matrix.format)
                for table_format in formats:
                    name = f"{group}/{modality}" + (f"_{table_format}" if table_format else "")
                    config = ConfigSettings(name, modality=modality, format=table_format, **shared)
                    named.append((f"[matrix.{group}] {name!r}", config))
        return named


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
    judge: JudgeSettings = JudgeSettings()
    charts: ChartSettings = ChartSettings()
    runners: dict[str, RunnerSettings] = {}
    configs: tuple[ConfigSettings, ...] = ()
    """Declared ones, matrices unfolded."""

    def path(self, text: str) -> Path:
        """A path of the file, made absolute. Raises RuntimeError for `~USER` without such a user."""
        # `Path` takes the `./` off, which is there so that a name's own `~` stands for no home.
        expanded = Path(text).expanduser() if text.startswith("~") else Path(text)
        return expanded if expanded.is_absolute() else self.root / expanded

    def program(self, text: str) -> str:
        """A path of the file to a program, made absolute; a bare name as it is, to be looked up."""
        return str(self.path(text)) if "/" in text or text.startswith("~") else text

    def output(self, config: ConfigSettings) -> Path:
        """The folder that runs of a config write into, unless results of that name are discovered elsewhere."""
        if config.output is not None:
            return self.path(config.output)
        results = self.workspace.results
        return (self.path(results[0]) if results else self.root) / config.name

    def shown(self, path: Path | str) -> str:
        """A path as messages show it: relative to the workspace where it lies in it."""
        path = Path(path)
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    @property
    def default_runner(self) -> str | None:
        if self.workspace.runner is not None:
            return self.workspace.runner
        return next(iter(self.runners)) if len(self.runners) == 1 else None

    def declared(self, config: str) -> ConfigSettings:
        """What is said of a config by its name; nothing, where the file does not name it."""
        return next((entry for entry in self.configs if entry.name == config), ConfigSettings(config))

    def min_free_bytes(self, config: str, runner: str | None) -> int:
        """Free bytes that a GPU must have for this config: its own, its runner's, the workspace's."""
        own = self.declared(config).min_free
        if own is not None:
            return parse_size(own)
        settings = self.runners.get(runner) if runner else None
        if settings is not None and settings.min_free is not None:
            return parse_size(settings.min_free)
        return self.gpus.min_free_bytes
