"""With which settings results were made: what our runner writes beside them goes with them.

    {"written_by": "hitui", "runs": [{"id": …, "settings": {…}, …}, …]}

A result names its run by the id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from hitui.adapters.files.atomic import write_atomically
from hitui.adapters.files.look import is_file

NAME = "run_settings.json"
RUN = "Settings"
"""Key of a result: the id of the run that made it."""


def carry_over(sources: Iterable[Path], folder: Path, wanted: Collection[str]) -> None:
    """Adds the runs with these ids that are on record in the folders `sources` to those of `folder`.

    What is on record there stays; a file of no use is left as it is. Raises WorkspaceError where it cannot be written.
    """
    there = _runs(folder / NAME)
    if there is None:
        return
    runs = {run["id"]: run for run in there if _is_run(run)}
    before = len(runs)
    for source in sorted(sources):
        for run in _runs(source / NAME) or ():
            if _is_run(run) and run["id"] in wanted:
                runs.setdefault(run["id"], run)
    if len(runs) > before:
        others = [run for run in there if not _is_run(run)]
        content = json.dumps(
            {"written_by": "hitui", "runs": [*others, *runs.values()]}, indent=2, ensure_ascii=False
        )
        write_atomically(folder / NAME, content.encode("utf-8", "backslashreplace") + b"\n")


def _runs(path: Path) -> list[Any] | None:
    """Whatever is listed as runs; None: the file says nothing that can be understood."""
    if os.path.lexists(path) and not is_file(path):
        # A pipe would be waited for, and a device read without an end.
        return None
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError):
        return None
    runs = data.get("runs") if isinstance(data, dict) else None
    return runs if isinstance(runs, list) else None


def _is_run(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str)
