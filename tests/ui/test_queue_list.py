"""What the screen of the queue shows while jobs come, change and go."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.geometry import Region

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running
from hitui.domain.progress import JobProgress
from hitui.domain.records import JobRecord
from hitui.domain.schedule import Group, HeldFor
from hitui.ui.app import Dashboard
from hitui.ui.screens.queue import QueueScreen
from hitui.ui.widgets.queue_table import QueueTable
from tests.ui import sample
from tests.ui.conftest import dashboard, line_with, screen_text, shown, typed, until
from tests.ui.queues import WIDE, open_queue, queue_of, waiting


async def test_the_cursor_stays_on_its_job_and_follows_what_takes_its_place() -> None:
    jobs = list(map(waiting, range(1, 5)))
    services = sample.services(known_jobs=queue_of(*jobs))
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        table = await open_queue(pilot)
        table.select(3)
        running = replace(jobs[2], state=Running(("GPU-00000001",), 5, sample.NOON))
        services.jobs.publish(queue_of(*jobs[:2], running, jobs[3]))
        await shown(pilot, "Running 1")
        assert table.selected == running
        crashed = replace(running, state=Ended(Ending.FAILED, sample.NOON, "exit status 1"), successor=5)
        again = replace(jobs[2], id=5, attempt=2, replaces=3)
        services.jobs.publish(queue_of(*jobs[:2], crashed, jobs[3], again))
        await shown(pilot, "failed ")
        assert table.selected == again
        services.jobs.publish(
            queue_of(*jobs[:2], crashed, jobs[3], replace(again, state=Ended(Ending.STOPPED, sample.NOON)))
        )
        await shown(pilot, "stopped ")
        assert table.selected is not None
        assert table.selected.id in (2, 4)


async def test_an_empty_queue_says_what_to_do_next() -> None:
    async with Dashboard(sample.services(known_jobs=JobsSnapshot())).run_test(size=WIDE) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("Q")
        await shown(
            pilot, "nothing runs", "nothing waits: r on the main screen starts", "nothing has ended yet"
        )
        await pilot.press("K", "p", "x", "enter", "down", "tab", "escape")
        await shown(pilot, "━ Configs")


async def test_of_ten_thousand_jobs_only_the_lines_in_sight_are_built() -> None:
    jobs = [waiting(number) for number in range(1, 10_001)]
    services = sample.services(known_jobs=queue_of(*jobs))
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        table = await open_queue(pilot)
        await shown(pilot, "#1 ", "Queued 10000")
        built: list[int] = []
        build = table.line_at
        table.line_at = lambda index: (built.append(index), build(index))[1]  # type: ignore[method-assign, func-returns-value]
        await pilot.press("end")
        await shown(pilot, "#10000")
        services.jobs.publish(queue_of(*jobs[1:]))
        await shown(pilot, "9999 waiting", "▸  #10000")
        assert len(set(built)) <= 4 * WIDE[1]


async def test_nothing_is_painted_when_nothing_changed() -> None:
    services = sample.services(known_jobs=sample.queue())
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        table = await open_queue(pilot)
        await pilot.wait_for_scheduled_animations()
        painted: list[Region] = []
        refresh = table.refresh

        def note(*regions: Region, **others: bool) -> QueueTable:
            painted.extend(regions)
            return refresh(*regions, **others)

        table.refresh = note  # type: ignore[method-assign, assignment]
        same = sample.queue()
        services.jobs.publish(
            replace(same, queue=replace(same.queue, groups=(*same.queue.groups, Group("empty", 3))))
        )
        await until(pilot, lambda: len(dashboard(pilot).jobs_snapshot.queue.groups) == 2)
        services.progress.publish({14: replace(sample.PROGRESS[14], done=4)})
        await shown(pilot, "4/14")
        assert [region.y for region in painted] == [2]


async def test_of_a_job_that_succeeded_the_tasks_that_failed_are_told_as_soon_as_they_are_on_record() -> None:
    succeeded = Ended(Ending.SUCCEEDED, time.time())
    ended = [replace(waiting(number), state=succeeded) for number in (14, 15)]
    services = sample.services(known_jobs=queue_of(*ended, waiting(16)))
    services.jobs.recorded = {14: JobRecord(done=14, failed=3), 15: JobRecord()}
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await open_queue(pilot)
        await shown(pilot, ": 3 of 17 tasks failed")
        services.jobs.recorded[15] = JobRecord(done=0, failed=1)
        await shown(pilot, ": 1 of 1 task failed")


async def test_the_time_to_the_next_try_counts_down_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitui.ui.countdown.SECONDS_PER_TICK", 1000.0)
    soon = replace(waiting(14, not_before=time.time() + 50.0), attempt=2)
    services = sample.services(known_jobs=queue_of(soon))

    def seconds_left() -> int:
        found = re.search(r"again in (\d+) s, attempt 2", screen_text(pilot))
        return int(found[1]) if found else 0

    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await open_queue(pilot)
        await until(pilot, seconds_left)
        first = seconds_left()
        await until(pilot, lambda: 0 < seconds_left() < first)
        services.jobs.publish(queue_of(replace(waiting(14, not_before=time.time() + 1.0), attempt=2)))
        await shown(pilot, "waits for its turn")


async def test_what_comes_on_record_while_other_screens_are_above_is_there_when_they_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hitui.ui.countdown.SECONDS_PER_TICK", 1000.0)
    ended = replace(waiting(14), state=Ended(Ending.SUCCEEDED, time.time()))
    services = sample.services(known_jobs=queue_of(ended))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await open_queue(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, QueueScreen)
        # Textual takes for current what is right below the screen above.
        await pilot.press("enter")
        await shown(pilot, "t shows others")
        await pilot.press("question_mark")
        await until(pilot, lambda: not screen.is_current)
        services.jobs.recorded[14] = JobRecord(done=14, failed=3)
        await until(pilot, lambda: screen.records.known)
        await pilot.press("escape", "escape")
        await shown(pilot, ": 3 of 17 tasks failed")


async def test_the_log_of_a_job_that_joined_another_is_that_of_the_other(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of both\n")
    running = replace(sample.jobs().jobs[1], log=str(log))
    state = Ended(Ending.JOINED, sample.NOON, "its tasks run in job 14, which loads the model once for all")
    joined = Job(15, JobRequest("qwen3vl_text/text_csv"), sample.NOON, state, successor=14)
    services = sample.services(known_jobs=queue_of(running, joined))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        (await open_queue(pilot)).select(15)
        await pilot.press("l")
        await shown(pilot, "f follow", "of both", "#15 has no log of its own: this is that of #14")


async def test_the_log_of_a_job_that_is_tried_again_is_that_of_the_try_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("no module named torch\n")
    failed = replace(waiting(14), state=Ended(Ending.FAILED, sample.NOON, "exit status 1"), log=str(log))
    again = replace(waiting(15), replaces=14, attempt=2)
    services = sample.services(known_jobs=queue_of(failed, again, waiting(16)))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        table.select(16)
        await pilot.press("l")
        await shown(pilot, "#16 has no log: it never ran")
        table.select(15)
        await pilot.press("l")
        await shown(pilot, "f follow", "no module named torch", "this is that of #14")


@pytest.mark.parametrize("opened_by", ["", "enter"])
async def test_so_it_is_on_the_main_screen_and_in_the_details(opened_by: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("no module named torch\n")
    request = JobRequest("qwen3vl_text/text_html")
    died = Ended(Ending.FAILED, sample.NOON, "exit status 1")
    failed = Job(14, request, sample.NOON, died, log=str(log), successor=15)
    again = Job(15, request, sample.NOON, Queued("its turn"), replaces=14, attempt=2)
    services = sample.services(known_jobs=queue_of(failed, again))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "waits: its turn #15", "#15 waits for its turn")
        if opened_by:
            await pilot.press(opened_by)
            await shown(pilot, "read from")
        await pilot.press("l")
        await shown(pilot, "f follow", "no module named torch")


async def test_one_job_of_several_configs_is_one_row_here_and_a_row_each_on_the_main_screen() -> None:
    running = sample.jobs().jobs[1]
    also = tuple(map(JobRequest, ("qwen3vl_text/text_csv", "qwen3vl_text/text_latex")))
    shared = replace(running, request=replace(running.request, also=also))
    state = Ended(Ending.JOINED, sample.NOON, "its tasks run in job 14, which loads the model once for all")
    joined = Job(15, also[0], sample.NOON, state, successor=14)
    each = {
        "qwen3vl_text/text_csv": JobProgress("running", 5, 13, eta_seconds=480.0),
        "qwen3vl_text/text_html": JobProgress("running", 14, 14, eta_seconds=60.0),
    }
    services = sample.services(
        known_jobs=queue_of(shared, joined), progress={14: JobProgress("running", 19, 27, configs=each)}
    )
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14", "▶ text_html +2 #14")
        rows = [line_with(pilot, name) for name in ("/text_html ", "/text_csv ", "/text_latex ")]
        assert [row[82:].split() for row in rows] == [
            ["14", "to", "rerun,", "#14", "goes", "on"],
            ["8m", "▶", "GPU", "2", "#14"],
            ["waits", "for", "its", "turn", "in", "#14"],
        ]
        table = await open_queue(pilot)
        await shown(pilot, "qwen3vl_text/text_html +2", "19/27", "runs text_csv, text_latex too", "joined ")
        await typed(pilot, "text_latex")
        await shown(pilot, "Running 1", "Ended 0 of 1")
        assert table.selected == shared
        await pilot.press("x")
        await shown(pilot, "Stop #14 qwen3vl_text/text_html and 2 more?")


async def test_the_cursor_follows_a_job_that_joins_another() -> None:
    running = sample.jobs().jobs[1]
    waits = waiting(15)
    services = sample.services(known_jobs=queue_of(running, waits, waiting(16)))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        assert table.selected == waits
        joined = replace(
            waits, state=Ended(Ending.JOINED, sample.NOON, "its tasks run in job 14"), successor=14
        )
        services.jobs.publish(queue_of(running, joined, waiting(16)))
        await shown(pilot, "joined ")
        assert table.selected == running
        assert not dashboard(pilot)._notifications


async def test_stalls_and_failing_tasks_call_for_someone() -> None:
    running = sample.jobs().jobs[1]
    assert isinstance(running.state, Running)
    stalled = replace(running, state=replace(running.state, stalled_since=time.time() - 3 * 3600 - 20))
    why = "20 tasks failed one after the other; see its log, then resume it"
    failing = waiting(15, held=why, held_for=HeldFor.ERRORS)
    failing = replace(failing, request=JobRequest("qwen3vl_text/text_csv"))
    services = sample.services(known_jobs=queue_of(stalled, failing), progress={})
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "! stalled for 3 h 0 min: #14", "! #15 paused: 20 tasks", "! 3 need a look")
        await open_queue(pilot)
        await shown(
            pilot, "stalled: nothing new for 3 h 0 min", "paused: 20 tasks failed one after the other"
        )
        assert line_with(pilot, "#14 ").startswith(" !")
        assert line_with(pilot, "#15  ").startswith("▸!")


async def test_the_cursor_stays_in_sight_when_jobs_come_before_it() -> None:
    services = sample.services(known_jobs=queue_of(*map(waiting, range(100, 110))))
    async with Dashboard(services).run_test(size=(80, 24)) as pilot:
        table = await open_queue(pilot)
        table.select(109)
        services.jobs.publish(queue_of(*map(waiting, range(50, 110))))
        await shown(pilot, "60 waiting", "▸  #109")
