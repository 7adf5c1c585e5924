"""Starts a program of this package: `python -m hitui_runners …` or `python /path/to/the/folder …`.

The second form is for a Python that has nothing of hitui installed: whatever the folder is called, it is
loaded as the package `hitui_runners`. Python puts such a folder at the head of `sys.path`, where its modules
would hide others of the same name; it is taken out again.

This file alone is read by older Pythons than the package needs, to say so.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = "hitui_runners"
OLDEST = (3, 10)
EXIT_STATUS = 78
"""As where anything else about the setup is at fault: it would be so again."""


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
    if sys.version_info < OLDEST:
        version, needed = (".".join(map(str, numbers[:2])) for numbers in (sys.version_info, OLDEST))
        sys.stderr.write(
            f"error: {sys.executable}: is Python {version}, and {needed} is needed; name a newer one as python\n"
        )
        sys.exit(EXIT_STATUS)
    if __package__ != PACKAGE:
        _load_package()
    sys.exit(importlib.import_module(f"{PACKAGE}.programs").main())
