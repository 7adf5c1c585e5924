"""Imports beforehand what is otherwise imported when it is first asked for.

Supervisors and screens live for days, and an upgrade replaces hitui's files beneath them: what they import after that is
of another version than what they hold, or is not there any more.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable


def import_all(names: Iterable[str]) -> None:
    """Imports these modules; a name may go on with `:Class`, as in the registries. Never fails: who needs one that cannot
    be imported says so."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name.partition(":")[0])
