"""The command palette, where keys and clicks come faster than it opens and closes."""

from __future__ import annotations

import asyncio

from rich.style import Style
from textual import events
from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot

from hitui.ui.app import Dashboard
from tests.ui import sample
from tests.ui.conftest import dashboard, gone, screen_text, shown, until

WIDE = (120, 40)


def send(pilot: Pilot[int], *keys: str) -> None:
    """All of them at once, as a terminal does."""
    for key in keys:
        pilot.app.post_message(events.Key(key, None))


async def opened(pilot: Pilot[int]) -> CommandPalette:
    await shown(pilot, "25 to rerun")
    await pilot.press("colon")
    await shown(pilot, "sort by the next column")
    assert isinstance(pilot.app.screen, CommandPalette)
    return pilot.app.screen


async def test_it_closes_once_and_does_once_what_was_chosen_however_often_enter_is_pressed() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await opened(pilot)
        await pilot.press(*"order")
        await shown(pilot, "sort by the next column")
        await gone(pilot, "leave the screen; jobs go on")
        send(pilot, "enter", "enter", "enter", "enter")
        await shown(pilot, "by name")
        await pilot.pause()
        assert "by name" in screen_text(pilot)
        assert len(dashboard(pilot).screen_stack) == 1


async def test_escape_twice_leaves_the_screen_below_alone() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        palette = await opened(pilot)
        palette.dismiss()
        palette.dismiss()
        await shown(pilot, "25 to rerun")
        assert len(dashboard(pilot).screen_stack) == 1


async def test_without_any_room_it_can_be_paged_through_and_it_is_there_again_with_the_room() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        palette = await opened(pilot)
        commands = palette.query_one(CommandList)
        # What is laid out between the terminal's change of size and the screen's is kept as that of the size before.
        for _ in range(5):
            commands.refresh(layout=True)
            await pilot.resize_terminal(120, 3)
            await until(pilot, lambda: not commands.size.height, "no room for the list")
            await pilot.press("pagedown", "pageup")
            await pilot.resize_terminal(*WIDE)
            await shown(pilot, "sort by the next column")
        await pilot.press("escape")
        await shown(pilot, "25 to rerun")


async def test_a_click_on_a_command_that_the_search_has_just_left_out_does_nothing() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        palette = await opened(pilot)
        commands = palette.query_one(CommandList)
        left_out = Style.from_meta({"option": commands.option_count})
        commands.post_message(events.Click(commands, 5, 5, 0, 0, 1, False, False, False, style=left_out))
        await pilot.press(*"order")
        await gone(pilot, "leave the screen; jobs go on")
        await shown(pilot, "sort by the next column")
        assert pilot.app.screen is palette


async def test_it_may_be_left_at_every_moment_of_its_opening() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        for moments in range(40):
            dashboard(pilot).action_command_palette()
            palette = pilot.app.screen
            assert isinstance(palette, CommandPalette)
            for _ in range(moments):
                await asyncio.sleep(0)
            palette.dismiss()
            await until(pilot, lambda palette=palette: not palette.is_running, "the palette is gone")
        assert dashboard(pilot).is_running


async def test_a_search_whose_list_is_gone_does_not_end_the_screen() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        palette = await opened(pilot)
        await palette.query_one(CommandList).remove()
        await pilot.press("o")
        await shown(pilot, "NoMatches")
        await pilot.press("escape")
        await shown(pilot, "25 to rerun")
