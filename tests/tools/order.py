"""Which test runs when and where, for `pytest -n … --dist loadgroup`: long ones first, and costly fixtures once.

A worker that gets a long test last keeps all others waiting; and where all wait for processes and pauses, no core
computes: tests that wait run beside tests that compute. Tests of one model stay in one worker, since each worker
would import torch and load it anew, unless a runner of their own does so; and so do those that share a fixture of
their file.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

WAITING = ("real", "integration")
"""Folders whose tests take seconds, in which they wait for the most part."""
SHORT = ("unit",)
"""Whose tests take milliseconds: the last ones, so that all workers end together."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    places: dict[pytest.Item, tuple[int, float]] = {}
    kinds = {item: _kind(item) for item in items}
    of_each, seen = Counter(kinds.values()), Counter[str]()
    for item, kind in kinds.items():
        seen[kind] += 1
        group = _group(item)
        if group is not None and config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(group))
        if group is not None or item.get_closest_marker("model") is not None:
            places[item] = (0, 0)
        else:
            # How far it is in its kind: both kinds of long tests begin and end together.
            places[item] = (2, 0) if kind == "short" else (1, seen[kind] / of_each[kind])
    # Sorting keeps the order of what has one place.
    items.sort(key=places.__getitem__)


def _group(item: pytest.Item) -> str | None:
    """Those that stay together."""
    assert isinstance(item, pytest.Function)
    definitions = [chosen[-1] for chosen in item._fixtureinfo.name2fixturedefs.values() if chosen]
    of_a_module = [definition for definition in definitions if definition.scope == "module"]
    if item.get_closest_marker("model") is not None:
        if "runner" in item.fixturenames and not of_a_module:
            return None
        if "middle_model" not in item.fixturenames:
            return "tiny model"
        return (
            item.path.name
            if _is_own(item, item._fixtureinfo.name2fixturedefs["middle_model"][-1])
            else "middle model"
        )
    if any(_is_own(item, definition) for definition in of_a_module):
        return item.path.name
    return None


def _is_own(item: pytest.Function, definition: pytest.FixtureDef[Any]) -> bool:
    """Whether a fixture is of the test's file."""
    return definition.func.__module__ == item.module.__name__


def _kind(item: pytest.Item) -> str:
    for kind, folders in (("waiting", WAITING), ("short", SHORT)):
        if any(name in item.path.parts for name in folders):
            return kind
    return "computing"
