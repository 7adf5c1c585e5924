"""The real benchmark, where it is present. Needs nothing of hitui: an environment with a model library has none of it."""

from __future__ import annotations

import os
from pathlib import Path

_DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "realhitbench"
QUESTIONS = "data/QA_final.json"


def real_data() -> Path | None:
    """The folder with data and results that HITUI_REALHITBENCH names; without it, one beside the project; None: absent."""
    folder = _folder()
    return folder if (folder / "result").is_dir() else None


def real_questions() -> Path | None:
    """The folder with the question list and its tables, results or none. Raises FileNotFoundError where
    HITUI_REALHITBENCH names one that is none: whoever names it does not want made-up ones."""
    folder = _folder()
    if (folder / QUESTIONS).is_file():
        return folder
    if os.environ.get("HITUI_REALHITBENCH"):
        raise FileNotFoundError(f"{folder}: has no {QUESTIONS}; see HITUI_REALHITBENCH")
    return None


def _folder() -> Path:
    named = os.environ.get("HITUI_REALHITBENCH")
    return Path(named) if named else _DEFAULT
