"""hitui as a user runs it, with its runtime state, its GPU locks and its GPUs in a folder of the test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tools.ready_python import run_hitui

GIB = 2**30


class Sandbox:
    """Commands on one workspace. Use as a context manager: at the end the supervisor is stopped."""

    def __init__(self, folder: Path, workspace: Path, gpu_count: int = 4) -> None:
        self.workspace = workspace
        self.gpu_folder = folder / "gpus"
        # A socket's path may have no more than 107 bytes, and a test's folder has many already.
        self._runtime = tempfile.mkdtemp(prefix="hitui-test-")
        self.env: dict[str, str] = {
            **os.environ,
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_RUNTIME_DIR": self._runtime,
            "HITUI_GPU_LOCKS": str(folder / "gpu-locks"),
            "HITUI_SIMULATED_GPUS": str(self.gpu_folder),
            "HITUI_DEMO_SECONDS": "0.05",
            "HF_HUB_OFFLINE": "1",
        }
        write_gpus(self.gpu_folder, gpu_count)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        # A supervisor writes there before all else; most commands start none.
        if any(Path(self.env["XDG_STATE_HOME"]).glob("hitui/*")):
            self._stop()
        shutil.rmtree(self._runtime)

    def _stop(self) -> None:
        running = json.loads(self.hitui("jobs", "--json").stdout or "[]")
        active = [
            str(job["id"]) for job in running if job["state"] in ("queued", "starting", "running", "stopping")
        ]
        if active:
            self.hitui("stop", *active)
        self.hitui("supervisor", "stop")

    def hitui(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end."""
        return run_hitui("-w", str(self.workspace), *words, env={**self.env, **(env or {})})

    def json(self, *words: str) -> Any:
        """What a command prints with `--json`; its failure is the test's."""
        run = self.hitui(*words, "--json")
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def settings(self, text: str) -> None:
        (self.workspace / "hitui.toml").write_text(text, encoding="utf-8")


def write_gpus(folder: Path, count: int) -> None:
    """Simulated GPUs that nobody uses."""
    gpus = [
        {
            "index": index,
            "uuid": f"GPU-7e570000-0000-4000-8000-{index:012d}",
            "name": "Simulated 80GB",
            "memory_total": 80 * GIB,
            "memory_used": 0,
            "utilization": 0,
            "temperature": 30,
            "power": 60.0,
            "power_limit": 400.0,
            "error": None,
            "processes": [],
        }
        for index in range(count)
    ]
    (folder / "claims").mkdir(parents=True)
    (folder / "gpus.json").write_text(json.dumps({"driver": "simulated", "gpus": gpus}))
