"""When a queued job may start, as people say it: its place in the queue, its group, and what it is to wait for."""

from __future__ import annotations

from enum import Enum

import msgspec

DEFAULT_GROUP = "default"
LONGEST_GROUP = 64
"""Characters of a group's name."""


def group_name(text: str) -> str:
    """The text, if a group may be called so. Raises ValueError for what is not one plain word."""
    word = text.isprintable() and not set(text) & set(" :,") and not text.startswith("-")
    if not text or not word or len(text) > LONGEST_GROUP:
        raise ValueError(
            f"a group's name is one word of at most {LONGEST_GROUP} characters, without spaces, colons and"
            f" commas, not {text[: LONGEST_GROUP + 1]!r}"
        )
    return text


class ProcessMark(msgspec.Struct, frozen=True):
    """A process of this machine, told apart from a later one with the same pid by when it started."""

    pid: int
    start_time: int
    """Clock ticks since boot."""


class HeldFor(str, Enum):
    """Why a job is paused, as far as something depends on it."""

    WISH = "wish"
    """Someone asked for it."""
    ERRORS = "errors"
    """Its tasks fail one after the other."""
    RESTARTS = "restarts"
    """It may be what brings the machine down."""


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was said of one job, and may be changed as long as it is queued."""

    priority: int = 0
    """Higher ones start first."""
    group: str = DEFAULT_GROUP
    after: tuple[int, ...] = ()
    """Jobs that must have ended, however they did."""
    after_success: tuple[int, ...] = ()
    """Jobs that must have succeeded; when one ends otherwise, this job never starts."""
    after_processes: tuple[ProcessMark, ...] = ()
    """Processes of anyone that must have ended."""
    not_before: float | None = None
    """Seconds since the epoch; None: at once."""
    pause: float | None = None
    """Seconds that `not_before` lay ahead when it was set, for a job that is tried again after a pause; None: it
    is a time that was named."""
    held: str = ""
    """Why it is paused, in one line; empty: it is not."""
    held_for: HeldFor = HeldFor.WISH

    @property
    def calls_for_someone(self) -> bool:
        """Whether it is paused and nobody asked for that."""
        return bool(self.held) and self.held_for is not HeldFor.WISH


class Group(msgspec.Struct, frozen=True):
    """Jobs that share a limit and are paused together."""

    name: str
    limit: int | None = None
    """How many of its jobs run at a time; None: as many as find GPUs."""
    paused: str = ""
    """Why none of its jobs start, in one line; empty: they do."""


class Queue(msgspec.Struct, frozen=True):
    """What holds for the queue as a whole, and for the groups of which something was said."""

    paused: str = ""
    """Why no job starts, in one line; empty: they do."""
    groups: tuple[Group, ...] = ()

    def group(self, name: str) -> Group:
        return next((group for group in self.groups if group.name == name), Group(name))
