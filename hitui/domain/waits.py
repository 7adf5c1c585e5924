"""What keeps a queued job from its start: the kind, by which others decide, and a line, which people read."""

from __future__ import annotations

from enum import Enum

import msgspec


class WaitKind(str, Enum):
    """What a queued job waits for."""

    TURN = "turn"
    """Nothing that is known: it was not looked at yet."""
    HELD = "held"
    """Someone to resume it."""
    QUEUE_PAUSED = "queue paused"
    GROUP_PAUSED = "group paused"
    GROUP_FULL = "group full"
    """A place in its group."""
    TIME = "time"
    OTHERS = "others"
    """Jobs or processes that are to end."""
    GPUS = "gpus"
    AWAY = "away"
    """What its runner needs is not there: its model, its program, the question list, the dataset."""
    SETTINGS = "settings"
    """`hitui.toml` cannot be read, or names no runner for it."""
    RESULTS = "results"
    """What was answered before cannot be read."""
    DISK = "disk"
    FAULT = "fault"
    """An error of hitui's own."""

    @classmethod
    def _missing_(cls, value: object) -> WaitKind:
        """A supervisor that is newer than this may know others."""
        return cls.TURN

    @property
    def refuses(self) -> bool:
        """Whether its start was refused, so that no GPU helps it: it keeps none."""
        return self in _REFUSALS


_REFUSALS = frozenset({WaitKind.AWAY, WaitKind.SETTINGS, WaitKind.RESULTS, WaitKind.DISK, WaitKind.FAULT})


class Wait(msgspec.Struct, frozen=True, gc=False):
    kind: WaitKind = WaitKind.TURN
    words: str = ""
    """One line: what must come about before it starts. Its short form ends before the first colon."""

    @property
    def short(self) -> str:
        return self.words.partition(": ")[0]


NOT_KNOWN = Wait()
