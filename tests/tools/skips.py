"""`--forbid-skips`: a test that is skipped fails, unless it needs the real benchmark's data.

A suite that skips for want of a package looks green and says nothing; where everything is meant to be
installed, that is an error.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--forbid-skips", action="store_true", help="fail tests that are skipped, those on real data apart"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    outcome = yield
    report = outcome.get_result()
    if report.skipped and item.config.getoption("--forbid-skips") and item.get_closest_marker("real") is None:
        report.outcome = "failed"
        report.longrepr = f"skipped, which --forbid-skips does not allow: {report.longrepr}"
