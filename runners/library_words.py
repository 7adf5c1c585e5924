"""What libraries log, shown a few times and no more.

Some say the same at each of the many layers of a model and for each new token: a run's log would grow without end.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter

AT_MOST = 3
"""How often one kind of line of one library is shown."""


class _AFewTimes(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._shown: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        # As it is before the numbers are put in.
        kind = record.name, str(record.msg)
        self._shown[kind] += 1
        return self._shown[kind] <= AT_MOST


def bound_repetitions(root: logging.Logger | None = None) -> None:
    """Bounds what `root` (None: that of all loggers), and every logger with a place of its own, writes to the terminal or
    the job's log. For libraries that are imported already; what others write elsewhere is theirs."""
    root = logging.getLogger() if root is None else root
    if not root.handlers:
        # Python's last resort, which takes no filter, is for loggers without any.
        root.addHandler(logging.StreamHandler())
    known = [one for one in logging.Logger.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for logger in (root, *known):
        for handler in logger.handlers:
            is_ours = isinstance(handler, logging.StreamHandler) and handler.stream in (
                sys.stderr,
                sys.stdout,
            )
            if is_ours and not any(isinstance(one, _AFewTimes) for one in handler.filters):
                handler.addFilter(_AFewTimes())
