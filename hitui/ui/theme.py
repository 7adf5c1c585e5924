"""Our two themes, and what each role of a span looks like in them. Widgets name roles, never a colour.

The roles are no component classes of the style sheet: fourteen of them in each of a dozen widgets cost a
quarter of the time to the first paint.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from rich.style import Style
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
        "rule": "#3c424c",
        "muted": "#8b94a3",
        "faint": "#4a5360",
        "cursor": "#2a3038",
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
        "cursor": "#e0e3e8",
        "running": "#1f5fbf",
        "bar": "#7f93a6",
        "input-selection-background": "#2b5f8f 30%",
        "footer-key-foreground": "#8f5f00",
    },
)

THEMES = {"dark": DARK, "light": LIGHT}

ROLES: dict[str, tuple[str | None, str]] = {
    "dim": ("muted", ""),
    "faint": ("faint", ""),
    "strong": (None, "bold"),
    "good": ("success", ""),
    "warn": ("warning", ""),
    "bad": ("error", "bold"),
    "accent": ("accent", ""),
    "running": ("running", ""),
    "bar": ("bar", ""),
    "bar-empty": ("faint", ""),
    "title": ("primary", "bold"),
    "rule": ("rule", ""),
    "key": ("warning", "bold"),
    "match": (None, "bold reverse"),
}
"""Role of a span → colour of the theme (None: that of the text), and what holds without colours too."""


@lru_cache
def role_styles(theme_name: str) -> Mapping[str, Style]:
    """The style of each role in a theme; of a theme that is not ours, as in our dark one.

    `cursor` is the style of the selected row.
    """
    theme = next((theme for theme in THEMES.values() if theme.name == theme_name), DARK)

    def colour(name: str) -> str:
        return theme.variables.get(name) or str(getattr(theme, name))

    styles = {
        role: Style.parse(f"{attributes} {colour(name) if name else ''}".strip() or "none")
        for role, (name, attributes) in ROLES.items()
    }
    styles["cursor"] = Style.parse(f"bold on {colour('cursor')}")
    return styles
