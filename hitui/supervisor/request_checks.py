"""Whether what is asked for can be run at all, by the settings and by what was read; each refusal names its mend."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hitui.adapters.checkpoints.catalogue import Reading
from hitui.adapters.files.look import is_dir, is_file
from hitui.domain.configs import Config, ConfigState
from hitui.domain.jobs import JobRequest
from hitui.domain.tasks import TaskId
from hitui.domain.waits import Wait, WaitKind
from hitui.errors import LaunchError
from hitui.settings import RunnerSettings, Settings


class NotNow(LaunchError):
    """Refuses whoever asks now; a job that was taken on waits for it to come, since it was there then."""

    kind: WaitKind
    """What such a job waits for."""
    awaits: str
    """The same in some words."""

    @property
    def wait(self) -> Wait:
        return Wait(self.kind, f"{self.awaits}: {self}")


class UnreadableResults(NotNow):
    """The results of a config cannot be read, so a run could answer what is answered already.

    They may be half written by another program at this very moment.
    """

    kind = WaitKind.RESULTS
    awaits = "results that can be read"


class NoRunner(NotNow):
    """`hitui.toml` names no runner for a config, or one of which it says nothing.

    An editor may be writing it at this very moment, and what stands there is its beginning.
    """

    kind = WaitKind.SETTINGS
    awaits = "a mended hitui.toml"


class Away(NotNow):
    """What a runner needs is not there: its model, its program, the question list.

    Their disk may come later than the supervisor when the machine starts, or have gone for a while.
    """

    kind = WaitKind.AWAY

    def __init__(self, awaits: str, message: str) -> None:
        """`awaits`: what is not there, as `its model folder`."""
        super().__init__(message)
        self.awaits = awaits


WHAT_IT_NEEDS = {
    "model": "its model folder",
    "adapter": "its adapter",
    "prompts": "its prompt files",
    "cwd": "its working folder",
    "python": "its Python",
    "command": "its program",
    "questions": "its question list",
    "data": "its dataset",
    "runners": "hitui's own runners",
}
"""By the key of `hitui.toml` that names it; the runners apart, which none does."""


def runner_of(settings: Settings, config: Config) -> RunnerSettings:
    """What `hitui.toml` says of the config's runner. Raises NoRunner."""
    if config.runner is None:
        raise NoRunner(
            f"{config.name}: no runner is named for it; add a [runner.NAME] to hitui.toml"
            " and name it as [workspace] runner, or as the config's own"
        )
    runner = settings.runners.get(config.runner)
    if runner is None:
        raise NoRunner(f"{config.name}: there is no [runner.{config.runner}] in hitui.toml")
    return runner


def check_readable(reading: Reading) -> None:
    """Raises UnreadableResults."""
    if reading.state.hides_answers:
        raise UnreadableResults(f"{reading.state.name}: {reading.state.problems[0]}")


def check_listed(reading: Reading, runner: RunnerSettings, questions: Path | None) -> None:
    """Raises Away where the runner must be told what is pending and nothing lists it."""
    if is_unlisted(reading.state, runner):
        raise Away(
            WHAT_IT_NEEDS["questions"],
            f"{reading.state.name}: there is no question list to say what is pending; "
            + (
                f"{questions} gives none, mend it"
                if questions
                else "name it as [workspace] questions in hitui.toml"
            ),
        )


def is_unlisted(state: ConfigState, runner: RunnerSettings) -> bool:
    """Whether the runner must be told what is pending and nothing lists it."""
    return state.total is None and _needs_ids(runner)


def check_force(request: JobRequest, config: Config, runner: RunnerSettings) -> None:
    """Raises LaunchError where nothing is refused that could be forced."""
    if request.force and runner.command is not None:
        raise LaunchError(
            f"{config.name}: --force is for hitui's own runner, and [runner.{config.runner}] has a command of its own;"
            " leave it out"
        )


def check_runner(
    settings: Settings, config: Config, runner: RunnerSettings, environment: Mapping[str, str]
) -> None:
    """Raises LaunchError, before anything starts, for what is not the runner's to say, and Away for what is not there."""
    where = f"hitui.toml: [runner.{config.runner}]"
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        if name in runner.env:
            raise LaunchError(
                f"{where} env: {name} decides which GPUs a runner sees, so hitui alone sets it;"
                " remove it, and choose GPUs with --gpus or [gpus] exclude"
            )
    if runner.api_key_env is not None and not environment.get(runner.api_key_env, "").strip():
        raise LaunchError(
            f"{where} api_key_env: the variable {runner.api_key_env} is not set where this was asked for;"
            " export it there"
        )
    for key in ("model", "adapter", "prompts", "cwd") if runner.model_is_a_folder else ("prompts", "cwd"):
        text = getattr(runner, key)
        if text is not None and not settings.path(text).exists():
            missing = f"{where} {key}: {settings.path(text)} does not exist; correct the path"
            raise Away(WHAT_IT_NEEDS[key], missing)
    if runner.python is not None:
        program = settings.program(runner.python)
        if shutil.which(program, path=environment.get("PATH", os.defpath)) is None:
            missing = f"{where} python: {runner.python} is not there or no program; correct the path"
            raise Away(WHAT_IT_NEEDS["python"], missing)


def check_inputs(config: Config, questions: Path | None, data: Path | None) -> None:
    """Raises Away for a question list and a dataset that our own runner would look for in vain."""
    for key, path, is_there in (("questions", questions, is_file), ("data", data, is_dir)):
        # What was read of it before still counts, but the runner reads it anew.
        if path is not None and not is_there(path):
            missing = f"{config.name}: its {key}, {path}, cannot be read; bring that back"
            raise Away(WHAT_IT_NEEDS[key], missing)


def known_ids(request: JobRequest, reading: Reading) -> tuple[TaskId, ...] | None:
    """The ids as the question list writes them: `1` and `"1"` are told apart there, not by who asks."""
    if request.ids is None or not reading.tasks:
        return request.ids
    known = {str(task.id): task.id for task in reading.tasks}
    unknown = [str(asked) for asked in request.ids if str(asked) not in known]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise LaunchError(
            f"{reading.state.name}: no task {', '.join(unknown[:5])}{more} in the question list;"
            f" `hitui ids {reading.state.name}` lists them"
        )
    return tuple(known[str(asked)] for asked in request.ids)


def _needs_ids(runner: RunnerSettings) -> bool:
    if runner.command is None:
        return True
    return any(f"{{{name}}}" in argument for argument in runner.command for name in ("ids", "ids_file"))
