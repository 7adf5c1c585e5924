"""One task over the full screen, from the list of a config's tasks."""

from __future__ import annotations

import threading

import pytest
from textual.pilot import Pilot

from hitui.errors import WorkspaceError
from hitui.services.results import Result
from hitui.ui.app import Dashboard
from tests.ui import sample
from tests.ui.conftest import gone, line_with, screen_text, shown, until

SIZE = (100, 40)


async def open_tasks(pilot: Pilot[int]) -> None:
    """The first config's screen with all its tasks, the cursor on the first."""
    await shown(pilot, "3049/3071", "user1")
    await pilot.press("enter")
    await shown(pilot, "not done: 3")
    await pilot.press(*"ttttt")
    await shown(pilot, "all: 4", "▸       7  done")


async def test_a_task_is_opened_and_what_its_file_holds_is_shown_whole() -> None:
    async with Dashboard(sample.services()).run_test(size=SIZE, notifications=True) as pilot:
        await open_tasks(pilot)
        await pilot.press("enter")
        await shown(
            pilot, "─ task 7 · done · qwen3vl_text/text_html ─", "1 of 4", "[Final Answer]: [bold]Dunsby"
        )
        assert line_with(pilot, "Reference").split() == ["Reference", "Dunsby,", "7"]
        assert "    return 'Dunsby'" in screen_text(pilot)
        assert '{"EM": 0.0, "F1": 66.67}' in line_with(pilot, "Metrics")
        words = [line[18:] for line in screen_text(pilot).splitlines()]
        question = words[words.index(next(word for word in words if word.startswith("Which"))) :]
        assert " ".join(" ".join(question).split()).startswith(sample.QUESTION)
        assert "\x1b" not in screen_text(pilot)


async def test_the_next_ones_are_gone_through_and_the_list_follows() -> None:
    async with Dashboard(sample.services()).run_test(size=SIZE, notifications=True) as pilot:
        await open_tasks(pilot)
        await pilot.press("enter")
        await shown(pilot, "1 of 4", "Dunsby")
        await pilot.press("N")
        await shown(pilot, "1 of 4")
        await pilot.press("n")
        await shown(pilot, "task 20 · error", "2 of 4", "error, text too large", "[ERROR] OOM")
        await gone(pilot, "Dunsby")
        await pilot.press("right", "n", "n")
        await shown(pilot, "task 22 · blocked", "4 of 4", "blocked: missing file: image/[bold]x.png")
        await pilot.press("left")
        await shown(pilot, "task 21 · missing", "missing: no result")
        await pilot.press("escape")
        await shown(pilot, "▸      21  missing")


async def test_the_cursor_stays_on_its_task_and_the_mouse_opens() -> None:
    async with Dashboard(sample.services()).run_test(size=SIZE, notifications=True) as pilot:
        await open_tasks(pilot)
        await pilot.press("end")
        await shown(pilot, "▸      22  blocked")
        await pilot.press("t")
        await shown(pilot, "not done: 3", "▸      22  blocked")
        await pilot.press("t")
        await shown(pilot, "errors: 1", "▸      20  error")
        await pilot.press("t", "t", "t")
        await shown(pilot, "done: 1", "▸       7  done")
        await pilot.press("t")
        await shown(pilot, "all: 4", "▸       7  done")
        await pilot.press("home", "down", "j", "up")
        await shown(pilot, "▸      20  error")
        await pilot.click("#tasks", offset=(5, 3), times=2)
        await shown(pilot, "task 22 · blocked", "4 of 4")


async def test_where_there_is_no_task_that_is_said() -> None:
    services = sample.services()
    services.workspace.tasks = lambda name: ()  # type: ignore[method-assign, assignment]
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(pilot, "not done: none")
        await pilot.press("enter")
        await shown(pilot, "there is no task to open")


async def test_results_that_cannot_be_read_are_said_and_read_again_when_they_change() -> None:
    services = sample.services()
    whole = services.workspace.results

    def refuse(name: str) -> dict[str, Result]:
        raise WorkspaceError("results.json: is no JSON; put a whole copy there")

    services.workspace.results = refuse  # type: ignore[method-assign]
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await open_tasks(pilot)
        await pilot.press("enter")
        await shown(pilot, "! cannot be read: results.json: is no JSON")
        services.workspace.results = whole  # type: ignore[method-assign]
        states = (sample.config("qwen3vl_text/text_html", 3050, errors=13, blocked=8), *sample.configs()[1:])
        services.workspace.publish(sample.WorkspaceValue(states))
        await shown(pilot, "Dunsby")
        await gone(pilot, "cannot be read")


async def test_results_that_change_all_the_time_are_read_one_time_after_the_other() -> None:
    services = sample.services()
    whole, may, begun = services.workspace.results, threading.Event(), []

    def slow(name: str) -> dict[str, Result]:
        begun.append(name)
        may.wait()
        return whole(name)

    services.workspace.results = slow  # type: ignore[method-assign]
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await open_tasks(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: begun)
        for done in (3050, 3051, 3052):
            states = (sample.config("qwen3vl_text/text_html", done, blocked=8), *sample.configs()[1:])
            services.workspace.publish(sample.WorkspaceValue(states))
            await until(pilot, lambda states=states: pilot.app.workspace_snapshot.configs == states)
        assert len(begun) == 1
        may.set()
        await shown(pilot, "Dunsby")
        await until(pilot, lambda: len(begun) == 2, "what changed meanwhile is read once more")


@pytest.mark.parametrize("size", [(60, 15), (200, 50)])
async def test_it_has_room_where_the_rest_has(size: tuple[int, int]) -> None:
    async with Dashboard(sample.services()).run_test(size=size, notifications=True) as pilot:
        await open_tasks(pilot)
        await pilot.press("enter")
        await shown(pilot, "task 7 · done", "Dunsby, 7" if size[1] > 15 else "Which harbour")
        await pilot.press("end")
        await shown(pilot, "Metrics")
        await pilot.press("question_mark")
        await until(pilot, lambda: "the next task of the list" in screen_text(pilot))
