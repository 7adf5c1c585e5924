"""A note to read and close."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding

from hitui.settings import Settings
from hitui.ui import text
from hitui.ui.line import Line
from hitui.ui.screens.dialog import Dialog


class Note(Dialog):
    def __init__(self, title: str, paragraphs: Sequence[tuple[str, str]]) -> None:
        """`paragraphs`: text and the name of its style."""
        super().__init__()
        self.title_text = title
        self._paragraphs = tuple(paragraphs)

    def keys(self) -> list[Binding]:
        return [Binding("escape", "answer(False)", "close", key_display="Escape", id="note.back")]

    def wanted_width(self) -> int:
        return 76

    def lines(self, width: int) -> Sequence[Line]:
        return [
            ((part, style),)
            for paragraph, style in self._paragraphs
            for part in text.wrapped(paragraph, width)
        ]


def init_note(settings: Settings, problems: Sequence[str]) -> Note:
    """How a workspace gets its settings, and all that is wrong with it, in full."""
    wrong = [part for problem in problems for part in (("", ""), (f"! {problem}", "warn"))]
    if settings.file is not None:
        return Note(
            "Settings of this workspace",
            [
                (str(settings.file), "strong"),
                ("", ""),
                ("results says below which folders results lie, [runner.NAME] what runs a config, "
                 "[gpus] what jobs may touch. What is changed in the file counts at once.", ""),
                *wrong,
            ],
        )  # fmt: skip
    return Note(
        "This workspace has no hitui.toml",
        [
            ("In a shell:", ""),
            (f"hitui init -w {settings.root}", "strong"),
            ("", ""),
            ("looks at what lies here (results, checkpoints, logs, the dataset), writes a commented "
             "hitui.toml and says what it found. Then name in it a runner: without one nothing can be "
             "started from here, only looked at.", ""),
            *wrong,
        ],
    )  # fmt: skip
