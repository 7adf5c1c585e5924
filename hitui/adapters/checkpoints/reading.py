"""What every checkpoint reader gives, and what it is given.

A reading is a config's state with its tasks. The tasks are made when someone asks for them: a dashboard
counts a hundred configs and opens one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from hitui.domain.configs import Config, ConfigState
from hitui.domain.tasks import Task, TaskId
from hitui.errors import WorkspaceError

if TYPE_CHECKING:
    from hitui.adapters.checkpoints.inputs import InputFiles
    from hitui.adapters.checkpoints.questions import QuestionList
    from hitui.settings import ConfigSettings, Settings

Signature = tuple[int, int, int, int]
"""Inode, size, and when its content and its status (who may read it) changed, in ns: while they stay, a file is not read
again."""

_MOST_SHOWN, _LONGEST_SHOWN = 10, 40
"""How many ids a message names, and how many characters of each."""


class UnreadableFile(WorkspaceError):
    """A file of results cannot be read: one line with the file, what is wrong and the mend."""


class Reading:
    """One config as its files stand, and its tasks."""

    __slots__ = ("_make_tasks", "_tasks", "repeated", "state", "unknown")

    def __init__(
        self,
        state: ConfigState,
        make_tasks: Callable[[], tuple[Task, ...]] | None = None,
        repeated: Mapping[str, tuple[TaskId, ...]] | None = None,
        unknown: tuple[TaskId, ...] = (),
    ) -> None:
        self.state = state
        self._make_tasks = make_tasks
        self._tasks: tuple[Task, ...] | None = None if make_tasks else ()
        self.repeated: Mapping[str, tuple[TaskId, ...]] = repeated or {}
        """File → ids that stand in it more than once."""
        self.unknown = unknown
        """Ids with a result that the question list does not have."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Every task, in the order of the question list; empty for kinds without tasks."""
        if self._tasks is None:
            assert self._make_tasks is not None
            self._tasks = self._make_tasks()
        return self._tasks


class FileReading(msgspec.Struct, frozen=True):
    """The results of one file, the later of two for the same task already chosen."""

    answered: dict[TaskId, float | None]
    """Task → its stored `ProcessingTime` in seconds; None where none is stored."""
    errors: dict[TaskId, str]
    """Task → the `Prediction` of its last failed result, also where another result answers it."""
    repeated: tuple[TaskId, ...] = ()
    """Ids with more than one result in a JSON file, more than one answer in a journal."""
    problems: tuple[str, ...] = ()
    """What was wrong with single entries, without the file's name."""
    rungs: dict[TaskId, int] = {}
    """Task → the rung of the recovery ladder that its last failed result names (`Recovery`), where it does."""


class ReadContext:
    """What the readers of one workspace share."""

    def __init__(self, settings: Settings, read_results: Callable[[str], FileReading]) -> None:
        self.settings = settings
        self.read_results = read_results
        """Reads one JSON file of results; raises UnreadableFile."""
        self.questions: QuestionList | None = None
        """None: no question list was found, so totals are unknown."""
        self.inputs: InputFiles | None = None
        """None: no data folder was found, so nothing counts as blocked."""
        self._above = f"{settings.root}/"
        self.declared: Mapping[str, ConfigSettings] = {entry.name: entry for entry in settings.configs}

    def shown(self, path: Path | str) -> str:
        """A path as messages show it: relative to the workspace where it lies in it."""
        # Asked of every config: as text it costs a twentieth.
        text = os.fspath(path)
        return text[len(self._above) :] if text.startswith(self._above) else self.settings.shown(path)


class Reader(Protocol):
    """Reads the configs of one kind. Its methods may be called from several threads, but for one config
    from one at a time. Neither ever writes or raises for what stands in a file: that is a problem line of
    the state."""

    def __init__(self, context: ReadContext) -> None: ...

    def fingerprint(self, config: Config) -> Hashable:
        """Cheap (stats and listings only): changes whenever the reading might."""

    def read(self, config: Config, fingerprint: Hashable = None) -> Reading:
        """The config as its files stand; files that did not change are not parsed again.

        `fingerprint` is what that has just said of the config: what it listed need not be listed again.
        """


def signature_of(path: Path | str) -> Signature | None:
    """None when there is no such file, or it cannot be looked at."""
    try:
        status = os.stat(path)  # noqa: PTH116 - takes text as well, and is asked of thousands of files
    except OSError:
        return None
    return signature_in(status)


def signature_in(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def listed(values: Sequence[object]) -> str:
    """The first few ids (or places), each bounded in length, and that there are more."""
    shown = map(str, values[:_MOST_SHOWN])
    bounded = [text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…" for text in shown]
    return ", ".join(bounded) + (", …" if len(values) > _MOST_SHOWN else "")
