"""The log over the full screen, and one config in detail."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot
from hitui.domain.records import JobRecord
from hitui.services.scores import Scores
from hitui.ui.app import Dashboard
from hitui.ui.line import Line
from hitui.ui.screens.detail import Facts
from hitui.ui.screens.dialog import Dialog, DialogLines
from hitui.ui.text import wrapped
from tests.ui import sample
from tests.ui.conftest import gone, screen_text, shown, typed, until

SIZE = (100, 30)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "runner.log"
    lines = [f"line {number}" for number in range(1, 1001)]
    lines[499] = "an Error here"
    lines[899] = "another error here"
    path.write_text("\n".join(lines) + "\n")
    return path


async def test_a_config_says_of_its_job_what_the_queue_says_of_it() -> None:
    name = sample.configs()[0].name
    ended = Job(14, JobRequest(name), sample.NOON, Ended(Ending.SUCCEEDED, time.time()))
    services = sample.services(known_jobs=JobsSnapshot((ended,), 1))
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("enter")
        await shown(pilot, "#14 succeeded at ")
        services.jobs.recorded[14] = JobRecord(done=14, failed=3)
        await shown(pilot, ": 3 of 17 tasks failed")
        await pilot.press("escape", "Q")
        await shown(pilot, "Ended 1", ": 3 of 17 tasks failed")


async def test_the_full_log_moves_searches_and_follows(log: Path) -> None:
    services = sample.services(known_jobs=sample.jobs(str(log)))
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "line 1000")
        await pilot.press("l")
        await shown(pilot, "runner.log · 8.7 KiB", "following", "f follow")
        await pilot.press("g")
        await shown(pilot, "line 1", "lines 1-28 of 1000")
        await pilot.press("space", "space")
        await shown(pilot, "lines 55-82 of 1000")
        await pilot.press("b", "b")
        await shown(pilot, "lines 1-28 of 1000")
        await typed(pilot, "error")
        await shown(pilot, "▸ an Error here")
        await pilot.press("n")
        await shown(pilot, "▸ another error here")
        await pilot.press("n")
        await shown(pilot, "no other 'error' below here")
        await pilot.press("N")
        await shown(pilot, "▸ an Error here")
        await pilot.press("G")
        await shown(pilot, "following", "line 1000")
        await typed(pilot, "Error")
        await shown(pilot, "▸ an Error here")
        await pilot.press("G")
        await shown(pilot, "following", "line 1000")
        with log.open("a") as stream:
            stream.write("the newest\n")
        await shown(pilot, "the newest")
        await pilot.press("f")
        await shown(pilot, "lines 974-1001 of 1001")
        await pilot.press("escape")
        await shown(pilot, "━ Configs")


async def test_n_goes_on_in_the_direction_of_the_search(log: Path) -> None:
    services = sample.services(known_jobs=sample.jobs(str(log)))
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "line 1000")
        await pilot.press("l")
        await shown(pilot, "runner.log · 8.7 KiB", "following")
        await pilot.press("slash")
        await shown(pilot, "Enter searches upwards")
        await pilot.press("escape")
        await typed(pilot, "error")
        await shown(pilot, "▸ another error here")
        await pilot.press("n")
        await shown(pilot, "▸ an Error here")
        await pilot.press("N")
        await shown(pilot, "▸ another error here")
        await pilot.press("slash")
        await shown(pilot, "Enter searches downwards")


async def test_escape_leaves_the_search_before_the_screen(log: Path) -> None:
    services = sample.services(known_jobs=sample.jobs(str(log)))
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "line 1000")
        await pilot.press("l")
        await shown(pilot, "f follow")
        await pilot.press("slash", *"x")
        await pilot.press("escape")
        await shown(pilot, "f follow")
        await pilot.press("q")
        await shown(pilot, "━ Configs")


async def test_long_lines_are_seen_by_moving_sideways(tmp_path: Path) -> None:
    path = tmp_path / "runner.log"
    path.write_text("start " + "x" * 200 + " end of it\n")
    services = sample.services(known_jobs=sample.jobs(str(path)))
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "start xxx")
        await pilot.press("l")
        await shown(pilot, "f follow")
        await pilot.press(*["right"] * 10)
        await shown(pilot, "end of it")
        await pilot.press(*["left"] * 10)
        await shown(pilot, "start xxx")


async def test_a_config_in_detail() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(
            pilot,
            "3049 done of 3071 · 14 errors · 0 missing · 8 blocked · 14 pending",
            "11 text too large, 3 no final answer",
            "result/qwen3vl_text/text_html/results.json",
            "20  error    text too large",
            "missing file: image/[bold]x.png",
            "Tasks · not done: 3",
        )
        await pilot.press("t")
        await shown(pilot, "errors: 1")
        await gone(pilot, "missing file")
        await pilot.press("t", "t", "t")
        await shown(pilot, "done: 1")
        await pilot.press("r")
        await shown(pilot, "14 tasks in 1 job")
        await pilot.press("escape")
        await gone(pilot, "14 tasks in 1 job")
        await pilot.press("x")
        await shown(pilot, "Stop #14")
        await pilot.press("escape")
        await gone(pilot, "Stop #14")
        await pilot.press("escape")
        await shown(pilot, "━ Configs")


@pytest.mark.parametrize(
    ("scored", "words"),
    [
        (None, "scores      none yet: hitui score qwen3vl_text/text_html"),
        (
            Scores({"EM": 29.861, "F1": 43.8}, charts_unscored=1, unjudged=243, written=time.time()),
            "scores      EM 29.86 · F1 43.80, 1 chart unscored, 243 unjudged",
        ),
        (
            Scores({"EM": 29.86}, written=1.0),
            "scores      EM 29.86, older than the results: hitui score qwen3vl_text/text_html",
        ),
        (
            Scores({"EM": 29.86}, written=time.time(), judged=time.time() + 9),
            "scores      EM 29.86, older than the verdicts: hitui score qwen3vl_text/text_html",
        ),
    ],
)
async def test_the_detail_has_the_scores_and_what_is_in_none_of_them(
    scored: Scores | None, words: str
) -> None:
    services = sample.services()
    assert isinstance(services.workspace, sample.Workspace)
    services.workspace.scored = scored
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(pilot, words)


async def test_the_detail_shows_what_is_scored_while_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitui.ui.screens.detail.SECONDS_PER_LOOK", 0.05)
    services = sample.services()
    assert isinstance(services.workspace, sample.Workspace)
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(pilot, "scores      none yet")
        services.workspace.scored = Scores({"EM": 31.0}, written=time.time())
        await shown(pilot, "scores      EM 31.00")


async def test_where_all_facts_have_room_no_line_wraps_beside_a_scroll_bar() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=(80, 18), notifications=True) as pilot:
        await shown(pilot, "▶ text_html #14")
        await pilot.press("enter")
        await shown(pilot, "3049 done of 3071")
        facts = pilot.app.screen.query_one(Facts)
        await until(pilot, lambda: facts.show_vertical_scrollbar)
        # One of them is as wide as the screen.
        await gone(pilot, "blocked · 14 pending")
        await pilot.resize_terminal(80, 24)
        await shown(pilot, "blocked · 14 pending", "writes to")
        assert not facts.show_vertical_scrollbar


class Sentences(Dialog):
    """Fourteen lines, the first of which is as wide as there is room."""

    most_width = 60

    def lines(self, width: int) -> list[Line]:
        return [((part, ""),) for part in wrapped("x" * 56 + " end", width)] + [(("line", ""),)] * 13


async def test_nor_does_a_line_of_a_dialog_that_has_room() -> None:
    async with Dashboard(sample.services()).run_test(size=(80, 15), notifications=True) as pilot:
        await shown(pilot, "▶ text_html #14")
        await pilot.app.push_screen(Sentences())
        lines = pilot.app.screen.query_one(DialogLines)
        await until(pilot, lambda: lines.show_vertical_scrollbar)
        await gone(pilot, "x end")
        await pilot.resize_terminal(80, 20)
        await shown(pilot, "x end")
        assert not lines.show_vertical_scrollbar


async def test_a_disk_that_hangs_keeps_one_thread_of_the_detail_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hitui.ui.screens.detail.SECONDS_PER_LOOK", 0.01)
    services = sample.services()
    looks: list[str] = []
    answers = threading.Event()

    def hang(name: str) -> None:
        looks.append(name)
        answers.wait(60)

    monkeypatch.setattr(services.workspace, "scores", hang)
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await until(pilot, lambda: looks)
        ticks: list[int] = []
        pilot.app.set_interval(0.02, lambda: ticks.append(1))
        await until(pilot, lambda: len(ticks) > 10)
        assert len(looks) == 1
        answers.set()
        await until(pilot, lambda: len(looks) > 1)


async def test_a_problem_is_told_in_full_where_there_is_room() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press(*["down"] * 8, "enter")
        await shown(pilot, "! problem", "is not JSON (byte 0); it ended early: rerun or remove it")


async def test_the_detail_follows_what_changes() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(pilot, "3049 done of 3071")
        states = (sample.config("qwen3vl_text/text_html", 3050, errors=13, blocked=8), *sample.configs()[1:])
        services.workspace.publish(sample.WorkspaceValue(states))
        await shown(pilot, "3050 done of 3071 · 13 errors")
        await shown(pilot, "progress    3/14 · 1 error · 3m left · 3.9/m")
        services.progress.publish({14: replace(sample.PROGRESS[14], done=4)})
        await shown(pilot, "progress    4/14 · 1 error")


async def test_tasks_that_cannot_be_read_are_said_and_nothing_breaks() -> None:
    services = sample.services()

    def refuse(name: str) -> tuple[object, ...]:
        raise PermissionError(13, "Permission denied", "results.json")

    services.workspace.tasks = refuse  # type: ignore[method-assign, assignment]
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(pilot, "Permission denied: 'results.json'")
        await pilot.press("escape")
        await until(pilot, lambda: "━ Configs" in screen_text(pilot))


async def test_of_a_config_that_counts_lines_no_list_of_tasks_says_that_none_is_missing() -> None:
    states = (sample.config("a/lines", 12, missing=88, total=100, unit="lines"),)
    services = sample.services(states=states, known_jobs=JobsSnapshot())
    services.workspace.tasks = lambda name: ()  # type: ignore[method-assign, assignment]
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "88 lines to go")
        await pilot.press("enter")
        await shown(pilot, "12 done of 100", "lines are counted here, and no tasks listed")
        await pilot.press("t")
        await shown(pilot, "lines are counted here, and no tasks listed")
        assert "not done" not in screen_text(pilot)


async def test_the_detail_tells_each_thing_once_and_names_folders_from_the_workspace() -> None:
    failed = sample.jobs().jobs[0]
    reason = "exit status 1: no space left there"
    state = replace(failed.state, reason=reason)
    states = tuple(
        replace(
            known, config=replace(known.config, output=f"/made-up/RealHiTBench/result/{known.config.name}")
        )
        for known in sample.configs()
    )
    services = sample.services(states=states, known_jobs=JobsSnapshot((replace(failed, state=state),)))
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "! failed #13")
        await pilot.press(*["down"] * 5, "enter")
        await shown(pilot, "! #13 failed", "#13 failed at", reason)
        assert screen_text(pilot).count(reason) == 1
        assert "writes to   result/qwen3vl_text/text_csv" in screen_text(pilot)


async def test_the_detail_shows_which_part_has_the_keys() -> None:
    async with Dashboard(sample.services()).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(pilot, "━ Tasks", "─ qwen3vl_text/text_html")
        await pilot.press("tab")
        await shown(pilot, "─ Tasks", "━ qwen3vl_text/text_html")


async def test_a_help_that_is_longer_than_the_screen_scrolls_to_its_end() -> None:
    async with Dashboard(sample.services()).run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("question_mark")
        await shown(pilot, "this screen")
        await pilot.press("end")
        await shown(pilot, "a failed, lost or stalled job, an ", "Tab goes on", "Shift+drag")
        assert "…" not in "".join(line[2:-2] for line in screen_text(pilot).splitlines()[1:-1])
        await pilot.press("home")
        await shown(pilot, "this screen")


async def test_help_names_the_keys_of_lists_too() -> None:
    async with Dashboard(sample.services()).run_test(size=(100, 60), notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("enter")
        await shown(pilot, "Tasks · not done: 3")
        await pilot.press("question_mark")
        await shown(pilot, "in the facts", "in the tasks", "↓ j", "PgDn")


async def test_help_keeps_long_keys_apart_from_what_they_do_and_tells_of_the_mouse() -> None:
    async with Dashboard(sample.services()).run_test(size=(100, 60), notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("Q")
        await shown(pilot, "Queue · ")
        await pilot.press("question_mark")
        await shown(pilot, "J Shift+down  one place back", "Shift+drag    marks text to copy")


async def test_the_total_of_many_launches_is_in_sight_on_a_small_screen() -> None:
    states = tuple(sample.config(f"group/config_{number:02d}", 3070, missing=1) for number in range(30))
    services = sample.services(states=states, known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "1 to rerun")
        await pilot.press("R")
        await shown(pilot, "30 tasks in 30 jobs", "start 30 jobs", "group/config_00")
        await pilot.press("end")
        await shown(pilot, "and 27 more like it")


async def test_one_error_is_one_error() -> None:
    services = sample.services(states=(sample.config("a/b", 3070, errors=1),), known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "1 to rerun")
        await pilot.press("enter")
        await shown(pilot, "· 1 error ·")
