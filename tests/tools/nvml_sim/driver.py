"""The simulated driver in the hands of a test: says what its GPUs do, in this process and in others."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE_VARIABLE = "NVML_SIM_FILE"


@dataclass(frozen=True)
class NvmlDriver:
    library: Path
    file: Path

    def write(self, text: str) -> None:
        """Replaces what the driver says, at once for every process that uses it."""
        beside = self.file.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.file)

    def unload(self) -> None:
        """From now on the driver is not loaded."""
        self.file.unlink()

    @property
    def environment(self) -> Mapping[str, str]:
        """For subprocesses, whose libnvidia-ml.so.1 is then this one."""
        kept = {name: value for name, value in os.environ.items() if name != "HITUI_SIMULATED_GPUS"}
        return {**kept, "LD_LIBRARY_PATH": str(self.library.parent), FILE_VARIABLE: str(self.file)}

    def serve_this_process(self) -> None:
        """Loads the library, so that the loader answers for its name, libnvidia-ml.so.1, with it."""
        ctypes.CDLL(str(self.library))

    @property
    def users(self) -> int:
        """How many nvmlInit of this process have had no nvmlShutdown yet."""
        count: int = ctypes.CDLL(str(self.library)).nvml_sim_users()
        return count
