"""The screen under a pilot: deterministic values, no threads but the screen's own."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from hitui.ui.app import Dashboard
from hitui.ui.screens.base import FullScreen


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the terminal nor the clock of whoever runs the tests shows in them."""
    for name in ("NO_COLOR", "HITUI_THEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("hitui.ui.text.clock", lambda epoch: "14:03")


async def until(pilot: Pilot[int], condition: Callable[[], object], what: str = "") -> None:
    """Lets the app work until the condition holds; fails after a deadline."""
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"did not come about: {what or condition}\n{screen_text(pilot)}")
        await pilot.pause(0.01)


def screen_text(pilot: Pilot[int]) -> str:
    """What stands on the screen, line by line."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def line_with(pilot: Pilot[int], text: str) -> str:
    return next(line for line in screen_text(pilot).splitlines() if text in line)


async def shown(pilot: Pilot[int], *texts: str) -> None:
    """Waits until each of the texts is on the screen."""
    for text in texts:
        await until(pilot, lambda text=text: text in screen_text(pilot), f"{text!r} on the screen")


async def gone(pilot: Pilot[int], text: str) -> None:
    await until(pilot, lambda: text not in screen_text(pilot), f"{text!r} gone")


async def typed(pilot: Pilot[int], words: str) -> None:
    """Opens the line to type into, types these words and Enter, and waits until the line is closed again."""
    screen = pilot.app.screen
    assert isinstance(screen, FullScreen)
    await pilot.press("slash")
    await until(pilot, lambda: screen.entry_is_open, "the line to type into")
    await pilot.press(*words, "enter")
    await until(pilot, lambda: not screen.entry_is_open, "the line closed")


def dashboard(pilot: Pilot[int]) -> Dashboard:
    assert isinstance(pilot.app, Dashboard)
    return pilot.app
