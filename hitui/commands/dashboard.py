"""`hitui` without a verb: the dashboard."""

from __future__ import annotations

import argparse
import sys

from hitui.errors import HituiError
from hitui.factory import build_services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dashboard has none of its own beside the workspace."""


def run(arguments: argparse.Namespace) -> int:
    """Runs the dashboard until it is left; returns the exit status.

    Raises HituiError where the workspace or its settings cannot be used, or there is no terminal.
    """
    services = build_services(arguments.workspace)
    require_terminal()
    from hitui.ui.app import run_dashboard

    return run_dashboard(services)


def require_terminal() -> None:
    """Raises HituiError where there is no terminal to paint on, rather than waiting for one for ever."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise HituiError("the dashboard needs a terminal; `hitui ls` and `hitui jobs` print without one")
