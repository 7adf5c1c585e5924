"""The GPUs, one line each; scrolls where more are there than fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType

from hitui.ui.line import Line
from hitui.ui.widgets.line_view import LineView

if TYPE_CHECKING:
    from hitui.ui.gpu_lines import GpuView


class GpuStrip(LineView, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        *LineView.BINDINGS,
        Binding(
            "enter",
            "screen.gpu_processes",
            "processes",
            show=False,
            id="gpus.open",
            tooltip="what runs on them: users, memory, whole commands",
        ),
    ]

    def __init__(self) -> None:
        super().__init__(id="gpus")
        self._view: GpuView | None = None

    def show(self, view: GpuView) -> None:
        self._view = view
        self.rebuild()

    def build(self, width: int) -> Sequence[Line]:
        if self._view is None:
            return []
        from hitui.ui.gpu_lines import gpu_lines

        return gpu_lines(self._view, width)
