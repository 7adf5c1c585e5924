"""A Python that finds nothing but its standard library.

For runners where the scores are not the point: loading the libraries of two of them takes most of a run of the demo.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

PLAIN_PYTHON = (str(Path(sys.base_prefix) / "bin" / "python3"), "-I", "-S")


def demo_runner(folder: Path, name: str = "demo", keys: str = "") -> str:
    """Settings of a runner with the demo engine and such a Python, which is written into the folder as one program."""
    program = folder / "plain-python"
    if not program.exists():
        # Else a runner may start it at this moment.
        program.write_text(f'#!/bin/sh\nexec {shlex.join(PLAIN_PYTHON)} "$@"\n')
        program.chmod(0o755)
    return f'[runner.{name}]\nengine = "demo"\npython = "{program}"\n{keys}\n'
