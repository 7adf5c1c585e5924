"""`hitui doctor`: what is here, what is not, and how to mend it; one line each."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.executors.locks import is_locked
from hitui.adapters.gpus import open_source
from hitui.adapters.gpus.monitor import GpuMonitor
from hitui.commands.saying import harmless
from hitui.errors import SettingsError, SupervisorError, WorkspaceError
from hitui.factory import folder_of
from hitui.paths import RuntimePaths, find_workspace
from hitui.services import health, health_workspace
from hitui.services.health import Finding, Level
from hitui.settings import Settings, load_settings
from hitui.supervisor.client import SupervisorClient

_SIGNS = {Level.OK: "ok  ", Level.WARN: "warn", Level.FAIL: "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one object")


def run(arguments: argparse.Namespace) -> int:
    """1 when something fails, 0 when there is at most something to be warned of."""
    found = []
    for finding in _examine(arguments.workspace):
        found.append(finding)
        if not arguments.json:
            mend = f" -> {finding.mend}" if finding.mend else ""
            print(harmless(f"{_SIGNS[finding.level]}  {finding.name}: {finding.what}{mend}"), flush=True)
    level = health.worst(tuple(found))
    if arguments.json:
        checks = [
            {"name": each.name, "level": each.level.value, "what": each.what, "mend": each.mend or None}
            for each in found
        ]
        print(json.dumps({"level": level.value, "checks": checks}, indent=2))
    return 1 if level is Level.FAIL else 0


def _examine(workspace: str | None) -> Iterator[Finding]:
    yield from health.examine_python()
    try:
        root, file = find_workspace(folder_of(workspace))
    except WorkspaceError as error:
        what, _, mend = str(error).partition("; ")
        yield health.fail("workspace", what, mend)
        return
    settings = Settings(root=root)
    try:
        settings = load_settings(root, file)
        yield from health_workspace.examine_settings(settings)
        are_read = True
    except SettingsError as error:
        # The rest is looked at with the defaults.
        are_read = False
        yield health.fail("settings", str(error), "correct it; until then no command works here")
    yield from health.examine_gpus(GpuMonitor(open_source).read_once(), frozenset(settings.gpus.exclude))
    yield from health_workspace.examine_files(Catalogue(settings))
    if are_read:
        yield from health_workspace.examine_runners(settings)
    yield from health_workspace.examine_scores(settings)
    yield from health_workspace.examine_notifications(settings)
    paths = RuntimePaths.of(root)
    yield from health.examine_state(paths)
    client = SupervisorClient(paths)
    yield from _examine_store(client, paths)
    yield _examine_supervisor(client, paths)
    yield from health.examine_watching()
    yield from health.examine_terminal(os.environ, sys.stdout.isatty())


def _examine_supervisor(client: SupervisorClient, paths: RuntimePaths) -> Finding:
    """Whether one runs, and is the one whose state folder this is."""
    answers, holds_lock = client.answers(), False
    with contextlib.suppress(OSError):
        holds_lock = is_locked(paths.supervisor_lock)
    if answers and not holds_lock:
        what = f"the one that runs has another state folder than {paths.state}"
        return health.warn("supervisor", what, "set HOME and XDG_STATE_HOME as where it was started")
    if answers:
        what, _, mend = (client.other_code() or "").partition("; ")
        return health.warn("supervisor", what, mend) if what else health.ok("supervisor", "runs")
    if holds_lock:
        what = "one runs that does not answer: it begins or ends, or is in another container or on another machine"
        return health.warn("supervisor", what, "work there, or end it there; its jobs go on")
    return health.ok("supervisor", "none runs; the first job starts one")


def _examine_store(client: SupervisorClient, paths: RuntimePaths) -> Iterator[Finding]:
    """The file in which the supervisor keeps its jobs, once there is one."""
    try:
        client.check_store()
    except SupervisorError as error:
        what, _, mend = str(error).partition("; ")
        yield health.fail("job store", what, mend)
    else:
        if os.path.lexists(paths.database):
            yield health.ok("job store", str(paths.database))
