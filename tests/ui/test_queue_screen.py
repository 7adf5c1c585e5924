"""The screen of the queue by its keys: what is shown, what a key asks for, and in which order."""

from __future__ import annotations

import time

from msgspec.structs import replace
from textual.geometry import Region
from textual.pilot import Pilot

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running
from hitui.domain.progress import JobProgress
from hitui.domain.schedule import Group, HeldFor, Queue, Schedule
from hitui.errors import LaunchError
from hitui.ui.app import Dashboard
from hitui.ui.widgets.queue_table import QueueTable
from tests.ui import sample
from tests.ui.conftest import dashboard, gone, line_with, screen_text, shown, until

WIDE = (120, 40)


def waiting(number: int, **schedule: object) -> Job:
    known = Schedule(**schedule)  # type: ignore[arg-type]
    return Job(
        number,
        JobRequest(f"group/config_{number:05d}"),
        sample.NOON,
        Queued("its turn"),
        schedule=known,
        place=float(number),
    )


def queue_of(*jobs: Job, queue: Queue = Queue()) -> JobsSnapshot:  # noqa: B008 - a frozen value
    return JobsSnapshot(jobs, 99, queue)


async def open_queue(pilot: Pilot[int]) -> QueueTable:
    await until(pilot, lambda: dashboard(pilot).jobs_snapshot.jobs)
    await pilot.press("Q")
    await shown(pilot, "Queued ")
    return pilot.app.screen.query_one(QueueTable)


async def test_everything_about_the_queue_is_there() -> None:
    async with Dashboard(sample.services(known_jobs=sample.queue())).run_test(size=WIDE) as pilot:
        await open_queue(pilot)
        await shown(
            pilot,
            "Queue · 1 running, 6 waiting",
            "! group night stopped",
            "! group night stopped: #9 and #10 died within 10 s: ModuleNotFoundError",
            "▶ GPU 2     ███▍············  3/14  3m left  1 error  3.9/m",
            "+5  default    1  waits for 20 GiB free on one GPU: GPU 0 has",
            "again in 3h, attempt 2",
            "paused by hand",
            "waits for job 14: it is on the same config",
            "-1  default    1  waits for job 19: to succeed",
            "failed ",
            "stopped ",
            "group default · priority +5",
        )
        text = screen_text(pilot)
        order = [text.index(f"  #{number} ") for number in (14, 15, 16, 17, 18, 19, 20, 13, 12, 11, 10, 9, 8)]
        assert order == sorted(order)
        # What another job has followed needs no one any more.
        assert "!" not in line_with(pilot, "#13 ")
        assert "!" in line_with(pilot, "#12 ")


async def test_the_selected_job_is_told_in_full() -> None:
    async with Dashboard(sample.services(known_jobs=sample.queue())).run_test(size=(80, 24)) as pilot:
        await open_queue(pilot)
        await shown(pilot, "waits for 20 GiB free on one GPU: GPU 0 has 12.1 GiB; GPU 3 does not answer")
        await pilot.press("tab")
        await shown(pilot, "#13 qwen3vl_text/text_latex · failed", "tried again in 60 s,\n  attempt 2 of 3")
        await pilot.press("tab")
        await shown(pilot, "─ #14 qwen3vl_text/text_html · running")


async def test_jobs_are_moved_by_naming_the_one_that_they_pass() -> None:
    services = sample.services(known_jobs=queue_of(*map(waiting, (1, 2, 3))))
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        await open_queue(pilot)
        await pilot.press("J")
        await until(pilot, lambda: len(services.jobs.changes) == 2)
        # Behind the second, without taking the priority of the third.
        assert services.jobs.changes == [
            ("move", {"jobs": [1], "before": 2}),
            ("move", {"jobs": [2], "before": 1}),
        ]
        await pilot.press("down", "down", "K")
        await until(pilot, lambda: services.jobs.changes[2:] == [("move", {"jobs": [3], "before": 2})])
        await pilot.press("T")
        await until(pilot, lambda: services.jobs.changes[3:] == [("move", {"jobs": [3], "before": 1})])
        await pilot.press("up", "B")
        await until(pilot, lambda: services.jobs.changes[4:] == [("move", {"jobs": [2], "before": None})])


async def test_keys_that_come_faster_than_answers_are_added_up() -> None:
    services = sample.services(known_jobs=queue_of(*map(waiting, range(1, 9))))
    services.jobs.answer = lambda verb, what: (replace(waiting(8), place=6.5),)
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        table = await open_queue(pilot)
        await pilot.press("end", "K")
        await until(pilot, lambda: services.jobs.changes == [("move", {"jobs": [8], "before": 7})])
        # The screen has not seen the answer yet: from where these lead cannot be told.
        await pilot.press("K", "K", "K")
        moved = replace(waiting(8), place=6.5)
        services.jobs.publish(queue_of(*map(waiting, range(1, 8)), moved))
        await until(pilot, lambda: len(services.jobs.changes) == 2)
        assert services.jobs.changes[1] == ("move", {"jobs": [8], "before": 4})
        assert table.selected == moved


