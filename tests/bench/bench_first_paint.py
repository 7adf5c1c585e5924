"""First paint of the dashboard on a workspace, against a bare Textual application (aim: within 1.3 times).

Both run from bytecode, as they are installed: where the environment forbids to write it, hitui would be compiled
anew at every start, and Textual not.
"""

from __future__ import annotations

import compileall
import os
import statistics
import sys
import tempfile
from pathlib import Path

import hitui
from tests.bench.terminal import TerminalProgram
from tests.tools.workspaces import real_or_made_up_workspace

BARE = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("first paint")

Bare().run()
"""
ROUNDS = 7


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workspace = real_or_made_up_workspace(folder / "workspace")
        compileall.compile_dir(Path(hitui.__file__).parent, quiet=1)
        env = {
            **os.environ,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
        }
        programs = {
            "bare Textual application": ([sys.executable, "-c", BARE], b"first paint"),
            "hitui": ([str(Path(sys.executable).with_name("hitui")), "-w", str(workspace)], b"Configs"),
        }
        times: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(ROUNDS):
            for name, (argv, marker) in programs.items():
                with TerminalProgram(argv, env) as program:
                    times[name].append(program.seconds_until(marker))
        bare, ours = (statistics.median(values) for values in times.values())
        print(
            f"first paint: bare Textual {bare * 1000:.0f} ms, hitui {ours * 1000:.0f} ms, ratio {ours / bare:.2f} (aim: 1.3)"
        )
