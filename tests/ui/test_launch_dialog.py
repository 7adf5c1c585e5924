"""The dialog before anything starts: what it says, what can be chosen there, when it is shown."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from msgspec.structs import replace

from hitui.domain.jobs import Ended, Ending, Job, JobRequest
from hitui.domain.launches import LaunchPlan, PlannedLaunch
from hitui.domain.schedule import Group, Queue, Schedule
from hitui.ui.app import Dashboard
from hitui.ui.screens.detail import DetailScreen
from hitui.ui.screens.launch_dialog import LaunchDialog
from hitui.ui.screens.result import ResultScreen
from tests.ui import sample
from tests.ui.conftest import gone, shown, until

WIDE = (120, 40)
MIX_HTML = "qwen3vl_resize_pic/mix_html"


def test_the_work_of_a_plan_is_the_same_on_any_number_of_gpus_and_no_place_is_half_told_at_80_columns() -> (
    None
):
    name = "qwen3vl_local/Qwen3-VL-8B-Instruct_text_latex"
    plan = LaunchPlan(
        (
            PlannedLaunch(
                JobRequest(name), 9, "3 shards on GPU 0, 1, 2 once free for 10 s", 600.0, "out", None, 3
            ),
            PlannedLaunch(JobRequest(name), 9, "GPU 3 once free for 10 s", 600.0, "out"),
            PlannedLaunch(
                JobRequest(name), 9, "waits for 20 GiB free on one GPU: GPU 0 is busy", 60.0, "out"
            ),
        )
    )
    told = ["".join(part for part, _ in line) for line in LaunchDialog("", plan).lines(74)]
    assert told[0] == "27 tasks in 3 jobs, about 41m of work"
    assert [line.split("9  ")[1].rsplit("  ", 1)[0].rstrip() for line in told[3:6]] == [
        "3 shards on GPU 0, 1, 2",
        "GPU 3",
        "waits for 20 GiB free",
    ]
    assert {len(line) for line in told[2:6]} == {74}


def test_what_is_to_run_is_told_in_what_is_counted() -> None:
    lines = PlannedLaunch(JobRequest("a/log"), 400, "no GPU needed", None, "out", unit="lines")
    tasks = PlannedLaunch(JobRequest("a/text"), 9, "GPU 3", None, "out")

    def told(*launches: PlannedLaunch) -> list[str]:
        shown = LaunchDialog("", LaunchPlan(launches)).lines(74)
        return [shown[0][0][0], "".join(part for part, _ in shown[2]).split()[1]]

    assert told(lines) == ["400 lines in 1 job", "lines"]
    assert told(tasks, lines) == ["9 tasks and 400 lines in 2 jobs", "count"]


async def test_the_launch_dialog_tells_that_nothing_starts_for_now() -> None:
    paused = Queue("", (Group("default", None, "#12 and #13 failed at their start: no module named torch"),))
    services = sample.services(known_jobs=replace(sample.jobs(), queue=paused))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "! group default stopped")
        await pilot.press("down", "down", "r")
        await shown(
            pilot,
            "queued only: group default is paused: #12 and #13 failed at their start: no module",
            "Enter queue 1 job",
        )
        await pilot.press("escape")
        services.jobs.publish(replace(sample.jobs(), queue=Queue("until Monday")))
        await shown(pilot, "queue paused")
        await pilot.press("r")
        await shown(pilot, "queued only: the queue is paused: until Monday")


async def test_what_was_refused_because_answers_would_be_mixed_can_be_forced_there() -> None:
    known = sample.jobs()
    reason = (
        "exit status 2: error: resume refused: a was 1, now 2; set that back, or mix the answers by --force"
    )
    refused = Job(12, JobRequest(MIX_HTML), 0.0, Ended(Ending.FAILED, 1.0, reason, 0.5, 2))
    services = sample.services(known_jobs=replace(known, jobs=(refused, *known.jobs)))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "! #12 failed")
        await pilot.press("down", "down", "r")
        await shown(
            pilot,
            "refused before: the answers there were made with other settings; f mixes them",
            "f and mix",
        )
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.submitted)
        assert services.jobs.submitted == [JobRequest(MIX_HTML)]


async def test_f_in_the_launch_dialog_mixes_answers_only_where_that_was_refused() -> None:
    known = sample.jobs()
    refused = Job(
        12,
        JobRequest(MIX_HTML),
        0.0,
        Ended(Ending.FAILED, 1.0, "exit status 2: error: resume refused: x", 0.5, 2),
    )
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("down", "down", "r")
        await shown(pilot, "25 tasks in 1 job")
        await pilot.press("f", "escape")
        await gone(pilot, "25 tasks in 1 job")
        services.jobs.publish(replace(known, jobs=(refused, *known.jobs)))
        await shown(pilot, "! #12 failed")
        await pilot.press("r")
        await shown(pilot, "f and mix")
        await pilot.press("f")
        await until(pilot, lambda: services.jobs.submitted)
        assert services.jobs.submitted == [JobRequest(MIX_HTML, force=True)]


async def test_only_those_are_mixed_that_were_refused() -> None:
    known = sample.jobs()
    reason = "exit status 2: error: resume refused: x"
    refused = Job(12, JobRequest(MIX_HTML), 0.0, Ended(Ending.FAILED, 1.0, reason, 0.5, 2))
    services = sample.services(known_jobs=replace(known, jobs=(refused, *known.jobs)))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "! #12 failed")
        await pilot.press("R")
        await shown(
            pilot, "refused before: the answers there were made with other settings; f mixes them", MIX_HTML
        )
        await pilot.press("f")
        await until(pilot, lambda: services.jobs.submitted)
        assert len(services.jobs.submitted) > 1
        assert [request.config for request in services.jobs.submitted if request.force] == [MIX_HTML]


async def test_gpus_priority_and_a_hold_can_be_chosen_before_the_start() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("down", "down", "r")
        await shown(
            pilot, "25 tasks in 1 job", "Enter start 1 job", "GPU 1 now", "0-7 GPU   + - priority   h hold"
        )
        await pilot.press("2")
        await shown(pilot, "on GPU 2 only", "GPU 2 now")
        await pilot.press("0", "plus", "plus", "minus", "h")
        await shown(
            pilot,
            "on GPU 0, 2 only · priority 1 · held until p lets it go on",
            "GPU 0,2 now",
            "Enter queue 1 job",
        )
        await pilot.press("2", "9", "enter")
        await until(pilot, lambda: services.jobs.submitted)
        assert services.jobs.submitted == [JobRequest(MIX_HTML, gpus=("0",))]
        (schedule,) = services.jobs.schedules
        assert (schedule.priority, bool(schedule.held)) == (1, True)
        await pilot.press("r")
        await shown(pilot, "25 tasks in 1 job", "GPU 1 now")
        await pilot.press("3", "3")
        await gone(pilot, "only")
        await shown(pilot, "GPU 1 now")
        await pilot.press("enter")
        await until(pilot, lambda: len(services.jobs.submitted) == 2)
        assert services.jobs.submitted[1] == JobRequest(MIX_HTML)
        assert services.jobs.schedules[1] == Schedule()


async def test_who_does_not_wait_for_the_plan_means_the_gpu_all_the_same() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("down", "down", "r")
        await shown(pilot, "25 tasks in 1 job")
        may = held_back(services)
        await pilot.press("2", "enter")
        await until(pilot, lambda: services.jobs.submitted)
        assert services.jobs.submitted == [JobRequest(MIX_HTML, gpus=("2",))]
        may.set()
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        await gone(pilot, "25 tasks in 1 job")


async def test_what_cannot_start_on_a_gpu_says_so_and_another_can_be_chosen() -> None:
    services = sample.services()
    plan = services.jobs.plan

    def refusing(requests: Sequence[JobRequest], *rest: object) -> LaunchPlan:
        made = plan(requests, *rest)
        if requests[0].gpus != ("5",):
            return made
        return LaunchPlan(tuple(replace(launch, refused="GPU 5 is excluded") for launch in made.launches))

    services.jobs.plan = refusing  # type: ignore[method-assign]
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("down", "down", "r")
        await shown(pilot, "25 tasks in 1 job")
        await pilot.press("5")
        await shown(pilot, "on GPU 5 only", "Nothing can start now.", "GPU 5 is excluded")
        await pilot.press("5")
        await shown(pilot, "25 tasks in 1 job")


def held_back(services: sample.Services) -> threading.Event:
    """What would run is worked out when this is set."""
    may, plan = threading.Event(), services.jobs.plan

    def later(*asked: object) -> LaunchPlan:
        may.wait()
        return plan(*asked)

    services.jobs.plan = later
    return may


async def test_of_two_wishes_that_came_fast_the_last_one_is_shown() -> None:
    services = sample.services()
    may = held_back(services)
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("R", "down", "down", "r")
        may.set()
        await shown(pilot, "25 tasks in 1 job")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert sum(isinstance(screen, LaunchDialog) for screen in pilot.app.screen_stack) == 1
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.submitted)
        assert services.jobs.submitted == [JobRequest(MIX_HTML)]


async def test_what_comes_when_someone_is_elsewhere_takes_no_key_there() -> None:
    services = sample.services()
    may = held_back(services)
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("down", "down", "r", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen))
        may.set()
        await shown(pilot, "not asked, since you went on")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultScreen))
        assert services.jobs.submitted == []


async def test_the_keys_say_what_enter_does_with_the_gpus_that_are_chosen() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("down", "down", "r")
        await shown(pilot, "Enter start 1 job")
        dialog = pilot.app.screen
        assert isinstance(dialog, LaunchDialog)
        planned = dialog.plan.launches[0]
        dialog.show_plan(LaunchPlan((planned, planned)))
        await shown(pilot, "Enter start 2 jobs")
        dialog.show_plan(LaunchPlan((replace(planned, refused="GPU 2 is too small"),)))
        await shown(pilot, "Nothing can start now.", "Escape leave it")
        await gone(pilot, "Enter start")
