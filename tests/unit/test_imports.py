"""What a command loads: a dashboard must start at once, a listing must not pay for the screen."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from hitui.cli import COMMANDS

MODEL_LIBRARIES = {"torch", "transformers", "accelerate", "hitui_runners"}
NOT_FOR_COMMANDS = {"textual", "rich"} | MODEL_LIBRARIES


def modules_after(statement: str) -> set[str]:
    """Top-level modules that are loaded once `statement` ran in a Python of its own."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_every_command_has_its_module() -> None:
    for verb in COMMANDS:
        assert importlib.util.find_spec(f"hitui.commands.{verb}") is not None, verb


def test_commands_load_neither_screen_nor_model() -> None:
    """One after the other in one process: what none has loaded after all of them, none loads alone."""
    statements = [f"import hitui.commands.{verb}" for verb in COMMANDS if verb != "demo"]
    assert not modules_after("\n".join(["import hitui.cli", *statements])) & NOT_FOR_COMMANDS


def test_the_screen_loads_no_model() -> None:
    loaded = modules_after("import hitui.ui.app")
    assert "textual" in loaded
    assert not loaded & MODEL_LIBRARIES
