"""What lives for days imports all of its code while that is of one version: an upgrade replaces the files beneath it."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import hitui
from hitui.paths import RuntimePaths
from hitui.supervisor import running
from hitui.supervisor.listening import SupervisorSocket
from hitui.ui import app
from tests.ui import sample
from tests.ui.conftest import until

NO_MORE = """
import sys

class Replaced:
    def find_spec(self, name, path, target=None):
        if name.startswith("hitui"):
            raise ImportError(f"{name} is of another version")

sys.meta_path.insert(0, Replaced())
"""


def run(*code: str, simulated: str = "") -> str:
    program = [sys.executable, "-c", "\n".join(code)]
    done = subprocess.run(
        program, env={"HITUI_SIMULATED_GPUS": simulated}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("simulated", ["", "/nowhere"])
def test_a_supervisor_has_all_that_it_imports_when_it_is_first_asked_for(simulated: str) -> None:
    run(
        "from hitui.supervisor.running import import_all, imported_later",
        "import_all(imported_later())",
        NO_MORE,
        "from hitui.adapters import checkpoints, executors, gpus",
        "gpus.open_source()",
        "for name in executors.EXECUTORS: executors.open_executor(name)",
        "for name in checkpoints.KINDS: checkpoints.make_reader(name, None)",
        simulated=simulated,
    )


def test_a_screen_has_all_that_it_imports_when_it_is_first_wanted() -> None:
    """A key that nobody had pressed yet ended the screen with a traceback once hitui had been upgraded."""
    printed = run(
        "import sys, hitui.factory, hitui.services.jobs, hitui.services.progress, hitui.services.workspace",
        "from hitui.ui.app import import_all, imported_later",
        "import_all(imported_later())",
        "from hitui.adapters.files import watch",
        "from hitui.adapters.gpus import locked, monitor",
        "print(*sys.modules)",
    )
    loaded = set(printed.split())
    root = Path(hitui.__file__).parent
    wanted = {}
    for path in root.rglob("*.py"):
        name = ".".join(("hitui", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        if name in loaded:
            wanted |= dict.fromkeys(imported_in_functions(path), name)
    assert wanted
    assert {module: by for module, by in wanted.items() if module not in loaded} == {}


def imported_in_functions(path: Path) -> set[str]:
    """The modules of hitui that are imported there when a function is called."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    found = [
        node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)
    ]
    return {node.module for node in found if node.module and node.module.startswith("hitui")}


def test_what_cannot_be_imported_is_left_to_who_needs_it() -> None:
    run("from hitui.loading import import_all", "import_all(['hitui.nothing:Reader', 'hitui.paths'])")


async def test_supervisor_and_screen_import_it_as_soon_as_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[set[str]] = []

    class Serving:
        def __init__(self, *_: object) -> None:
            pass

        def shut_down(self) -> None:
            pass

        async def serve(self, listener: object) -> None:
            pass

    paths = RuntimePaths(tmp_path / "state", tmp_path / "runtime")
    monkeypatch.setattr(running, "_say", lambda line: None)
    monkeypatch.setattr(running, "import_all", lambda names: imported.append(set(names)))
    with socket.socket() as listener:
        await running._serve(Serving(), SupervisorSocket(paths), listener)  # type: ignore[arg-type]
    monkeypatch.setattr(app, "import_all", lambda names: imported.append(set(names)))
    async with app.Dashboard(sample.services()).run_test() as pilot:
        await until(pilot, lambda: len(imported) == 2)
    assert "hitui.adapters.executors.local:LocalExecutor" in imported[0]
    assert "hitui.ui.screens.gpu_dialog" in imported[1]
