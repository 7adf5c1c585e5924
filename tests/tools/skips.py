"""`--forbid-skips`: a test that is skipped fails, unless it needs the real benchmark's data, a GPU or vLLM.

A suite that skips for want of a package looks green and says nothing; where everything is meant to be
installed, that is an error.
"""

from __future__ import annotations

import pytest

EXCUSED = ("real", "gpu", "vllm")
"""Markers of tests that need what not everybody can have."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--forbid-skips",
        action="store_true",
        help="fail tests that are skipped, those on real data, a GPU or vLLM apart",
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    outcome = yield
    report = outcome.get_result()
    may_be_skipped = any(item.get_closest_marker(name) is not None for name in EXCUSED)
    if report.skipped and item.config.getoption("--forbid-skips") and not may_be_skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which --forbid-skips does not allow: {report.longrepr}"
