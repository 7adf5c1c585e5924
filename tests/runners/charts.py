"""What the tests of charts share: a workbook, and sandboxes with small limits."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts.sandbox import Limits, Program, Ran, Sandbox, find_sandbox
from hitui_runners.realhitbench.charts.walls import BUBBLEWRAP, NAMESPACES

MIB = 2**20
SMALL = Limits(
    cpu_seconds=10, seconds=120.0, memory=1024 * MIB, processes=6, file_size=8 * MIB, scratch=16 * MIB
)


def write_workbook(path: Path) -> Path:
    """Harbours and how many ships came."""
    import openpyxl

    book = openpyxl.Workbook()
    for row in (("Harbour", "Ships"), ("Saltby", 41), ("Lower Quay", 63), ("Ness", 7)):
        book.active.append(row)
    book.save(path)
    return path


@pytest.fixture(scope="session")
def workbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_workbook(tmp_path_factory.mktemp("tables") / "harbours.xlsx")


@pytest.fixture(scope="session", params=[BUBBLEWRAP, NAMESPACES])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Of each kind, with this Python as the chart environment."""
    return find_sandbox(sys.executable, SMALL, kinds=(request.param,))


@pytest.fixture(scope="session")
def chart_sandbox() -> Sandbox:
    """The best one, with the limits that users get."""
    return find_sandbox(sys.executable)


def run(sandbox: Sandbox, code: str, workbook: Path, kind: str = "line") -> Ran:
    return sandbox.run(Program(textwrap.dedent(code), workbook), kind)
