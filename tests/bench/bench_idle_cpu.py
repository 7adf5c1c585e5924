"""Processor time and memory of the idle screen, against nvitop on the same simulated driver."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.bench.terminal import TerminalProgram
from tests.tools.nvml_sim.build import build
from tests.tools.workspaces import real_or_made_up_workspace

SETTLE, SECONDS = 6.0, 20.0

SERVER = """\
driver 535.104.05
cuda 12020
count 8
gpu * name NVIDIA A800-SXM4-80GB
gpu * mem_total 80GiB
gpu * mem_used 40GiB
gpu 0 util_gpu 97
gpu 0 temp 61
gpu 0 power 312
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workspace = real_or_made_up_workspace(folder / "workspace")
        gpus = folder / "gpus.txt"
        gpus.write_text(SERVER)
        env = {
            **os.environ,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "NVML_SIM_FILE": str(gpus),
            "LD_LIBRARY_PATH": str(build(folder).parent),
        }
        results = {}
        for name, argv in {
            "nvitop": [sys.executable, "-m", "nvitop", "-m"],
            "hitui": [sys.executable, "-m", "hitui", "-w", str(workspace)],
        }.items():
            with TerminalProgram(argv, env) as program:
                results[name] = program.cpu_percent(SETTLE, SECONDS)
        for name, (percent, memory, painted) in results.items():
            print(
                f"{name}: {percent:.1f}% of a core, {memory:.0f} MiB, {painted / SECONDS / 1024:.1f} KiB/s painted"
            )
        print(
            f"idle screen: {results['hitui'][0] / max(results['nvitop'][0], 0.05):.1f} times nvitop's processor time"
        )
