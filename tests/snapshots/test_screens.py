"""What the screens look like: SVG snapshots, to be looked at when they change (`--snapshot-update`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from hitui.ui.app import Dashboard
from tests.ui import sample
from tests.ui.conftest import shown

Compare = Callable[..., bool]
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "250x60": (250, 60)}
LOG = (
    "loading /models/Qwen3-VL-8B-Instruct\n"
    + "".join(f"Query {number}  Fact Checking   12.4 s\n" for number in range(2700, 2749))
    + "Query 2749  [bold red]markup[/] \x1b[31mcolour\x1b[0m \x1b]0;a title\x07\n"
    + "Query 2750  Numerical Reasoning   cut to 100,000 tokens of 334,162\n"
    + "\rProcessing text:   7%|▋         | 1/14\rProcessing text:  21%|██▏       | 3/14"
)


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours, clock and time zone of whoever runs the tests do not show."""
    for name in ("NO_COLOR", "HITUI_THEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("hitui.ui.text.clock", lambda epoch: "14:03")
    monkeypatch.setattr("hitui.ui.text.moment", lambda epoch, now: "13:03")


@pytest.fixture
def app(tmp_path: Path) -> Dashboard:
    log = tmp_path / "log.txt"
    log.write_text(LOG)
    return Dashboard(sample.services(known_jobs=sample.jobs(str(log))))


def after(*keys: str, until: str) -> Callable[[Pilot[int]], Awaitable[None]]:
    """Presses the keys once everything is there, and waits for a text."""

    async def run(pilot: Pilot[int]) -> None:
        await shown(pilot, "▶ text_html #14", "3/14", "following")
        await pilot.press(*keys)
        await shown(pilot, until)
        # The mouse pointer of the pilot stands nowhere, and nothing else is still to come.
        await pilot.wait_for_scheduled_animations()

    return run


@pytest.mark.parametrize("size", SIZES)
def test_main_screen(snap_compare: Compare, app: Dashboard, size: str) -> None:
    assert snap_compare(app, terminal_size=SIZES[size], run_before=after(until="25 to rerun"))


def test_main_screen_in_light_colours(
    snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_THEME", "light")
    log = tmp_path / "log.txt"
    log.write_text(LOG)
    light = Dashboard(sample.services(known_jobs=sample.jobs(str(log))))
    assert snap_compare(light, terminal_size=SIZES["120x40"], run_before=after(until="25 to rerun"))


@pytest.mark.parametrize("size", ["80x24", "120x40"])
def test_before_anything_starts(snap_compare: Compare, app: Dashboard, size: str) -> None:
    assert snap_compare(app, terminal_size=SIZES[size], run_before=after("R", until="start 7 jobs"))


def test_help(snap_compare: Compare, app: Dashboard) -> None:
    assert snap_compare(
        app, terminal_size=SIZES["120x40"], run_before=after("question_mark", until="this screen")
    )


@pytest.mark.parametrize("size", ["80x24", "120x40"])
def test_one_config(snap_compare: Compare, app: Dashboard, size: str) -> None:
    assert snap_compare(app, terminal_size=SIZES[size], run_before=after("enter", until="not done: 3"))


@pytest.fixture
def queue_app() -> Dashboard:
    return Dashboard(sample.services(known_jobs=sample.queue()))


def in_the_queue(*keys: str, until: str) -> Callable[[Pilot[int]], Awaitable[None]]:
    async def run(pilot: Pilot[int]) -> None:
        await shown(pilot, "▶ text_html #14")
        await pilot.press("Q")
        await shown(pilot, "3/14", "Queued 6", "#15 qwen3vl_default_pic/mix_csv · queued")
        await pilot.press(*keys)
        await shown(pilot, until)
        await pilot.wait_for_scheduled_animations()

    return run


@pytest.mark.parametrize("size", SIZES)
def test_the_queue(snap_compare: Compare, queue_app: Dashboard, size: str) -> None:
    run = in_the_queue(until="#15 qwen3vl_default_pic/mix_csv · queued")
    assert snap_compare(queue_app, terminal_size=SIZES[size], run_before=run)


def test_what_is_to_be_paused(snap_compare: Compare, queue_app: Dashboard) -> None:
    run = in_the_queue("P", until="▸ group night")
    assert snap_compare(queue_app, terminal_size=SIZES["80x24"], run_before=run)


@pytest.mark.parametrize("size", ["80x24", "120x40"])
def test_pauses_on_the_main_screen(snap_compare: Compare, queue_app: Dashboard, size: str) -> None:
    async def run(pilot: Pilot[int]) -> None:
        await shown(pilot, "▶ text_html #14", "! group night stopped", "3.9/m", "! unreadable", "no log yet")
        await pilot.wait_for_scheduled_animations()

    assert snap_compare(queue_app, terminal_size=SIZES[size], run_before=run)
