"""A config's tasks by words of what is known of them, and a rerun of just what is listed."""

from __future__ import annotations

from textual.pilot import Pilot

from hitui.domain.jobs import JobRequest
from hitui.ui.app import Dashboard
from tests.ui import sample
from tests.ui.conftest import gone, screen_text, shown, typed, until

SIZE = (100, 40)
NAME = sample.configs()[0].name


async def open_config(pilot: Pilot[int]) -> None:
    await shown(pilot, "3049/3071", "user1")
    await pilot.press("enter")
    await shown(pilot, "not done: 3", "21  missing")


async def test_only_tasks_that_match_are_listed_and_gone_through_until_escape() -> None:
    async with Dashboard(sample.services()).run_test(size=SIZE, notifications=True) as pilot:
        await open_config(pilot)
        await typed(pilot, "LARGE 334")
        await shown(pilot, "not done: 3 · 1 with 'LARGE 334'  Escape shows all", "▸      20  error")
        await gone(pilot, "21  missing")
        await pilot.press("enter")
        await shown(pilot, "task 20 · error", "1 of 1")
        await pilot.press("escape")
        await shown(pilot, "1 with 'LARGE 334'")
        await pilot.press("t", "t")
        await shown(pilot, "missing: 1 · 0 with 'LARGE 334'", "none matches 'LARGE 334': Escape shows all")
        await pilot.press("escape")
        await shown(pilot, "missing: 1 · t shows others", "▸      21  missing")
        await pilot.press("escape")
        await shown(pilot, "Configs")


async def test_letters_that_are_keys_elsewhere_are_typed_and_escape_leaves_the_line_first() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await open_config(pilot)
        await pilot.press("slash", *"rtx")
        await shown(pilot, "0 with 'rtx'", "none matches 'rtx'")
        await pilot.press("escape")
        await shown(pilot, "not done: 3 · t shows others", "20  error")
        assert (services.jobs.submitted, services.jobs.stopped) == ([], [])


async def test_a_task_is_found_by_its_id() -> None:
    async with Dashboard(sample.services()).run_test(size=SIZE, notifications=True) as pilot:
        await open_config(pilot)
        await typed(pilot, "#22")
        await shown(pilot, "1 with '#22'", "▸      22  blocked")


async def test_what_is_pending_of_the_list_is_run_and_nothing_else() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await open_config(pilot)
        await typed(pilot, "large")
        await shown(pilot, "1 with 'large'")
        await pilot.press("R")
        await shown(pilot, "Rerun what is listed")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.submitted)
    assert services.jobs.submitted == [JobRequest(NAME, ids=(20,))]


async def test_a_list_of_all_that_is_pending_means_what_is_so_at_the_start() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await open_config(pilot)
        await pilot.press("R")
        await shown(pilot, "Rerun what is listed")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.submitted)
    assert services.jobs.submitted == [JobRequest(NAME)]


async def test_a_list_without_anything_pending_says_so() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await open_config(pilot)
        await typed(pilot, "blocked")
        await pilot.press("R")
        await shown(pilot, "nothing in this list is pending")
        assert "Rerun what is listed" not in screen_text(pilot)
    assert services.jobs.submitted == []
