"""Which Python the programs of charts run on, and what it has; told without starting a sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hitui_runners.realhitbench.charts.sandbox import LIBRARIES, NoSandbox

_BENCHMARKS = {
    "python": ("3.10.", "3.11."),
    "numpy": ("1.26.",),
    "pandas": ("2.2.",),
    "matplotlib": ("3.9.",),
}
_BENCHMARKS_WORDS = "numpy 1.26, pandas 2.2 and matplotlib 3.9 with Python 3.10 or 3.11"
_SECONDS = 60
_QUESTION = (
    "import json, platform, sys\n"
    "from importlib.metadata import PackageNotFoundError, version\n"
    "found = {'python': platform.python_version()}\n"
    "for name in sys.argv[1:]:\n"
    "    try:\n"
    "        found[name] = version(name)\n"
    "    except PackageNotFoundError:\n"
    "        pass\n"
    "print(json.dumps(found))\n"
)


@dataclass(frozen=True)
class ChartPython:
    """A Python with all that programs of charts use."""

    path: str
    versions: Mapping[str, str]
    """Its own as `python`, and those of `LIBRARIES`."""

    @property
    def described(self) -> str:
        """One line: what it has, and what is to be known of that."""
        line = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        if any(not self.versions[name].startswith(begins) for name, begins in _BENCHMARKS.items()):
            line += (
                f"; the benchmark's own runs had {_BENCHMARKS_WORDS}, others let a few programs end otherwise"
            )
        return line


def find_chart_python(candidates: Sequence[str]) -> ChartPython:
    """The first that has the libraries. Raises NoSandbox with what each of them lacks."""
    reasons = []
    for python in dict.fromkeys(candidates):
        # In a sandbox it has the same path, but not the same folder to start from.
        path = os.path.abspath(shutil.which(python) or python)  # noqa: PTH100 - a link of an environment stays one
        try:
            versions = _ask(path)
        except (OSError, ValueError) as error:
            reasons.append(f"{python}: {error}")
            continue
        absent = [name for name in LIBRARIES if name not in versions]
        if not absent:
            return ChartPython(path, versions)
        reasons.append(f"{python} lacks {', '.join(absent)}")
    raise NoSandbox(
        f"no Python for charts: {'; '.join(reasons)}; install {', '.join(LIBRARIES)} there, or name another ([charts] python)"
    )


def _ask(python: str) -> dict[str, str]:
    try:
        # It is the user's own, so it is asked outside of any sandbox, as it will run inside: without his packages and
        # his variables.
        answer = subprocess.run(
            [python, "-E", "-s", "-c", _QUESTION, *LIBRARIES],
            # What lies in the folder where somebody scores, a `json.py` of another user's, is not run.
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"does not answer within {_SECONDS} s") from error
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines()
        raise ValueError(said[-1] if said else f"ends with {answer.returncode}")
    try:
        found = json.loads(answer.stdout)
    except ValueError as error:
        raise ValueError("is no Python") from error
    if not isinstance(found, dict):
        raise ValueError("is no Python")
    return {str(name): str(version) for name, version in found.items()}
