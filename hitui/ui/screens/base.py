"""What all full screens share: the line of keys, and a plain word where the terminal is too small."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual import events
from textual.screen import Screen
from textual.widget import Widget
from textual.worker import Worker

from hitui.ui.line import Line
from hitui.ui.widgets.line_view import OneLine

if TYPE_CHECKING:
    from textual.widgets import Input

    from hitui.domain.configs import ConfigState
    from hitui.domain.jobs import Job
    from hitui.ui.app import Dashboard

LEAST_COLUMNS, LEAST_ROWS = 60, 15


def other_log_words(job: Job, told: Job) -> str:
    """What is said where the log of another job is shown for one that has none."""
    return f"#{job.id} has no log of its own: this is that of #{told.id}"


class MoreRoom(OneLine):
    """Takes the place of everything where it would only be garbage."""

    def __init__(self) -> None:
        super().__init__(id="more-room")

    def build_line(self, width: int) -> Line:
        return (
            (f"hitui needs {LEAST_COLUMNS}x{LEAST_ROWS}, here are {width}x{self.app.size.height}", "warn"),
        )


class FullScreen(Screen[None]):
    _focused_before: Widget | None = None
    _entry: Input | None = None

    @property
    def dashboard(self) -> Dashboard:
        return cast("Dashboard", self.app)

    def on_resize(self, event: events.Resize) -> None:
        small = event.size.width < LEAST_COLUMNS or event.size.height < LEAST_ROWS
        if small and not self.has_class("too-small"):
            # What is hidden loses the focus; it comes back with the room.
            self._focused_before = self.focused
        self.set_class(small, "too-small")
        if small:
            self.query_one(MoreRoom).rebuild()
        elif self._focused_before is not None:
            self.set_focus(self._focused_before)
            self._focused_before = None
        self.resized(event.size.width, event.size.height)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Workers of a screen fail as those of the app do: in words."""
        self.dashboard.on_worker_state_changed(event)

    def mount_entry(self, placeholder: str, *, id: str) -> None:
        """A line to type into, above the keys and out of sight.

        It is there before it is asked for, and its key is to be a binding with priority: letters that follow the
        key at once, as a paste or a script sends them, are then typed into it and are no wishes.
        """
        from textual.widgets import Input

        self._entry = Input(placeholder=placeholder, id=id, compact=True)
        self._entry.display = False
        self.mount(self._entry, before="#keys")

    def open_entry(self, value: str) -> None:
        """Shows the line, with this text in it; typed into it, the key that opens it is a letter as all others."""
        if self._entry is None:
            return
        if self.focused is self._entry:
            # Behind the letters that were handed to the line before and still wait there.
            self._entry.post_message(events.Key("slash", "/"))
            return
        self._entry.value = value
        self._entry.display = True
        self.set_focus(self._entry)

    @property
    def entry_is_open(self) -> bool:
        return self._entry is not None and self._entry.display

    def close_entry(self, back_to: Widget) -> None:
        if self._entry is not None:
            self._entry.display = False
        back_to.focus()

    def show_left_log(self, state: ConfigState, job: Job | None) -> None:
        """The newest log there is of a config over the full screen, whoever left it; `job`: the last one on it."""
        from hitui.ui.screens.log import LogScreen

        told = None if job is None else self.dashboard.jobs.log_left(state.name, job)
        if told is None or job is None:
            found = self._show_found_log(state.name, state.config.folders)
            self.run_worker(found, group="left-log", exclusive=True, exit_on_error=False)
            return
        if told.id != job.id:
            self.dashboard.tell(other_log_words(job, told))
        self.app.push_screen(LogScreen(state.name, told.log))

    async def _show_found_log(self, config: str, folders: Sequence[str]) -> None:
        from hitui.services.logs import newest_log
        from hitui.ui.screens.log import LogScreen

        path = await asyncio.to_thread(newest_log, folders)
        if self.app.screen is not self:
            # Whoever asked for it has gone elsewhere meanwhile.
            return
        if path is None:
            self.dashboard.tell("there is no log yet for this config")
        else:
            self.app.push_screen(LogScreen(config, path))

    def resized(self, width: int, height: int) -> None:
        """Called after each change of size."""


class FilteredScreen(FullScreen):
    """One with a list of which a filter, words in a line of their own, leaves what matches."""

    _wanted = ""
    """The filter; empty: all is shown."""

    def filtered(self) -> Widget:
        """The list."""
        raise NotImplementedError

    def show_filtered(self) -> None:
        """Called whenever the filter has changed."""
        raise NotImplementedError

    def action_filter(self) -> None:
        self.open_entry(self._wanted)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value.strip()
        self.show_filtered()

    def on_input_submitted(self) -> None:
        self.close_entry(self.filtered())

    def action_back(self) -> None:
        """Out of the filter first."""
        if self._wanted or self.entry_is_open:
            self.close_entry(self.filtered())
            self._wanted = ""
            self.show_filtered()
        else:
            self.dismiss()
