"""A claim on the memory of simulated GPUs: the file that stands for what a process holds on a real one.

`$HITUI_SIMULATED_GPUS/gpus.json` lists the GPUs: `{"gpus": [{"index", "uuid", "memory_total", …}]}`. A claim is
`claims/PID.json` beside it: `{"pid", "start_time": field 22 of /proc/PID/stat, "memory": {uuid: bytes},
"utilization": percent}`. A claim whose process (pid and start time) is gone counts for nothing, so a killed
process gives its memory back as on a real GPU.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from hitui_runners.errors import RunnerError

GPUS_VARIABLE = "HITUI_SIMULATED_GPUS"
CLAIMED_BYTES = 18 * 1024**3
"""About what a vision-language model of 8 billion parameters takes in bfloat16."""
CLAIMED_UTILIZATION = 90


class GpuClaim:
    """What this process holds on the GPUs that CUDA_VISIBLE_DEVICES names; without that, on the first one."""

    def __init__(self, folder: Path, visible: str | None) -> None:
        self._folder = folder
        self._visible = visible
        self._file = folder / "claims" / f"{os.getpid()}.json"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> GpuClaim | None:
        """None where there are no simulated GPUs."""
        folder = environment.get(GPUS_VARIABLE)
        return cls(Path(folder), environment.get("CUDA_VISIBLE_DEVICES")) if folder else None

    def take(self) -> None:
        """Writes the claim. Raises RunnerError for a GPU that does not exist."""
        path = self._folder / "gpus.json"
        try:
            gpus = {str(gpu["uuid"]): gpu for gpu in json.loads(path.read_text(encoding="utf-8"))["gpus"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunnerError(f"{path}: the simulated GPUs cannot be read: {error}") from error
        memory = {}
        for wanted in self._wanted(list(gpus)):
            gpu = gpus.get(wanted)
            if gpu is None:
                raise RunnerError(f"{path}: there is no GPU {wanted!r}, which CUDA_VISIBLE_DEVICES names")
            memory[wanted] = min(CLAIMED_BYTES, int(gpu["memory_total"]))
        claim = {
            "pid": os.getpid(),
            "start_time": start_time(),
            "memory": memory,
            "utilization": CLAIMED_UTILIZATION,
        }
        try:
            self._file.parent.mkdir(exist_ok=True)
            partial = self._file.with_suffix(".part")
            partial.write_text(json.dumps(claim), encoding="utf-8")
            partial.replace(self._file)
        except OSError as error:
            raise RunnerError(f"{self._file}: the claim cannot be written: {error.strerror}") from error

    def release(self) -> None:
        """Removes the claim; a file that is gone, or cannot be removed, does no harm once this process ends."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _wanted(self, uuids: list[str]) -> list[str]:
        if self._visible is None:
            return uuids[:1]
        entries = [entry.strip() for entry in self._visible.split(",") if entry.strip()]
        return [
            uuids[int(entry)] if entry.isdigit() and int(entry) < len(uuids) else entry for entry in entries
        ]


def start_time() -> int:
    """When this process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5))."""
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    # The name in the second field may hold spaces and brackets; it ends at the last bracket.
    return int(stat.rpartition(")")[2].split()[19])
