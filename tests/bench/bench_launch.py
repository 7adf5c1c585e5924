"""From the wish to the runner's first instruction, beside a bare start of the same program.

The supervisor runs already, the GPU is free, the hold time is 0: what is left is the request, the reading of
the config's results, the claim on disk, the launcher and the runner's own start.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.tools.control import HEAD, Control, control
from tests.tools.eventually import eventually

ROUNDS = 15
FIRST_INSTRUCTION = "import sys, time; open(sys.argv[1], 'a').write(f'{time.time()}\\n')"


def main() -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        with control(folder, patch) as here:
            stamps = folder / "stamps"
            argv = [sys.executable, "-I", "-S", "-c", FIRST_INSTRUCTION, str(stamps)]
            elements = ", ".join(f"'''{element}'''" for element in argv)
            (here.root / "hitui.toml").write_text(
                f"{HEAD}[runner.x]\ncommand = [{elements}]\n"
                '[[config]]\nname = "g/x"\nrunner = "x"\nmodality = "text"\nformat = "html"\n'
            )
            here.connect()
            bare = [_bare(argv, stamps) for _ in range(ROUNDS)]
            # Two of each first: the supervisor, and its reading of the GPUs, must be there.
            launched = [_launched(here, stamps) for _ in range(ROUNDS + 2)][2:]
    bare_ms, launched_ms = statistics.median(bare) * 1000, statistics.median(launched) * 1000
    print(f"bare start of the runner's program: {bare_ms:.0f} ms")
    print(f"from the request to its first instruction: {launched_ms:.0f} ms (aim: < 200 ms)")
    print(f"ratio: {launched_ms / bare_ms:.1f}")


def _bare(argv: list[str], stamps: Path) -> float:
    begun = time.time()
    subprocess.run(argv, check=True)
    return _last(stamps) - begun


def _launched(here: Control, stamps: Path) -> float:
    before = stamps.stat().st_size
    begun = time.time()
    job_id = here.submit("x")
    eventually(lambda: stamps.stat().st_size > before)
    lasted = _last(stamps) - begun
    here.ended(job_id)
    return lasted


def _last(stamps: Path) -> float:
    return float(stamps.read_text().splitlines()[-1])
