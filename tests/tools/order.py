"""Which test runs when and where, for `pytest -n … --dist loadgroup`: long ones first, and costly fixtures once.

A worker that gets a long test last keeps all others waiting. Tests of one file stay in one worker where they run
a model, since each worker would import torch and load it anew, or where they share a fixture of the file.
"""

from __future__ import annotations

import pytest

FOLDERS = ("real", "integration", "runners", "contract", "ui", "snapshots", "unit")
"""From those whose tests take seconds to those whose tests take milliseconds."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    together = {item for item in items if _shares(item)}
    if config.pluginmanager.hasplugin("xdist"):
        for item in together:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    # Sorting keeps the order within a folder, and so within a file.
    items.sort(key=lambda item: (item not in together, _place(item)))


def _shares(item: pytest.Item) -> bool:
    if item.get_closest_marker("model") is not None:
        return True
    assert isinstance(item, pytest.Function)
    definitions = [chosen[-1] for chosen in item._fixtureinfo.name2fixturedefs.values() if chosen]
    return any(
        definition.scope == "module" and definition.func.__module__ == item.module.__name__
        for definition in definitions
    )


def _place(item: pytest.Item) -> int:
    return next((at for at, name in enumerate(FOLDERS) if name in item.path.parts), len(FOLDERS))
