"""Our two themes. Widgets name roles (`$success`, `$error`), never a colour."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="hitui-dark",
    dark=True,
    primary="#7aa2c8",
    secondary="#5c7a99",
    accent="#8fb8a8",
    success="#8fbf7f",
    warning="#d9b26a",
    error="#e07a72",
    foreground="#d3d7de",
    background="#14171c",
    surface="#1b1f26",
    panel="#242a33",
    variables={
        "rule": "#3a424e",
        "muted": "#8b94a3",
        "faint": "#4a5360",
        "cursor": "#26303d",
        "running": "#82aaff",
        "bar": "#6d8296",
        "input-selection-background": "#7aa2c8 35%",
        "footer-key-foreground": "#d9b26a",
    },
)

LIGHT = Theme(
    name="hitui-light",
    dark=False,
    primary="#2b5f8f",
    secondary="#4d6f8f",
    accent="#2f7563",
    success="#3a7a2a",
    warning="#8f5f00",
    error="#b3322a",
    foreground="#22272e",
    background="#f7f7f4",
    surface="#efefeb",
    panel="#e4e5e1",
    variables={
        "rule": "#c3c7cc",
        "muted": "#656e7a",
        "faint": "#b4bac2",
        "cursor": "#dde6ef",
        "running": "#1f5fbf",
        "bar": "#7f93a6",
        "input-selection-background": "#2b5f8f 30%",
        "footer-key-foreground": "#8f5f00",
    },
)

THEMES = {"dark": DARK, "light": LIGHT}
