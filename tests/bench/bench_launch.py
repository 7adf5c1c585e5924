"""From the key press and from the request to the runner's first instruction, beside a bare start of the program.

The supervisor runs already, the GPU is free, the hold time is 0: what is left is the request, the reading of
the config's results, the claim on disk, the launcher and the runner's own start. The key is the Enter that
answers the dialog of a dashboard in a terminal of its own; beside it the time in which `r` opens that dialog.
"""

from __future__ import annotations

import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import hitui
from tests.bench.terminal import TerminalProgram
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
            compileall.compile_dir(Path(hitui.__file__).parent, quiet=1)
            program = [sys.executable, "-m", "hitui", "-w", str(here.root)]
            with TerminalProgram(program, dict(os.environ)) as screen:
                screen.painted(b"to rerun", b"to run")
                pressed = [_pressed(here, screen, stamps) for _ in range(ROUNDS + 2)][2:]
    opened, started = zip(*pressed, strict=True)
    bare_ms = statistics.median(bare) * 1000
    print(f"bare start of the runner's program: {bare_ms:.0f} ms")
    for name, times in (("key press", started), ("request", launched)):
        median = statistics.median(times) * 1000
        print(
            f"from the {name} to its first instruction: {median:.0f} ms, at most {max(times) * 1000:.0f} "
            f"(aim: < 200), {median / bare_ms:.1f} times the bare start"
        )
    print(f"from `r` to the dialog: {statistics.median(opened) * 1000:.0f} ms")


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


def _pressed(here: Control, screen: TerminalProgram, stamps: Path) -> tuple[float, float]:
    """Seconds from `r` to the dialog, and from Enter in it to the runner's first instruction."""
    before = stamps.stat().st_size
    while True:
        begun = time.time()
        screen.press(b"r")
        if screen.painted(b"start 1 job", b"Nothing can start") == b"start 1 job":
            break
        # The end of the job before has not been told to the screen yet.
        screen.press(b"\x1b")
        screen.drain(0.2)
    opened = time.time() - begun
    begun = time.time()
    screen.press(b"\r")
    screen.read_until(lambda: stamps.stat().st_size > before)
    lasted = _last(stamps) - begun
    screen.read_until(lambda: not any(job.active for job in here.client.jobs().jobs))
    return opened, lasted


def _last(stamps: Path) -> float:
    return float(stamps.read_text().splitlines()[-1])
