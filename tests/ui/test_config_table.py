"""The table of configs: cursor, order, filter, mouse."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from textual import events
from textual.widgets import Input

from hitui.domain.jobs import JobsSnapshot
from hitui.ui.app import Dashboard
from hitui.ui.widgets.config_table import ConfigTable
from tests.ui import sample
from tests.ui.conftest import line_with, screen_text, shown, until

WIDE = (120, 40)


async def test_cursor_and_scroll_stay_while_rows_change() -> None:
    states = tuple(
        sample.config(f"group/config_{number:03d}", number, missing=3071 - number) for number in range(100)
    )
    services = sample.services(states=states, known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "config_000")
        await pilot.press(*["down"] * 50)
        await shown(pilot, "▸  group/config_050")
        table = pilot.app.screen.query_one(ConfigTable)
        scrolled = table.scroll_offset.y
        assert scrolled > 0
        changed = tuple(replace(state, done=state.done + 1) for state in states[10:])
        services.workspace.publish(sample.WorkspaceValue(changed))
        await shown(pilot, "51/3071")
        assert table.selected is not None
        assert table.selected.name == "group/config_050"
        services.workspace.publish(sample.WorkspaceValue(changed[:40]))
        await until(pilot, lambda: len(table.rows) == 40)
        assert table.selected.name == "group/config_049"


async def test_only_the_lines_that_changed_are_painted() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        table = pilot.app.screen.query_one(ConfigTable)
        painted: list[int] = []
        paint = table.repaint

        def note(index: int) -> None:
            painted.append(index)
            paint(index)

        table.repaint = note  # type: ignore[method-assign]
        services.workspace.publish(services.workspace.first)
        states = list(sample.configs())
        states[2] = replace(states[2], done=3039, missing=24)
        services.workspace.publish(sample.WorkspaceValue(tuple(states)))
        await shown(pilot, "24 to rerun")
        assert painted == [3]


async def test_sorting_by_key_and_by_the_header() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        table = pilot.app.screen.query_one(ConfigTable)
        await pilot.press("o", "o", "o")
        await shown(pilot, "by errors", "▼err")
        assert [row.state.errors for row in table.rows][:3] == [14, 13, 2]
        await pilot.press("O")
        await shown(pilot, "▲err")
        assert [row.state.errors for row in table.rows][-1] == 14
        header = screen_text(pilot).splitlines().index(line_with(pilot, "miss"))
        await pilot.click(offset=(line_with(pilot, "miss").index("miss") + 1, header))
        await shown(pilot, "by missing", "▼miss")
        assert table.rows[0].state.missing == 3000


async def test_sorting_by_state_brings_what_needs_someone_to_the_top() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "2 need a look")
        table = pilot.app.screen.query_one(ConfigTable)
        table.sort("state")
        words = [row.words.attention for row in table.rows]
        assert words[:2] == [True, True]
        assert not any(words[2:])


async def test_a_filter_that_matches_nothing_says_how_to_get_out() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("slash", *"zzz", "enter")
        await shown(pilot, "no config matches 'zzz': Escape shows all")
        await pilot.press("escape")
        await shown(pilot, "25 to rerun")


async def test_the_cursor_goes_to_the_best_match_and_the_order_stays() -> None:
    names = ("a/text_html_truncate", "a/model_text_html", "a/text_html", "b/text_csv")
    states = tuple(sample.config(name) for name in names)
    async with Dashboard(sample.services(states=states, known_jobs=JobsSnapshot())).run_test(
        size=WIDE, notifications=True
    ) as pilot:
        await shown(pilot, "▸  a/text_html_truncate")
        await pilot.press("slash", *"text_html", "enter")
        await shown(pilot, "3 of 4", "▸  a/text_html ")
        table = pilot.app.screen.query_one(ConfigTable)
        assert [row.name for row in table.rows] == list(names[:3])
        await pilot.press("escape")
        await shown(pilot, "b/text_csv", "▸  a/text_html ")
        await pilot.press("slash", *"l_text_html", "enter")
        await shown(pilot, "▸  a/model_text_html")


async def test_the_cursor_stays_where_nothing_matches_better_and_comes_back_from_nothing() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "1 to rerun")
        await pilot.press("down", "down", "down")
        await shown(pilot, "▸  qwen3vl_text/text_latex")
        await pilot.press("slash", *"text")
        await shown(pilot, "/text ──", "▸  qwen3vl_text/text_latex")
        await pilot.press(*"zzz")
        await shown(pilot, "no config matches")
        await pilot.press("escape")
        await shown(pilot, "▸  qwen3vl_text/text_latex")


async def test_the_cursor_is_in_sight_after_the_order_changed() -> None:
    states = tuple(
        sample.config(f"group/config_{number:03d}", number, missing=3071 - number) for number in range(100)
    )
    services = sample.services(states=states, known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▸  group/config_000")
        await pilot.press("O")
        await shown(pilot, "▼name", "▸  group/config_000")
        await pilot.press("O")
        await shown(pilot, "▸  group/config_000", "config_001")


async def test_a_slash_is_a_letter_of_the_filter_that_is_being_typed() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("slash", *"pic", "slash", *"mix_html", "enter")
        await shown(pilot, "/pic/mix_html ── 1 of 10")


async def test_the_mouse_selects_and_a_double_click_opens() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        # With the GPUs the rows have found their places.
        await shown(pilot, "1 to rerun", "5-7 ")
        await pilot.pause()
        row = screen_text(pilot).splitlines().index(line_with(pilot, "text_latex"))
        await pilot.click(offset=(5, row))
        await shown(pilot, "▸  qwen3vl_text/text_latex")
        await pilot.click(offset=(5, row), times=2)
        await shown(pilot, "read from", "Tasks · not done: 3")


@pytest.mark.parametrize("opened_by", ["", "Q"])
async def test_letters_and_slashes_that_come_at_once_stay_in_their_order(opened_by: str) -> None:
    """As a paste sends them: all keys are there before the first is looked at."""
    async with Dashboard(sample.services()).run_test(size=(120, 40)) as pilot:
        await shown(pilot, "text_html")
        if opened_by:
            await pilot.press(opened_by)
            await shown(pilot, "Queue")
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(pilot.app.focused, Input), "the filter has the focus")
        for character in "pic/mix_html/x":
            key = "slash" if character == "/" else "underscore" if character == "_" else character
            pilot.app.post_message(events.Key(key, character))
        line = pilot.app.focused
        assert isinstance(line, Input)
        await until(pilot, lambda: len(line.value) == len("pic/mix_html/x"), "all was typed")
        assert line.value == "pic/mix_html/x"


@pytest.mark.parametrize(("opened_by", "there"), [("", "text_html"), ("Q", "Queue"), ("l", "f follow")])
async def test_letters_right_behind_the_key_of_the_line_to_type_into_are_part_of_it_and_no_wishes(
    opened_by: str, there: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("a line\n")
    services = sample.services(known_jobs=sample.jobs(str(log)))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "a line")
        if opened_by:
            await pilot.press(opened_by)
        await shown(pilot, there)
        await pilot.pause()
        for key, character in (("slash", "/"), ("T", "T"), ("plus", "+"), ("p", "p"), ("x", "x")):
            pilot.app.post_message(events.Key(key, character))
        await until(pilot, lambda: isinstance(pilot.app.focused, Input), "the filter has the focus")
        line = pilot.app.focused
        assert isinstance(line, Input)
        await until(pilot, lambda: line.value == "T+px", "all of it was typed")
