"""The screen of the queue by its keys: what a key asks for, and in which order."""

from __future__ import annotations

from msgspec.structs import replace

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot
from hitui.errors import LaunchError
from hitui.ui.app import Dashboard
from tests.ui import sample
from tests.ui.conftest import gone, line_with, screen_text, shown, typed, until
from tests.ui.queues import WIDE, open_queue, queue_of, waiting


async def test_everything_about_the_queue_is_there() -> None:
    async with Dashboard(sample.services(known_jobs=sample.queue())).run_test(size=WIDE) as pilot:
        await open_queue(pilot)
        await shown(
            pilot,
            "Queue · 1 running, 6 waiting",
            "! group night stopped",
            "! group night stopped: #9 and #10 failed at their start: ModuleNotFoundError",
            "▶ GPU 2     ███▍············  3/14  1 error  3m left  3.9/m",
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
        await shown(
            pilot, "#13 qwen3vl_text/text_latex · failed", "tried again after 60\n  s, attempt 2 of 3"
        )
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
        await typed(pilot, "night")
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


async def test_f_mixes_the_answers_of_a_new_try_only_where_that_was_refused() -> None:
    reason = "exit status 2: error: resume refused: max_new_tokens was 64, now 128"
    refused, crashed = (
        Job(number, JobRequest("a/mixed"), 0.0, Ended(Ending.FAILED, 9.0, said, 1.0, 2))
        for number, said in ((11, reason), (10, "exit status 1: no"))
    )
    services = sample.services(known_jobs=JobsSnapshot((crashed, refused), 1))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        table = await open_queue(pilot)
        table.select(10)
        await pilot.press("r", "f")
        await shown(pilot, "Try #10 a/mixed again?", "Enter queue it")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.changes == [("retry", {"jobs": [10]})])
        table.select(11)
        await pilot.press("r")
        await shown(pilot, "refused before", "f mixes them")
        await pilot.press("f")
        await until(pilot, lambda: services.jobs.changes[1:] == [("retry", {"jobs": [11], "force": True})])


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
            "#12 has no place in the queue: it has ended",
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
