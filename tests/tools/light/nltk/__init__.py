"""nltk without what it loads at once: ROUGE asks for one of its stemmers, and each runner would spend half a second.

First on the path of the processes that tests start; the tests' own process has nltk itself. All modules are those
of the nltk that is installed; where none is, there is none.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_whole = PathFinder.find_spec("nltk", [path for path in sys.path if Path(path).resolve() != _HERE.parent])
if _whole is None or _whole.submodule_search_locations is None:
    raise ModuleNotFoundError("No module named 'nltk'", name="nltk")
__path__ = [str(_HERE), *_whole.submodule_search_locations]
