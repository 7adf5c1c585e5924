"""Results are scored in the runner's environment, where the libraries of scores are: by a program of ours there.

This only says what is scored together, and which Python does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.domain.configs import Config
from hitui.errors import LaunchError, NoSuchName, WorkspaceError
from hitui.paths import chart_scores_file
from hitui.settings import Settings
from hitui.supervisor.arguments import runners_folder, too_old

KIND = "realhitbench"
"""Of the configs whose answers can be scored."""
_ASK_SECONDS = 30.0
"""How long a runner's Python may take to say which it is."""
_END_SECONDS = 10.0
"""How long the program may take to end after Ctrl-C."""


class Scoring(msgspec.Struct, frozen=True):
    """One call of the program: which Python, and what it is to score."""

    python: str
    named_by: str
    """The key that names this Python; empty: it is hitui's own."""
    units: tuple[dict[str, Any], ...]
    """As the program's plan has them: `{"path"}`, or `{"name", "folders", "output"}`."""


def plan_scoring(
    catalogue: Catalogue, names: Sequence[str], runner: str | None = None
) -> tuple[Scoring, ...]:
    """What is to be called for files, folders and configs, in the order of the Pythons' first use.

    A path that exists is that file or folder by itself; any other name is a config, with all its folders. Raises
    NoSuchName, WorkspaceError for a config without answers, and LaunchError where no Python can be told.
    """
    units: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name in dict.fromkeys(names):
        config = None if os.path.lexists(name) else _config(catalogue, name)
        python = _python(catalogue.settings, None if config is None else config.runner, runner)
        units.setdefault(python, []).append({"path": name} if config is None else _unit(config))
    return tuple(Scoring(python, key, tuple(found)) for (python, key), found in units.items())


def chart_options(catalogue: Catalogue, scoring: Scoring, tables: str | None = None) -> tuple[str, ...]:
    """What the program is told of charts: their workbooks, their Pythons, and where scores are remembered.

    `tables`: a folder of workbooks; None: the dataset's.
    """
    settings = catalogue.settings
    folder = Path(tables) if tables is not None else None
    if folder is None and catalogue.data_folder is not None:
        folder = catalogue.data_folder / "tables"
    own = settings.charts.python
    pythons = [scoring.python, sys.executable] if own is None else [settings.program(own)]
    return (
        *(() if folder is None else ("--tables", str(folder))),
        *(word for python in dict.fromkeys(pythons) for word in ("--chart-python", python)),
        *("--remember", str(chart_scores_file())),
    )


def unit_of(catalogue: Catalogue, name: str) -> dict[str, Any]:
    """What a name stands for, as the program's plan has it: a path that exists, else a config.

    Raises NoSuchName, and WorkspaceError for a config without answers.
    """
    return {"path": name} if os.path.lexists(name) else _unit(_config(catalogue, name))


def run_scoring(
    scoring: Scoring, options: Sequence[str], *, capture: bool, program: str = "score"
) -> tuple[int, bytes]:
    """Runs the program to its end; its exit status, and with `capture` what it printed on stdout.

    Without `capture` that goes where this process's own goes. Whatever is raised meanwhile ends it, and so does whatever
    kills this process: then a pipe ends that only this one holds. Raises LaunchError when it cannot be started, or ends
    in a way that no program of ours does.
    """
    command = [scoring.python, runners_folder(), program, "--plan", "-", "--until-stdin-ends", *options]
    where = f"hitui.toml: {scoring.named_by}" if scoring.named_by else "hitui's own Python"
    if scoring.named_by:
        _require_python(scoring.python, where)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if capture else None
        )
    except OSError as error:
        raise LaunchError(f"{where}: {scoring.python}: {error.strerror}; correct the path") from error
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"units": scoring.units}).encode() + b"\n")
            process.stdin.flush()
        printed = b"" if process.stdout is None else process.stdout.read()
        process.wait()
    except KeyboardInterrupt:
        # Ctrl-C went to it too, and it ends the charts that it runs.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
            process.kill()
            process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        if process.stdout is not None:
            process.stdout.close()
    status = process.returncode
    if status not in (0, 1, 130):
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise LaunchError(
            f"{where}: {scoring.python}: the program {program!r} ended with {how}; run it again"
        )
    return status, printed


def _require_python(python: str, where: str) -> None:
    """Raises LaunchError for what is no Python that our programs run on: nobody could tell from how they end."""
    try:
        done = subprocess.run(
            [python, "-c", "import sys; print('python', '%d.%d' % sys.version_info[:2])"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LaunchError(
            f"{where}: {python} did not answer in {_ASK_SECONDS:.0f} s; look at its disk"
        ) from error
    except OSError as error:
        raise LaunchError(f"{where}: {python}: {error.strerror}; correct the path") from error
    word, _, version = done.stdout.decode(errors="replace").strip().partition(" ")
    if done.returncode or word != "python" or not re.fullmatch(r"\d+\.\d+", version):
        raise LaunchError(f"{where}: {python} is no Python; name one")
    if old := too_old(version):
        raise LaunchError(f"{where}: {python} {old}; name a newer one")


def _config(catalogue: Catalogue, name: str) -> Config:
    try:
        config = catalogue.find(name)
    except NoSuchName as error:
        raise NoSuchName(f"{error}; nor is it a file or folder") from error
    if config.kind != KIND:
        raise WorkspaceError(
            f"{config.name}: is of the kind {config.kind}, which has no answers to score; name a config of {KIND}"
        )
    return config


def _unit(config: Config) -> dict[str, Any]:
    return {"name": config.name, "folders": config.folders, "output": config.output}


def _python(settings: Settings, of_config: str | None, asked_for: str | None) -> tuple[str, str]:
    """The Python, and the key that names it.

    That of the runner that was asked for, else of the config's own; else, where it has none of ours, the only one
    that `hitui.toml` names for a runner of ours; else hitui's own.
    """
    if asked_for is not None and asked_for not in settings.runners:
        known = ", ".join(settings.runners) or "none"
        raise LaunchError(f"--runner {asked_for}: there is no such runner in hitui.toml; there: {known}")
    name = asked_for or of_config
    if name in settings.runners and (asked_for or settings.runners[name].command is None):
        return _named(settings, name)
    named = [name for name, runner in settings.runners.items() if runner.python is not None]
    found = {_named(settings, name)[0]: name for name in reversed(named)}
    if len(found) > 1:
        raise LaunchError(
            f"hitui.toml: several runners have a Python of their own; say by --runner which one is to score: "
            f"{', '.join(named)}"
        )
    return _named(settings, named[0]) if named else (sys.executable, "")


def _named(settings: Settings, runner: str) -> tuple[str, str]:
    text = settings.runners[runner].python
    if text is None:
        return sys.executable, ""
    return settings.program(text), f"[runner.{runner}] python"
