"""What ends a run: one line for stderr, exit status 1; and the words of other errors, for such a line."""

from __future__ import annotations


class RunnerError(Exception):
    """The run cannot go on; the message says what, where, and the mend."""


class EngineLost(RunnerError):
    """The engine can answer nothing any more, of no config."""


def words_of(error: BaseException, at_most: int = 300) -> str:
    """What an error says, on one line of so many characters; its type where it says nothing."""
    return " ".join(str(error).split())[:at_most] or type(error).__name__
