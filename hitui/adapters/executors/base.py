"""What every kind of executor offers to the supervisor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec

from hitui.adapters.processes import Process


class Launch(msgspec.Struct, frozen=True):
    """All that is needed to start one runner."""

    folder: Path
    """Of the job; it exists, and only its owner can read it."""
    marker: str
    """Value of HITUI_JOB, by which processes of the job are known."""
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole environment."""
    cwd: Path
    log: Path
    grace: float
    """Seconds between SIGTERM and SIGKILL on a stop."""


class Standing(Enum):
    """What a restarted supervisor finds of a job."""

    NEVER_RAN = "never ran"
    """Nothing of it lives, and the runner's program was never executed."""
    LIVES = "lives"
    GONE = "gone"
    """It ran, and nothing of it lives; how it ended may be on record."""


class ExitRecord(msgspec.Struct, frozen=True):
    """How a runner ended, as its launcher saw it."""

    status: int | None
    signal: int | None
    error: str | None
    """Why its program could not be executed; None: it was."""
    ended_at: float
    peak_memory: int | None
    """Bytes, the whole process tree, sampled; None: it ended before the first sample."""
    outlived: int
    """Processes of its tree that went on when it had ended, and were ended then; 0 after a stop."""
    left: int
    """Processes of its tree that not even SIGKILL ended."""
    ran_seconds: float | None = None
    """By a clock that nobody sets; None: a launcher of an older version has not measured it."""
    out_of_memory: bool = False
    """The kernel ended it, or one of its processes, for lack of main memory."""


class RunnerRecord(msgspec.Struct, frozen=True):
    process: Process
    started_at: float


class LaunchedJob(Protocol):
    """A job that was launched, by this supervisor or by one before it."""

    marker: str | None
    """Value of HITUI_JOB in its processes; None: what said so is gone."""

    async def begun(self) -> RunnerRecord | None:
        """Returns as soon as the runner's program is executed; None: it never will be."""

    async def ended(self) -> ExitRecord | None:
        """Returns when nothing of the job lives any more; None: no one was there to see how it ended."""

    async def give_way(self) -> bool:
        """Asks the runner alone to end so that its job can be queued again (SIGUSR1). False: it cannot be asked."""

    async def stop(self, *, now: bool = False) -> None:
        """Asks the whole process tree to end, and makes it end after the grace; `now`: without grace.

        Returns at once where a launcher sees to it.
        """


class Executor(Protocol):
    def start(self, launch: Launch, locks: Sequence[int]) -> LaunchedJob:
        """Starts a job. `locks` are descriptors that it keeps for as long as anything of it lives.

        Raises LaunchError where nothing could be started, and OSError where it only could not at this moment.
        """

    def standing(self, folder: Path) -> Standing:
        """What became of the job in this folder."""

    def attach(self, folder: Path, grace: float) -> LaunchedJob:
        """A job that another supervisor launched."""

    def recorded(self, folder: Path) -> ExitRecord | None:
        """How the runner of a job that is gone ended; None: that is not on record."""
