"""What a person chooses in the dialog before the start, beside what is started."""

from __future__ import annotations

import msgspec

from hitui.domain.schedule import Schedule
from hitui.ui.line import Line, joined

HELD = "as was chosen before its start"


class LaunchChoice(msgspec.Struct, frozen=True):
    gpus: tuple[str, ...] = ()
    """Only on these GPUs, by label; empty: on any that is free by the rules."""
    priority: int = 0
    held: bool = False
    """Queued, and not started before someone resumes it."""
    mixes: bool = False
    """Whether answers of what was refused may be mixed with those that are there."""

    @property
    def schedule(self) -> Schedule:
        return Schedule(priority=self.priority, held=HELD if self.held else "")

    @property
    def line(self) -> Line:
        """In words; empty where nothing was chosen."""
        parts: list[Line] = []
        if self.gpus:
            parts.append(((f"on GPU {', '.join(self.gpus)} only", "strong"),))
        if self.priority:
            parts.append(((f"priority {self.priority}", "strong"),))
        if self.held:
            parts.append((("held until p lets it go on", "warn"),))
        return joined(parts, (" · ", "rule"))
