"""Runners of a test's own under a `Control`: a few lines of Python each, run as config `g/NAME`.

A program finds `output` (its folder, which exists), `event(kind, **values)` and `say(name)`, which writes its pid
into `NAME.pid` of the folder as `Control.told` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.tools.control import HEAD, Control
from tests.tools.plain_python import PLAIN_PYTHON

_BEFORE = """
import json, os, pathlib, signal, sys, time
output = pathlib.Path(sys.argv[1])
output.mkdir(parents=True, exist_ok=True)
def event(kind, **values):
    with open(os.environ["HITUI_EVENTS"], "a") as file:
        file.write(json.dumps({"time": time.time(), "event": kind, **values}) + "\\n")
def say(name):
    beside = output / f"{name}.{os.getpid()}"
    beside.write_text(str(os.getpid()))
    beside.replace(output / f"{name}.pid")
def wait():
    while True:
        signal.pause()
"""


def write_programs(
    here: Control, programs: Mapping[str, str], queue: str = "", keys: Mapping[str, str] | None = None
) -> None:
    """Makes these the runners of the workspace. `queue`: lines of `[queue]`; `keys`: lines of a config, by name."""
    folder = here.root.parent / "programs"
    folder.mkdir(exist_ok=True)
    text = [HEAD.replace("retries = 0", queue)]
    for name, source in programs.items():
        path = folder / f"{name}.py"
        path.write_text(_BEFORE + source)
        command = [*PLAIN_PYTHON, str(path), "{output}"]
        text.append(
            f"[runner.{name}]\ncommand = {json.dumps(command)}\n"
            f'[[config]]\nname = "g/{name}"\nrunner = "{name}"\nmodality = "text"\nformat = "html"\n'
            f"{(keys or {}).get(name, '')}\n"
        )
    (here.root / "hitui.toml").write_text("\n".join(text))
    here.connect()


def execute_themselves(here: Control) -> None:
    """From now on no Python stands before the programs in their commands."""
    settings = here.root / "hitui.toml"
    python = json.dumps(PLAIN_PYTHON).removesuffix("]")
    settings.write_text(settings.read_text().replace(f"{python}, ", "["))
