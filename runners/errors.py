"""What ends a run: one line for stderr, exit status 1."""

from __future__ import annotations


class RunnerError(Exception):
    """The run cannot go on; the message says what, where, and the mend."""


class EngineLost(RunnerError):
    """The engine can answer nothing any more, of no config."""
