"""What the tests of charts share: workbooks, answers, sandboxes with small limits, and a chart environment of stubs."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.charts.sandbox import Limits, Program, Ran, Sandbox, find_sandbox
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP, NAMESPACES

MIB = 2**20
SMALL = Limits(
    cpu_seconds=10, seconds=120.0, memory=1024 * MIB, processes=6, file_size=8 * MIB, scratch=16 * MIB
)
PLOT = "import matplotlib.pyplot as plt\n"
HEAD = "import pandas as pd\nimport matplotlib.pyplot as plt\ntable = pd.read_excel('table.xlsx')\n"
STUBS = {
    "numpy": ("1.26.4", "class random:\n    seed = staticmethod(lambda number: None)\n"),
    "pandas": ("2.2.3", ""),
    "openpyxl": ("3.1.5", ""),
    "matplotlib": ("3.9.4", "import os\ndef get_cachedir():\n    return os.environ['MPLCONFIGDIR']\n"),
}
"""Version and text of each library: just what the sandbox itself uses of it."""
NEWER_STUBS = {
    **STUBS,
    "numpy": (
        "2.4.6",
        f"{STUBS['numpy'][1]}inf = 63.0\n"
        "def __getattr__(name):\n"
        "    raise AttributeError(f'{name} was removed')\n",
    ),
    "pandas": ("3.1.1", "class Series:\n    iloc = (7,)\n    __len__ = lambda self: 1\n"),
}
"""Without np.Inf, and with a series of one number that float() does not take."""
PYPLOT = """
class Line:
    def __init__(self, values):
        self.get_ydata = lambda: values
class axes:
    lines = []
def plot(values):
    axes.lines.append(Line(values))
def gca():
    return axes
def show():
    pass
def close(which):
    axes.lines.clear()
"""


def write_workbook(path: Path) -> Path:
    """Harbours and how many ships came."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in (("Harbour", "Ships"), ("Saltby", 41), ("Lower Quay", 63), ("Ness", 7)):
        book.active.append(row)
    book.save(path)
    return path


def chart_result(identifier: int, prediction: str, ecr: Any, passed: Any, **changes: Any) -> dict[str, Any]:
    """A result of a Visualization question whose right answer are the ships of the workbook."""
    return {
        "id": identifier,
        "FileName": "harbours",
        "QuestionType": "Visualization",
        "SubQType": "LineChart Generation",
        "Question": "Draw the ships.",
        "Reference": "[[41, 63, 7]]\n",
        "Prediction": prediction,
        "Metrics": {"ECR": ecr, "Pass": passed},
        "ProcessingTime": 1.0,
        **changes,
    }


@pytest.fixture(scope="session")
def workbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_workbook(tmp_path_factory.mktemp("tables") / "harbours.xlsx")


@pytest.fixture(scope="session", params=[BUBBLEWRAP, NAMESPACES])
def sandbox(request: pytest.FixtureRequest, stub_python: str) -> Sandbox:
    """Of each kind, with stubs for libraries."""
    return find_sandbox(stub_python, SMALL, kinds=(request.param,))


@pytest.fixture(scope="session", params=[BUBBLEWRAP, NAMESPACES])
def full_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Of each kind, with this Python as the chart environment."""
    return find_sandbox(sys.executable, SMALL, kinds=(request.param,))


@pytest.fixture(scope="session")
def chart_sandbox() -> Sandbox:
    """The best one, with the limits that users get; the same program is run once for all tests of a process."""
    sandbox = find_sandbox(sys.executable)
    sandbox.run = functools.cache(sandbox.run)  # type: ignore[method-assign]
    return sandbox


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user can read, which those of tests are not."""
    folder = Path(tempfile.mkdtemp(prefix="hitui-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stub_python() -> Iterator[str]:
    """A chart environment whose libraries are stubs, so that its programs start at once; every user can start it."""
    with _stub_environment(STUBS) as python:
        yield python


@pytest.fixture(scope="session")
def newer_stub_python() -> Iterator[str]:
    """The same with what newer libraries are."""
    with _stub_environment(NEWER_STUBS) as python:
        yield python


@contextlib.contextmanager
def _stub_environment(stubs: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="hitui-test-"))
    folder.chmod(0o755)
    base = python_for_everyone()
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(base)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(base).parent}\n")
    python = str(folder / "bin" / "python")
    asked = [python, "-c", "import site; print(site.getsitepackages()[0])"]
    packages = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    for name, (version, text) in stubs.items():
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text(f"__version__ = {version!r}\n{text}")
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (packages / "matplotlib" / "pyplot.py").write_text(PYPLOT)
    yield python
    shutil.rmtree(folder)


def python_for_everyone() -> str:
    """One that nobody can start: ours may lie in a home."""
    own = os.path.realpath(sys.executable)
    closed = [parent for parent in Path(own).parents if not parent.stat().st_mode & 0o001]
    return "/usr/bin/python3" if closed else own


def run(sandbox: Sandbox, code: str, workbook: Path, kind: str = "line") -> Ran:
    return sandbox.run(Program(textwrap.dedent(code), workbook), kind)


def running(word: str) -> list[int]:
    """Processes that have `word` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if word.encode() in words:
                found.append(int(entry.name))
    return found


def descriptors() -> set[str]:
    """Those that are open here."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}
