"""A small workspace for the tests of the read side."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.results import write_dataset, write_questions


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Ten questions, whole dataset, nothing answered."""
    write_questions(tmp_path / "data" / "questions.json", range(1, 11), {10: "Visualization"})
    write_dataset(tmp_path / "data", [f"table{number}" for number in range(1, 11)])
    return tmp_path


@pytest.fixture
def folder(workspace: Path) -> Path:
    return workspace / "result" / "g" / "mix_html"
