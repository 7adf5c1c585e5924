"""The exact arguments of a runner: ours with its options, or a user's own with its placeholders filled.

No command is ever a shell string: arguments are a list, and placeholders are replaced within one element each.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from hitui.adapters.files.look import is_dir
from hitui.domain.configs import Config
from hitui.domain.jobs import JobRequest
from hitui.errors import LaunchError
from hitui.settings import PLACEHOLDERS, RunnerSettings, Settings
from hitui.supervisor.request_checks import WHAT_IT_NEEDS, Away

_OLDEST_PYTHON = (3, 10)
"""That runs our own runner."""
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


class Command(msgspec.Struct, frozen=True):
    """What to execute for a job, and with what."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    cwd: Path


def too_old(version: str) -> str | None:
    """What is said of a Python of such a version, as `3.9`, that does not run our own runner; None: it does, or the text
    is none."""
    if not re.fullmatch(r"\d+\.\d+", version) or tuple(map(int, version.split("."))) >= _OLDEST_PYTHON:
        return None
    return f"is Python {version}, and {'.'.join(map(str, _OLDEST_PYTHON))} is needed"


def filled(command: Sequence[str], values: Mapping[str, str | None], config: Config) -> tuple[str, ...]:
    """A user's command with its placeholders filled. Raises LaunchError for one that the config has nothing for."""

    def value_of(match: re.Match[str]) -> str:
        value = values[match[1]]
        if value is None:
            raise LaunchError(
                f"hitui.toml: [runner.{config.runner}] command: {match[0]} is asked for,"
                f" and {config.name} has none; {_MENDS.get(match[1], 'name it in its [[config]]')}"
            )
        return value

    return tuple(_PLACEHOLDER.sub(value_of, argument) for argument in command)


_MENDS = {
    "model": "add model to the runner",
    "questions": "name it as [workspace] questions",
    "data": "name it as [workspace] data",
    "ids": "name the question list as [workspace] questions",
    "ids_file": "name the question list as [workspace] questions",
}


def own_runner(
    settings: Settings,
    runner: RunnerSettings,
    values: Mapping[str, str | None],
    config: Config,
    plan_file: Path | None,
) -> tuple[str, ...]:
    """Our own runner with its options; of several configs with a plan. Raises LaunchError naming what is missing."""
    if values["modality"] is None:
        raise LaunchError(f"{config.name}: its modality cannot be told; name it in its [[config]]")
    for key in ("questions", "data"):
        if values[key] is None:
            missing = f"{config.name}: its {key} cannot be told; {_MENDS[key]}"
            raise Away(WHAT_IT_NEEDS[key], missing)
    single = {
        "modality": values["modality"],
        "format": values["format"],
        "output": values["output"],
        "ids-file": values["ids_file"],
    }
    options = {
        "engine": runner.engine,
        "model": values["model"],
        "adapter": None if runner.adapter is None else str(settings.path(runner.adapter)),
        **engine_options(runner),
        "questions": values["questions"],
        "data": values["data"],
        **(single if plan_file is None else {"plan": str(plan_file)}),
        "prompts": None if runner.prompts is None else str(settings.path(runner.prompts)),
        "prompt-order": runner.prompt_order,
        "max-input-tokens": text_or_none(runner.max_input_tokens),
        "max-new-tokens": text_or_none(runner.max_new_tokens),
        **ladder_options(settings, config),
    }
    python = sys.executable if runner.python is None else settings.program(runner.python)
    argv = [python, runners_folder(), "realhitbench"]
    for name, value in options.items():
        if value is not None:
            argv += [f"--{name}", value]
    if runner.shared_prefixes is False:
        argv.append("--no-shared-prefixes")
    if plan_file is None:
        for folder in elsewhere(config, values["output"]):
            argv += ["--earlier", folder]
    return (*argv, "--resume")


def runners_folder() -> str:
    """Of hitui's own runners, which any Python can be given to run. Raises Away where they are not there, as while
    they are replaced by an upgrade."""
    spec = importlib.util.find_spec("hitui_runners")
    if spec is None or spec.origin is None:
        raise Away(WHAT_IT_NEEDS["runners"], "hitui's own runners are not installed; install hitui again")
    return str(Path(spec.origin).parent)


def engine_options(runner: RunnerSettings) -> dict[str, str | None]:
    """What is said of a runner's engine alone, as options of our own runner."""
    return {
        "base-url": runner.base_url,
        "api-key-env": runner.api_key_env,
        "concurrency": text_or_none(runner.concurrency),
        "timeout": text_or_none(runner.timeout_seconds),
        "patience": text_or_none(runner.patience_seconds),
        "gpu-memory-utilization": text_or_none(runner.gpu_memory_utilization),
        "dtype": runner.dtype,
        "truncation": runner.truncation,
        "max-pixels": text_or_none(runner.max_pixels),
        "batch-tokens": text_or_none(runner.batch_tokens),
        "max-image-pixels": text_or_none(runner.max_image_pixels),
    }


def ladder_options(settings: Settings, config: Config) -> dict[str, str | None]:
    """What is said of the recovery ladder of a config, as options of our own runner."""
    declared = settings.declared(config.name)
    runner = settings.runners.get(config.runner or "", RunnerSettings())
    rungs = runner.max_rungs if declared.max_rungs is None else declared.max_rungs
    return {"recovery": declared.recovery or runner.recovery, "max-rungs": text_or_none(rungs)}


def insists(request: JobRequest) -> bool:
    """Whether these very tasks were asked for: then those too whose every lighter form was tried before."""
    return request.ids is not None or request.error_class is not None


def elsewhere(config: Config, output: str | None) -> list[str]:
    """Folders that hold results of the config besides the one that a run writes into."""
    return [folder for folder in config.folders if folder != output and is_dir(folder)]


def located(
    argv: tuple[str, ...], environment: Mapping[str, str], cwd: Path, config: Config
) -> tuple[str, ...]:
    """The arguments with the program's own path, looked up where whoever asked would find it."""
    program = argv[0]
    if "/" in program:
        path = Path(os.path.normpath(cwd / Path(program).expanduser()))
        found = str(path) if os.access(path, os.X_OK) and path.is_file() else None
    else:
        found = shutil.which(program, path=environment.get("PATH", os.defpath))
    if found is None:
        raise Away(
            WHAT_IT_NEEDS["command"],
            f"hitui.toml: [runner.{config.runner}] command: {program} is not there or no program;"
            " correct the path",
        )
    return (found, *argv[1:])


def model_of(settings: Settings, runner: RunnerSettings) -> str | None:
    """What the runner is told of its model: a folder, or a server's name for it."""
    if runner.model is None or not runner.model_is_a_folder:
        return runner.model
    return str(settings.path(runner.model))


def text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
