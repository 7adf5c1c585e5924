"""Python looks for garbage only among what tests have made, and not each time through all that they stand on.

A worker that has imported torch and Textual has a million objects that stay; to go through them takes a quarter of a
second, and Python, the engine after memory ran out, and pytest at the end do it some twenty times.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

MODULES = 300
"""So many new ones are worth a look through everything."""

_known = 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    result = yield
    _settle()
    return result


def pytest_collection_finish() -> None:
    _settle()


def _settle() -> None:
    global _known
    if len(sys.modules) - _known < MODULES:
        return
    _known = len(sys.modules)
    # What is garbage by now must still be found: its end may have to be told of.
    gc.collect()
    gc.freeze()
