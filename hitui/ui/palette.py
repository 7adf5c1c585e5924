"""The command palette: every action of the screen, and every config, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, cast

from textual import events, on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding
from textual.command import CommandInput, CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, LoadingIndicator, OptionList
from textual.worker import ResultType, Worker, WorkType

from hitui.ui.screens.main import MainScreen
from hitui.ui.theme import THEMES

if TYPE_CHECKING:
    from hitui.ui.app import Dashboard


class FoundCommands(CommandList):
    """Textual's list, where what it was asked of is not laid out, or no longer there."""

    def _move_page(self, direction: Literal[1, -1]) -> None:
        if self.size.height:
            super()._move_page(direction)

    async def _on_click(self, event: events.Click) -> None:
        clicked: int | None = event.style.meta.get("option")
        if clicked is not None and clicked >= self.option_count:
            event.prevent_default()


class Palette(CommandPalette):
    """Textual's palette, for keys and clicks that come faster than it opens and closes, as a paste sends them."""

    def __init__(self) -> None:
        super().__init__(providers=[DashboardCommands])

    def compose(self) -> ComposeResult:
        with Vertical(id="--container"):
            with Horizontal(id="--input"):
                yield CommandInput(placeholder="Search for commands…", select_on_focus=False)
            with Vertical(id="--results"):
                yield FoundCommands()
                yield LoadingIndicator()

    def dismiss(self, result: None = None) -> AwaitComplete:
        # What still waits here when it was left would take the screen below away as well.
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def run_worker(
        self,
        work: WorkType[ResultType],
        name: str | None = "",
        group: str = "default",
        description: str = "",
        exit_on_error: bool = True,
        start: bool = True,
        exclusive: bool = False,
        thread: bool = False,
    ) -> Worker[ResultType]:
        # A search that is still under way when the palette is left finds no list to show its commands in.
        return super().run_worker(work, name, group, description, False, start, exclusive, thread)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A search fails as other workers do: in words."""
        if self.is_active:
            cast("Dashboard", self.app).on_worker_state_changed(event)

    def _on_mount(self, event: events.Mount) -> None:
        # Textual asks for the screen below, which is not below where the palette was left before it stood.
        if not self.is_active:
            event.prevent_default()

    def on_resize(self) -> None:
        # The list is as high as a part of the terminal, whose size Textual changes a moment before that of its screens:
        # what is laid out meanwhile is kept as right for the size before, and would be taken once it is back.
        for found in self.query(FoundCommands):
            found.refresh(layout=True)

    @on(Input.Changed)
    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _pass_over_when_left(self, event: Message) -> None:
        if not self.is_active:
            event.stop()
            event.prevent_default()


class DashboardCommands(Provider):
    @property
    def _dashboard(self) -> Dashboard:
        return cast("Dashboard", self.app)

    async def discover(self) -> Hits:
        for name, told, run in self._actions():
            yield DiscoveryHit(name, run, help=told)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for name, told, run in (*self._actions(), *self._configs()):
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), run, help=told)

    def _actions(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        screen = self.screen
        for binding in vars(type(screen)).get("BINDINGS", []):
            if isinstance(binding, Binding) and binding.tooltip and binding.action != "app.command_palette":
                yield binding.description, binding.tooltip, self._runs(binding.action)
        for name, theme in THEMES.items():
            yield f"theme: {name}", "also by HITUI_THEME in the environment", self._sets_theme(theme.name)

    def _configs(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        screen = self.screen
        workspace = self._dashboard.workspace_snapshot
        if isinstance(screen, MainScreen) and workspace is not None:
            for state in workspace.configs:
                yield state.name, "select this config", self._selects(screen, state.name)

    def _runs(self, action: str) -> Callable[[], object]:
        screen = self.screen

        async def run() -> None:
            await screen.run_action(action)

        return run

    def _sets_theme(self, name: str) -> Callable[[], object]:
        return lambda: setattr(self._dashboard, "theme", name)

    def _selects(self, screen: MainScreen, name: str) -> Callable[[], object]:
        return lambda: screen.select_config(name)
