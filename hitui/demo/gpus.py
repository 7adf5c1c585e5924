"""A shared server of four made-up GPUs, with other people's work that comes and goes.

`DIR/gpus.json` describes the GPUs and what others do on them; demo runners lay their claims beside it (see
`hitui.adapters.gpus.simulated`, which reads both).
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from pathlib import Path
from typing import Any

from hitui.adapters.files.atomic import write_atomically
from hitui.errors import WorkspaceError

GIB = 2**30
_PERIOD_SECONDS = 2.0


def _gpu(index: int, used: float, utilization: int, processes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "index": index,
        "uuid": f"GPU-0000de30-0000-4000-8000-00000000000{index}",
        "name": "Simulated 80GB",
        "memory_total": 80 * GIB,
        "memory_used": int(used * GIB),
        "utilization": utilization,
        "temperature": 33 + utilization // 3,
        "power": 58.0 + 2.5 * utilization,
        "power_limit": 400.0,
        "error": None,
        "processes": processes,
    }


def _process(pid: int, gigabytes: float, user: str, command: str) -> dict[str, Any]:
    return {"pid": pid, "memory": int(gigabytes * GIB), "user": user, "command": command}


def initial_gpus() -> list[dict[str, Any]]:
    """GPU 0 is busy with two other users, 1 and 2 are free, 3 is excluded by the demo's settings."""
    others = [
        _process(4100001, 60.0, "user1", "python train.py"),
        _process(4100002, 7.4, "user2", "python serve.py"),
    ]
    return [
        _gpu(0, 67.9, 97, others),
        _gpu(1, 0.5, 0, []),
        _gpu(2, 0.5, 0, []),
        _gpu(3, 79.2, 100, [_process(4100003, 78.6, "user3", "python pretrain.py")]),
    ]


def write_gpus(folder: Path, gpus: list[dict[str, Any]]) -> None:
    text = json.dumps({"driver": "simulated", "gpus": gpus}, indent=1)
    write_atomically(folder / "gpus.json", text.encode())


class LivelyGpus:
    """Lets the other users' load waver while the demo is on the screen; free GPUs stay free."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._waver, name="demo-gpus", daemon=True)

    def start(self) -> None:
        """Raises WorkspaceError where the folder cannot be written."""
        try:
            (self._folder / "claims").mkdir(parents=True, exist_ok=True)
            write_gpus(self._folder, initial_gpus())
        except OSError as error:
            raise WorkspaceError(
                f"{self._folder}: the simulated GPUs cannot be written there: {error.strerror}; "
                "name another folder with --folder"
            ) from error
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _waver(self) -> None:
        dice = random.Random()
        gpus = initial_gpus()
        while not self._stop.wait(_PERIOD_SECONDS):
            for gpu in gpus:
                if gpu["processes"]:
                    load = min(100, max(55, gpu["utilization"] + dice.randint(-9, 9)))
                    gpu.update(utilization=load, temperature=33 + load // 3, power=58.0 + 2.5 * load)
            # What cannot be written now stays as it was; a traceback would be painted over the screen.
            with contextlib.suppress(OSError):
                write_gpus(self._folder, gpus)
