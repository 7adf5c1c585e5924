"""The programs of this package, by the word that starts them.

A program is a module with `main(arguments) -> exit status`. It is imported only when asked for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from hitui_runners.output import close, complain, prepare

PROGRAMS: dict[str, str] = {
    "judge": "hitui_runners.realhitbench.judge",
    "realhitbench": "hitui_runners.realhitbench.evaluate",
    "score": "hitui_runners.realhitbench.score",
    "server": "hitui_runners.server",
}


def main(words: Sequence[str] | None = None) -> int:
    """Runs one program and returns its exit status; 2 where no known one is named."""
    prepare()
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] not in PROGRAMS:
        complain(f"usage: hitui_runners {{{','.join(PROGRAMS)}}} … (--help behind it explains)")
        return 0 if words in (["-h"], ["--help"]) else 2
    try:
        status: int = importlib.import_module(PROGRAMS[words[0]]).main(words[1:])
    finally:
        close()
    return status
