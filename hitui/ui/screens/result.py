"""One task over the full screen: question, reference, answer, scores, and what was changed for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from hitui.domain.configs import ConfigState
from hitui.errors import HituiError
from hitui.services.results import Result, facts_of
from hitui.ui import text
from hitui.ui.line import Line, joined
from hitui.ui.messages import ResultsRead
from hitui.ui.screens.base import FullScreen, MoreRoom
from hitui.ui.widgets.key_line import KeyLine
from hitui.ui.widgets.line_view import LineView
from hitui.ui.widgets.rule import Rule
from hitui.ui.widgets.task_list import STATUS_STYLES

LABEL_CELLS = 16
SECONDS_PER_READING = 2.0
SHARE_OF_READING = 0.1
"""How much of a core the readings take at most that follow the first."""


class ResultLines(LineView, can_focus=True):
    """A label and a text a fact, each line of the text by itself."""

    def __init__(self) -> None:
        super().__init__(id="result")
        self._result: Result | None = None
        self._note = "reading …"

    def show(self, result: Result | None, note: str) -> None:
        """`note` stands where there is no result."""
        self._result, self._note = result, note
        self.rebuild()

    def build(self, width: int) -> Sequence[Line]:
        if self._result is None:
            return [((f"  {self._note}", "dim"),)]
        lines: list[Line] = []
        for label, told in facts_of(self._result):
            parts = [
                part
                for line in told.splitlines() or [""]
                for part in text.wrapped(line, width - LABEL_CELLS - 2)
            ]
            lines += [
                (("  " + text.fit(label if number == 0 else "", LABEL_CELLS), "dim"), (part, ""))
                for number, part in enumerate(parts)
            ]
        return lines


class ResultScreen(FullScreen):
    AUTO_FOCUS = "#result"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "step(1)", "next", id="result.next", tooltip="the next task of the list"),
        Binding("N,left", "step(-1)", "previous", id="result.previous", tooltip="the task before"),
        Binding("question_mark,f1", "help", "help", key_display="?", id="result.help", tooltip="all keys"),
        Binding("escape,q", "back", "back", key_display="Esc", id="result.back", tooltip="back"),
    ]

    def __init__(self, config: str, ids: Sequence[str], at: int, seen: Callable[[str], None]) -> None:
        """`ids`: the tasks that can be looked at; `seen` is told which one is."""
        super().__init__()
        self._config = config
        self._ids = ids
        self._at = at
        self._seen = seen
        self._results: Mapping[str, Result] | None = None
        self._problem = ""
        self._read_for: ConfigState | None = None
        self._may_read = True
        """Not while they are read, nor for a while after that."""
        self.rule = Rule(id="result-rule")
        self.result_lines = ResultLines()

    def compose(self) -> ComposeResult:
        yield MoreRoom()
        yield self.rule
        yield self.result_lines
        yield KeyLine([binding for binding in self.BINDINGS if isinstance(binding, Binding)])

    def on_mount(self) -> None:
        self.watch(self.dashboard, "workspace_snapshot", self._look)
        self._show()

    def _look(self) -> None:
        """Reads the results where they have changed, one time after the other."""
        workspace = self.dashboard.workspace_snapshot
        states = [state for state in workspace.configs if state.name == self._config] if workspace else []
        if states and states[0] is not self._read_for and self._may_read:
            self._read_for, self._may_read = states[0], False
            self.run_worker(self._read, thread=True, group="results", exit_on_error=False)

    def _read(self) -> None:
        begun, problem = time.monotonic(), ""
        results: Mapping[str, Result] = {}
        try:
            results = self.dashboard.services.workspace.results(self._config)
        except (HituiError, OSError) as error:
            problem = f"! cannot be read: {error}"
        self.post_message(ResultsRead(results, problem, time.monotonic() - begun))

    def on_results_read(self, message: ResultsRead) -> None:
        self._results, self._problem = message.results, message.problem
        self._show()
        # All of them are read for one: of a config that runs they change with each task that ends.
        self.set_timer(max(SECONDS_PER_READING, message.seconds / SHARE_OF_READING), self._look_again)

    def _look_again(self) -> None:
        self._may_read = True
        self._look()

    def _show(self) -> None:
        id = self._ids[self._at]
        result = None if self._results is None else self._results.get(id)
        # The config last: of a long name the end is cut where there is no room.
        parts: list[Line] = [((f"task {id}", "title"),)]
        if result is not None and result.task is not None:
            status = result.task.status
            parts.append(((status.value, STATUS_STYLES[status]),))
        parts.append(((self._config, "dim"),))
        self.rule.show(joined(parts, (" · ", "rule")), ((f"{self._at + 1} of {len(self._ids)}", "dim"),))
        note = "reading …" if self._results is None else "there is no such task any more"
        self.result_lines.show(result, self._problem or note)

    def action_step(self, step: int) -> None:
        at = max(0, min(len(self._ids) - 1, self._at + step))
        if at != self._at:
            self._at = at
            self._seen(self._ids[at])
            self.result_lines.scroll_to(y=0, animate=False, immediate=True)
            self._show()

    def action_help(self) -> None:
        from hitui.ui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self))

    def action_back(self) -> None:
        self.dismiss()
