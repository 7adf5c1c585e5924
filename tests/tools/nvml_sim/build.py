"""Builds the simulated driver: `python tests/tools/nvml_sim/build.py FOLDER` leaves libnvidia-ml.so.1 there.

NVML_SIM_FILE=gpus.txt LD_LIBRARY_PATH=FOLDER hitui gpus
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCES = tuple(Path(__file__).with_name(name) for name in ("nvml_sim.c", "driver_file.c"))
LIBRARY = "libnvidia-ml.so.1"
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")


def build(folder: Path) -> Path:
    """The library in `folder`, compiled anew. Raises CalledProcessError with gcc's words in `stderr`."""
    library = folder / LIBRARY
    unfinished = folder / f"{LIBRARY}.{os.getpid()}"
    subprocess.run(
        ["gcc", *FLAGS, f"-Wl,-soname,{LIBRARY}", "-o", str(unfinished), *map(str, SOURCES), "-lpthread"],
        check=True,
        capture_output=True,
        text=True,
    )
    unfinished.replace(library)
    return library


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))  # noqa: T201 - a command
