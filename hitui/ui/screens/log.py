"""A log over the full screen: follow, move, search."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from hitui.ui import text
from hitui.ui.line import Line, joined
from hitui.ui.log_title import log_place
from hitui.ui.messages import LogChanged
from hitui.ui.screens.base import FullScreen, MoreRoom
from hitui.ui.widgets.key_line import KeyLine
from hitui.ui.widgets.log_view import LogView
from hitui.ui.widgets.rule import Rule

if TYPE_CHECKING:
    from textual.widgets import Input


class LogScreen(FullScreen):
    AUTO_FOCUS = "#log-full"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "toggle_follow", "follow", id="log-screen.follow", tooltip="follow the end, or stay"),
        Binding(
            "slash",
            "search",
            "search",
            key_display="/",
            priority=True,
            id="log-screen.search",
            tooltip="search for a text",
        ),
        Binding("n", "next(True)", "next", id="log-screen.next", tooltip="on in the search's direction"),
        Binding("N", "next(False)", "previous", id="log-screen.previous", tooltip="back against it"),
        Binding("g", "to_start", "start", id="log-screen.start", tooltip="the first line"),
        Binding("G", "to_end", "end", id="log-screen.end", tooltip="the last line, following"),
        Binding(
            "question_mark,f1", "help", "help", key_display="?", id="log-screen.help", tooltip="all keys"
        ),
        Binding("escape,q,l", "back", "back", key_display="Esc", id="log-screen.back", tooltip="back"),
    ]

    def __init__(self, config: str, path: str) -> None:
        super().__init__()
        self._config = config
        self._path = path
        self.rule = Rule(id="log-rule")
        self.log_view = LogView(id="log-full")
        self._searched = ""
        self._forward = True
        """Where the search went; what stands at the end of a log was searched upwards."""

    def compose(self) -> ComposeResult:
        yield MoreRoom()
        yield self.rule
        yield self.log_view
        yield KeyLine([binding for binding in self.BINDINGS if isinstance(binding, Binding)])

    def on_mount(self) -> None:
        self.mount_entry("", id="search")
        self.log_view.reader.open(self._path)
        self._title()

    def on_log_changed(self, message: LogChanged) -> None:
        self._title()

    def _title(self) -> None:
        window = self.log_view.window
        # The end of a path tells more than its start.
        shown_path = text.fit_tail(self._path, max(20, self.size.width - 60)).rstrip()
        parts: list[Line] = [((text.short_name(self._config), "title"),), ((shown_path, "dim"),)]
        if window.size:
            parts.append(((text.size_text(window.size), "dim"),))
        if window.searched:
            parts.append((("/", "key"), (window.searched, "strong")))
        self.rule.show(joined(parts, (" · ", "rule")), log_place(window))

    def action_toggle_follow(self) -> None:
        if self.log_view.window.following:
            self.log_view.reader.hold()
        else:
            self.log_view.reader.follow()

    def action_to_start(self) -> None:
        self.log_view.reader.to_start()

    def action_to_end(self) -> None:
        self.log_view.reader.follow()

    def action_search(self) -> None:
        if self._entry is not None:
            # At the end of a log what is looked for stands above; elsewhere below.
            way = "upwards" if self.log_view.window.following else "downwards"
            self._entry.placeholder = f"text; Enter searches {way}, capitals count"
        self.open_entry("")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._searched = event.value
        self.close_entry(self.log_view)
        self._forward = not self.log_view.window.following
        self.log_view.reader.search(self._searched, self._forward)

    def action_next(self, on: bool) -> None:
        if self._searched:
            self.log_view.reader.search(self._searched, self._forward if on else not self._forward)
        else:
            self.action_search()

    def action_help(self) -> None:
        from hitui.ui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self))

    def action_back(self) -> None:
        if self.entry_is_open:
            self.close_entry(self.log_view)
        else:
            self.dismiss()
