"""A config, and what is known of it: the row of the dashboard."""

from __future__ import annotations

from enum import Enum

import msgspec

from hitui.domain.tasks import ErrorClass

MODALITIES = ("text", "image", "mix")
TABLE_FORMATS = ("html", "csv", "latex", "markdown", "json")

MANY_BLOCKED = 0.1
"""Above this share of blocked tasks a config is not called whole: its inputs are not here."""


class Config(msgspec.Struct, frozen=True):
    """What to run, on what, and where its results lie."""

    name: str
    """Unique in the workspace, usually GROUP/MODALITY_FORMAT."""
    kind: str
    """Which checkpoint reader reads it: a key of `adapters.checkpoints.KINDS`."""
    folders: tuple[str, ...]
    """Absolute folders that are read together: the config's own first, then shards, reruns, merges."""
    output: str
    """Absolute folder that a run of this config writes into; the first of `folders` where those exist."""
    modality: str | None = None
    """One of MODALITIES; None where it cannot be told."""
    table_format: str | None = None
    """One of TABLE_FORMATS; None for image and where it cannot be told."""
    runner: str | None = None
    """Key of a `[runner.NAME]` section; None: nothing can run it yet."""
    declared: bool = False
    """True when `hitui.toml` names it, False when it was discovered."""


class ConfigCondition(str, Enum):
    """What the files say of a config, jobs apart."""

    UNREAD = "unread"
    WHOLE = "whole"
    PENDING = "pending"
    BLOCKED = "blocked"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    UNCOUNTED = "uncounted"


class ConfigState(msgspec.Struct, frozen=True):
    """One config as its files stand. The counts are exclusive: done + errors + missing + blocked = total."""

    config: Config
    scanned: bool = False
    """False until its files were read for the first time; the counts are then 0."""
    unit: str = "tasks"
    """What is counted: tasks, steps (of a trainer), lines, files."""
    total: int | None = None
    """None: no question list (or limit) says how many there should be."""
    done: int = 0
    errors: int = 0
    missing: int = 0
    blocked: int = 0
    error_classes: tuple[tuple[ErrorClass, int], ...] = ()
    """Errors by class, most frequent first; blocked tasks not counted."""
    exhausted: tuple[tuple[int, int], ...] = ()
    """Of the errors those that no rung of the recovery ladder is left for: on how many GPUs, and how many tasks."""
    updated: float | None = None
    """Newest modification time of what was read, seconds since the epoch; None: nothing was read."""
    source: str = ""
    """Where the results were read from, relative to the workspace where possible."""
    problems: tuple[str, ...] = ()
    """One line each: a file that could not be read, and what to do."""
    unread_files: int = 0
    """Result files or folders that are there and were never read: they may hold answers."""
    seconds_per_task: float | None = None
    """Median of the stored times of the answered tasks; None where none is stored."""
    notes: tuple[str, ...] = ()
    """Things worth saying that are no problem: which trainer checkpoint is used, …"""

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def pending(self) -> int:
        """How many tasks a rerun would run."""
        return self.missing + self.errors

    def units(self, number: int) -> str:
        """What is counted, of so many: `task`, `tasks`."""
        return self.unit.removesuffix("s") if number == 1 else self.unit

    @property
    def lists_tasks(self) -> bool:
        """Whether all its tasks are known by id, so that none pending means that there is nothing to run."""
        return self.unit == "tasks" and self.total is not None

    @property
    def hides_answers(self) -> bool:
        """Whether answers may lie in files that cannot be read: a run could answer them once more."""
        unreadable = self.unread_files > 0 or self.condition is ConfigCondition.UNREADABLE
        return unreadable and self.unit == "tasks"

    @property
    def condition(self) -> ConfigCondition:
        if not self.scanned:
            return ConfigCondition.UNREAD
        if self.problems and self.updated is None:
            return ConfigCondition.UNREADABLE
        if self.total is None:
            return ConfigCondition.UNCOUNTED
        if self.pending:
            return ConfigCondition.PENDING if self.done or self.errors else ConfigCondition.EMPTY
        if self.blocked > self.total * MANY_BLOCKED:
            return ConfigCondition.BLOCKED
        return ConfigCondition.WHOLE