async def test_a_filtered_queue_is_moved_past_what_is_shown() -> None:
    jobs = [waiting(number, group="night" if number % 2 else "day") for number in range(1, 8)]
    services = sample.services(known_jobs=queue_of(*jobs))
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        table = await open_queue(pilot)
        await pilot.press("slash", *"night", "enter")
        await shown(pilot, "Queued 4 of 7")
        await gone(pilot, "config_00002")
        table.select(5)
        await pilot.press("K")
        await until(pilot, lambda: services.jobs.changes == [("move", {"jobs": [5], "before": 3})])
        await pilot.press("escape")
        await shown(pilot, "config_00002", "Queued 7")
        await pilot.press("escape")
        await shown(pilot, "━ Configs")


async def test_priorities_are_counted_from_what_is_shown() -> None:
    services = sample.services(known_jobs=queue_of(waiting(1), waiting(2, priority=3)))
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        table = await open_queue(pilot)
        assert table.selected == waiting(2, priority=3)
        await pilot.press("plus")
        await until(pilot, lambda: services.jobs.changes == [("prioritize", {"jobs": [2], "priority": 4})])
        await pilot.press("down", "minus")
        await until(
            pilot, lambda: services.jobs.changes[1:] == [("prioritize", {"jobs": [1], "priority": -1})]
        )


async def test_a_queued_job_is_paused_and_resumed() -> None:
    services = sample.services(known_jobs=queue_of(waiting(1), waiting(2, held="paused by hand")))
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        await open_queue(pilot)
        await pilot.press("p")
        await until(pilot, lambda: services.jobs.changes == [("pause", {"jobs": [1]})])
        await pilot.press("down", "p")
        await until(pilot, lambda: services.jobs.changes[1:] == [("resume", {"jobs": [2]})])


async def test_before_a_running_job_is_paused_it_is_asked() -> None:
    services = sample.services(known_jobs=sample.queue())
    services.jobs.answer = lambda verb, what: (sample.jobs().jobs[1],)
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        table.select(14)
        await pilot.press("p")
        await shown(pilot, "Pause #14 qwen3vl_text/text_html?")
        await pilot.press("escape")
        await gone(pilot, "Pause #14")
        assert services.jobs.changes == []
        await pilot.press("p")
        await shown(pilot, "Pause #14")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.changes == [("pause", {"jobs": [14]})])
        await shown(pilot, "asked #14 text_html to pause")


async def test_a_group_or_the_whole_queue_is_paused_and_resumed() -> None:
    services = sample.services(known_jobs=sample.queue())
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        await open_queue(pilot)
        await pilot.press("P")
        await shown(pilot, "▸ group night", "Enter lets it go on")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.changes == [("resume", {"group": "night"})])
        await pilot.press("P")
        await shown(pilot, "▸ group night")
        await pilot.press("up", "up")
        await shown(
            pilot, "▸ the whole queue", "Enter pauses it: no more of its jobs start; what runs goes on"
        )
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.changes[1:] == [("pause", {})])


async def test_what_ended_is_tried_again_after_a_question() -> None:
    services = sample.services(known_jobs=sample.queue())
    services.jobs.answer = lambda verb, what: (replace(waiting(21), request=JobRequest("a/again")),)
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        table.select(12)
        await pilot.press("r")
        await shown(pilot, "Try #12 qwen3vl_text/text_new again?")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.changes == [("retry", {"jobs": [12]})])
        await shown(pilot, "queued #21 again")


async def test_what_waits_for_its_time_is_tried_at_once() -> None:
    services = sample.services(known_jobs=sample.queue())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        table.select(16)
        await pilot.press("r")
        await until(pilot, lambda: services.jobs.changes == [("resume", {"jobs": [16]})])
        table.select(17)
        await pilot.press("r")
        await shown(pilot, "#17 is queued: there is nothing to try again")


async def test_keys_that_do_not_fit_the_job_say_so() -> None:
    services = sample.services(known_jobs=sample.queue())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        table.select(12)
        await pilot.press("K", "p", "x")
        await shown(
            pilot,
            "#12 has no place in the queue: it is lost",
            "#12 has ended; r tries it again",
            "#12 has ended: there is nothing to stop",
        )
        table.select(17)
        await pilot.press("l")
        await shown(pilot, "#17 has no log: it never ran")
        assert services.jobs.changes == []


async def test_a_refusal_is_one_line_and_the_next_wish_goes_on() -> None:
    services = sample.services(known_jobs=queue_of(waiting(1), waiting(2)))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await open_queue(pilot)
        services.jobs.error = LaunchError("job 1 is no longer queued: it is running")
        await pilot.press("J")
        await shown(pilot, "job 1 is no longer queued: it is running")
        services.jobs.error = None
        await pilot.press("plus")
        await until(pilot, lambda: services.jobs.changes == [("prioritize", {"jobs": [1], "priority": 1})])


async def test_stop_asks_and_enter_opens_the_config() -> None:
    services = sample.services(known_jobs=sample.queue())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        table.select(15)
        await pilot.press("x")
        await shown(pilot, "Stop #15 qwen3vl_default_pic/mix_csv?", "takes it from the queue")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.stopped == [15])
        await pilot.press("enter")
        await shown(pilot, "3066 done of 3071", "#15 queued, waits for 20 GiB free on one GPU")
        await pilot.press("escape")
        await shown(pilot, "Queue · 1 running")


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
        await pilot.press("slash", *"text_latex", "enter")
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
