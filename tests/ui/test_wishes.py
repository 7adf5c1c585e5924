"""What the keys of the main screen ask of jobs, what is asked first, and what is said of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from msgspec.structs import replace
from textual.widgets._toast import Toast

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued
from hitui.domain.launches import LaunchPlan, PlannedLaunch
from hitui.domain.schedule import Group, Queue, Schedule
from hitui.errors import SupervisorError
from hitui.ui.app import Dashboard
from hitui.ui.screens.detail import DetailScreen
from hitui.ui.screens.launch_dialog import LaunchDialog
from hitui.ui.screens.result import ResultScreen
from tests.ui import sample
from tests.ui.conftest import dashboard, gone, shown, typed, until

WIDE = (120, 40)
MIX_HTML = "qwen3vl_resize_pic/mix_html"


async def test_r_shows_what_will_run_and_enter_starts_it() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("down", "down", "r")
        await shown(pilot, "Rerun what is pending", "GPU 1 now", "25 tasks in 1 job, about 4m of work")
        assert services.jobs.submitted == []
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.submitted)
        assert services.jobs.submitted == [JobRequest("qwen3vl_resize_pic/mix_html")]
        await shown(pilot, "queued #20 mix_html")


async def test_escape_starts_nothing() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("r")
        await shown(pilot, "Escape leave it")
        await pilot.press("escape")
        await gone(pilot, "Escape leave it")
        assert services.jobs.submitted == []


async def test_what_cannot_start_says_why_and_enter_does_nothing() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "whole")
        await pilot.press("down", "down", "down", "down", "s")
        await shown(pilot, "Nothing can start now.", "nothing is pending; every task")
        await pilot.press("enter")
        await gone(pilot, "Nothing can start now.")
        assert services.jobs.submitted == []


async def test_capital_r_says_nothing_of_what_no_question_list_counts() -> None:
    states = (sample.config("a/whole", 3071), sample.config("a/uncounted", 3, total=None))
    services = sample.services(states=states, known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "3 tasks, no total")
        await pilot.press("R")
        await shown(pilot, "no question list says", "1 of the")
        services.workspace.publish(sample.WorkspaceValue(states[:1]))
        await gone(pilot, "a/uncounted")
        await pilot.press("R")
        await shown(pilot, "nothing is pending in")


async def test_capital_r_says_how_to_start_what_counts_no_tasks() -> None:
    states = (sample.config("a/lines", 12, missing=88, total=100, unit="lines"),)
    services = sample.services(states=states, known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "88 lines to go")
        await pilot.press("R")
        await shown(pilot, "no task is pending in", "r starts one by one")


async def test_capital_r_asks_for_all_that_match_the_filter() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("R")
        await shown(pilot, "4926 tasks in 7 jobs", "and 4 more like it")
        await pilot.press("escape")
        await gone(pilot, "4926 tasks in 7 jobs")
        await typed(pilot, "pic html")
        await shown(pilot, "/pic html ── 1 of 10")
        await pilot.press("R")
        await shown(pilot, "in all configs that match 'pic html'", "25 tasks in 1 job")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.submitted)
        assert [request.config for request in services.jobs.submitted] == ["qwen3vl_resize_pic/mix_html"]


async def test_what_is_refused_is_told_beside_what_is_queued() -> None:
    services = sample.services()
    services.jobs.refusals = ("g/b: [runner.b] model: /models/gone does not exist; correct the path",)
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("R")
        await shown(pilot, "in all configs")
        await pilot.press("enter")
        await shown(pilot, "/models/gone does not exist", "queued #20 ")


async def test_x_asks_first_and_then_stops_the_job() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("x")
        await shown(pilot, "Stop #14 qwen3vl_text/text_html?")
        await pilot.press("escape")
        await gone(pilot, "Stop #14")
        assert services.jobs.stopped == []
        await pilot.press("x")
        await shown(pilot, "Enter stop it")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.stopped == [14])
        await shown(pilot, "asked #14 text_html to stop")


async def test_a_supervisor_that_refuses_is_said_and_nothing_breaks() -> None:
    services = sample.services()
    services.jobs.error = SupervisorError("the supervisor does not answer; see [supervisor.log]")
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("r")
        await shown(pilot, "Enter start 1 job")
        await pilot.press("enter")
        await shown(pilot, "the supervisor does not answer; see [supervisor.log]")
        await pilot.press("down")
        await shown(pilot, "▸  qwen3vl_default_pic/mix_csv")


async def test_how_a_job_ended_is_said_once_it_has() -> None:
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        first, second, third = services.jobs.first.jobs  # type: ignore[attr-defined]
        ended = replace(second, state=Ended(Ending.LOST, sample.NOON, "killed from outside"))
        services.jobs.publish(JobsSnapshot((first, ended, third), 99))
        await shown(pilot, "#14 text_html: lost: killed from outside", "! #14 lost: killed")


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


async def test_of_a_long_reason_its_beginning_and_its_end_are_told() -> None:
    reason = (
        "ended by SIGKILL; if nobody here did it, the machine ran out of memory (see dmesg); "
        + "last in its log: 0.14 s " * 6
        + "; tried again after 15 s, attempt 2 of 3"
    )
    services = sample.services()
    async with Dashboard(services).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: dashboard(pilot).jobs_snapshot.jobs)
        first, second, third = services.jobs.first.jobs  # type: ignore[attr-defined]
        ended = replace(second, state=Ended(Ending.FAILED, sample.NOON, reason))
        services.jobs.publish(JobsSnapshot((first, ended, third), 99))
        await shown(pilot, "#14 text_html: failed: ended", "2 of 3")
        assert pilot.app.screen.query_one(Toast).region.height <= 6


async def test_of_many_failures_at_once_their_number_is_told_and_the_last() -> None:
    def many(failed: int) -> JobsSnapshot:
        died = Ended(Ending.FAILED, sample.NOON, "exit status 1")
        states = [died if number < failed else Queued() for number in range(6)]
        jobs = enumerate(states, start=31)
        return JobsSnapshot(
            tuple(Job(number, JobRequest("a/text_csv"), sample.NOON, state) for number, state in jobs)
        )

    services = sample.services(known_jobs=many(0))
    async with Dashboard(services).run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: dashboard(pilot).jobs_snapshot.jobs)
        services.jobs.publish(many(2))
        await shown(pilot, "#31 text_csv: failed", "#32 text_csv: failed")
        services.jobs.publish(many(5))
        await shown(pilot, "5 jobs failed, the queue", "is #35 text_csv: failed")
        await until(pilot, lambda: len(pilot.app.screen.query(Toast)) == 1, "one toast alone")
        services.jobs.publish(many(6))
        await shown(pilot, "6 jobs failed, the queue", "is #36 text_csv: failed")
        await until(pilot, lambda: len(pilot.app.screen.query(Toast)) == 1, "one toast alone")


async def test_p_pauses_the_selected_config_and_lets_it_go_on() -> None:
    services = sample.services(known_jobs=sample.queue())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("down", "p")
        await until(pilot, lambda: services.jobs.changes == [("pause", {"jobs": [15]})])
        dashboard(pilot).screen.select_config("qwen3vl_text/text_json")  # type: ignore[attr-defined]
        await pilot.press("p")
        await until(pilot, lambda: services.jobs.changes[1:] == [("resume", {"jobs": [17]})])
        dashboard(pilot).screen.select_config("qwen3vl_text/text_csv")  # type: ignore[attr-defined]
        await pilot.press("p")
        await shown(pilot, "the selected config has no job to pause")
        dashboard(pilot).screen.select_config("qwen3vl_text/text_html")  # type: ignore[attr-defined]
        await pilot.press("p")
        await shown(pilot, "Pause #14 qwen3vl_text/text_html?", "what was answered is kept")
        assert len(services.jobs.changes) == 2


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
        await shown(pilot, "25 tasks in 1 job", "GPU 1 now", "0-7 GPU   + - priority   h hold")
        await pilot.press("2")
        await shown(pilot, "on GPU 2 only", "GPU 2 now")
        await pilot.press("0", "plus", "plus", "minus", "h")
        await shown(pilot, "on GPU 0, 2 only · priority 1 · held until p lets it go on", "GPU 0,2 now")
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
