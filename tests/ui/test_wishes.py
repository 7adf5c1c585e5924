"""What the keys of the main screen ask of jobs, what is asked first, and what is said of it."""

from __future__ import annotations

from msgspec.structs import replace
from textual.widgets._toast import Toast

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued
from hitui.errors import SupervisorError
from hitui.supervisor.other_versions import other_code
from hitui.ui.app import Dashboard
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


async def test_that_the_supervisor_is_of_another_version_is_told_once() -> None:
    line = other_code(4711, "") or ""
    known = replace(sample.jobs(), notice=line)
    services = sample.services(known_jobs=known)
    async with Dashboard(services).run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "the supervisor, pid 4711, is of", "supervisor stop`")
        services.jobs.publish(replace(known, jobs=known.jobs[:1]))
        await until(pilot, lambda: len(dashboard(pilot).jobs_snapshot.jobs) == 1)
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
