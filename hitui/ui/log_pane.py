"""The log below the configs: which one is shown of the config that is selected, and what stands there where none is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hitui.domain.jobs import Queued
from hitui.services.logs import newest_log
from hitui.ui.messages import LogFound

if TYPE_CHECKING:
    from hitui.ui.board import Board
    from hitui.ui.config_rows import ConfigRow
    from hitui.ui.screens.base import FullScreen
    from hitui.ui.widgets.log_view import LogView
    from hitui.ui.widgets.rule import Rule


class LogPane:
    """Of one screen, which hands on LogFound and LogChanged."""

    def __init__(self, screen: FullScreen, board: Board, rule: Rule, view: LogView) -> None:
        self._screen = screen
        self._board = board
        self._rule = rule
        self._view = view
        self._shown: tuple[str, str] | None = None
        """Config and path whose log is shown."""
        self._note = ""
        """What stands in the place of a log that a queued job does not have yet."""

    def show(self, row: ConfigRow | None) -> None:
        """The log of the row's newest job, or what that waits for; where no job has run, the newest log there."""
        job = None if row is None else self._board.log_shown(row)
        if row is None:
            self._open(None, "")
        elif job is not None and job.log:
            self._open(row, job.log)
        elif row.job is not None and isinstance(row.job.state, Queued):
            self._open(row, "", self._board.wait_note(row.job))
        elif self._shown is None or self._shown[0] != row.name or self._note:
            self._shown, self._note = (row.name, ""), ""
            self._view.reader.open("", "looking for a log …")
            folders, name = row.state.config.folders, row.name
            self._screen.run_worker(
                lambda: self._find(name, folders),
                thread=True,
                group="find-log",
                exclusive=True,
                exit_on_error=False,
            )
        self.title(row)

    def _find(self, config: str, folders: tuple[str, ...]) -> None:
        self._screen.post_message(LogFound(config, newest_log(folders)))

    def take(self, found: LogFound, row: ConfigRow | None) -> None:
        """Shows what was found, if it is still asked for: `row` is the one that is selected now."""
        job = None if row is None else self._board.log_shown(row)
        superseded = self._note or (job is not None and job.log)
        if row is not None and row.name == found.config and not superseded:
            if found.path is None:
                startable = row.state.pending and row.state.config.runner
                more = ": r starts what is pending, and its log shows here" if startable else ""
                self._view.reader.open("", f"no log yet{more}")
            else:
                self._open(row, found.path)

    def _open(self, row: ConfigRow | None, path: str, note: str = "") -> None:
        of = ("" if row is None else row.name, path)
        if (self._shown, self._note) != (of, note):
            self._shown, self._note = of, note
            self._view.reader.open(path, note)
            self.title(row)

    def title(self, row: ConfigRow | None) -> None:
        self._rule.show(*self._board.log_title(row, self._view.window, self._screen.size.width))
