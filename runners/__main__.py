"""Starts a program of this package: `python -m hitui_runners …` or `python /path/to/the/folder …`.

The second form is for a Python that has nothing of hitui installed: whatever the folder is called, it is
loaded as the package `hitui_runners`. Python puts such a folder at the head of `sys.path`, where its modules
would hide others of the same name; it is taken out again.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "hitui_runners"


def _load_package() -> None:
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    if __package__ != PACKAGE:
        _load_package()
    sys.exit(importlib.import_module(f"{PACKAGE}.programs").main())
