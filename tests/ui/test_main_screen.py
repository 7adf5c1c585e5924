"""The main screen by its keys: what is shown, what a key asks of the services, what it says."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from msgspec.structs import replace

from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import JobsSnapshot, Running
from hitui.domain.schedule import Group, Queue
from hitui.ui.app import Dashboard
from hitui.ui.widgets.gpu_strip import GpuStrip
from tests.ui import sample
from tests.ui.conftest import dashboard, gone, line_with, screen_text, shown, until

WIDE = (120, 40)


async def test_everything_that_matters_is_there() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(
            pilot,
            "RealHiTBench",
            "2 jobs, done in about 3m · 4926 pending in 7 configs",
            "67.9/80 G  97%  62°  302W",
            "user1 60 G, user2 7.4 G",
            "free for jobs",
            "▶ text_html #14",
            "! lost: the driver no longer answers for it",
            "5-7     excluded   240/240 G in use by others",
            "3049/3071    14      0       8",
            "3.9/m     3m  ▶ GPU 2 #14",
            "waits: 20 GiB free #15",
            "25 to rerun",
            "whole",
            "! #13 failed: exit status 1",
            "! unreadable: ",
            "reading…",
            "! 2 need a look",
        )


async def test_the_services_are_followed_and_closed() -> None:
    services = sample.services()
    app = Dashboard(services)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        await until(pilot, lambda: services.progress.followed is not None)
        services.gpus.publish(GpuSnapshot(sample.NOON, "simulated", (sample.gpu(0, 1.0, 5),)))
        await shown(pilot, "GPUs · simulated", "1/80 G")
        await gone(pilot, "67.9/80 G")
    app.close_services()
    assert all(s.closed for s in (services.workspace, services.gpus, services.jobs, services.progress))


async def test_a_job_is_called_stalled_when_the_supervisor_takes_it_for_that() -> None:
    known = sample.jobs()
    services = sample.services(known_jobs=known)
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        running = known.jobs[1]
        assert isinstance(running.state, Running)
        stalled = replace(running, state=replace(running.state, stalled_since=time.time() - 900))
        services.jobs.publish(replace(known, jobs=(known.jobs[0], stalled, known.jobs[2])))
        await shown(pilot, "! stalled for 15 min: #14 on")
        services.jobs.publish(known)
        await shown(pilot, "▶ GPU 2 #14")


async def test_a_click_on_a_key_does_what_the_key_does() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "? help")
        keys = screen_text(pilot).splitlines()[-1]
        await pilot.click(offset=(keys.index("? help") + 2, WIDE[1] - 1))
        await shown(pilot, "run what is pending in the selected config")


async def test_help_names_every_key_of_the_screen_and_its_parts() -> None:
    async with Dashboard(sample.services()).run_test(size=(120, 70), notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("question_mark")
        await shown(pilot, "this screen", "in the configs", "in the log", "needs a person")
        await pilot.press("escape")
        await gone(pilot, "needs a person")


async def test_the_palette_finds_actions_and_configs() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("colon")
        await shown(pilot, "sort by the next column")
        await pilot.press(*"markdown")
        await shown(pilot, "select this config")
        await pilot.press("enter")
        await shown(pilot, "▸  qwen3vl_text/text_markdown")


async def test_tab_moves_the_focus_and_the_rule_shows_it_without_colour() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "━ Configs", "─ GPUs")
        await pilot.press("tab")
        await shown(pilot, "─ Configs", "━ qwen3vl_text/text_html")
        await pilot.press("tab")
        await shown(pilot, "━ GPUs")


async def test_g_unfolds_the_excluded_gpus() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "5-7     excluded")
        await pilot.press("g")
        await shown(pilot, "excluded · user4 79.6 G")
        await pilot.press("g")
        await shown(pilot, "5-7     excluded")


async def test_the_processes_on_the_gpus_are_told_with_their_whole_commands() -> None:
    long_command = (
        f"/opt/conda/bin/python train.py {' '.join(f'--option-{number} value' for number in range(9))}"
    )
    server = sample.server()
    first = replace(server.gpus[0].processes[1], command=long_command)
    services = sample.services()
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("G")
        await shown(pilot, "Processes on the GPUs", "0     11  user1      60 G  python train.py")
        assert "4711  me       40.2 G  ▶ #14 text_html  " in line_with(pilot, "4711")
        services.gpus.publish(
            replace(server, gpus=(replace(server.gpus[0], processes=(first,)), *server.gpus[1:3]))
        )
        await shown(pilot, "0     12  user2     7.4 G  /opt/conda/bin/python train.py", "--option-8 value")
        await gone(pilot, "user4")
        services.gpus.publish(replace(server, gpus=(replace(server.gpus[0], processes=()),)))
        await shown(pilot, "none on 1 GPU")
        await pilot.press("escape")
        await gone(pilot, "Processes on the GPUs")
        await pilot.press("shift+tab", "enter")
        await shown(pilot, "Processes on the GPUs")


async def test_more_gpus_than_fit_scroll_and_none_is_lost() -> None:
    many = GpuSnapshot(sample.NOON, "nvml", tuple(sample.gpu(number, 1.0) for number in range(16)))
    async with Dashboard(sample.services(gpus=many, known_jobs=JobsSnapshot())).run_test(
        size=WIDE, notifications=True
    ) as pilot:
        await shown(pilot, "free for jobs")
        await pilot.press("g")
        await shown(pilot, "3 more ↓")
        # However late its height follows.
        strip = dashboard(pilot).screen.query_one(GpuStrip)
        strip.styles.height = strip.size.height - 2
        await shown(pilot, "5 more ↓")
        await pilot.press("shift+tab", "end")
        await shown(pilot, " 15 A800")


async def test_no_driver_says_why_and_what_to_do() -> None:
    nothing = GpuSnapshot(sample.NOON, "nvml", error="no NVIDIA driver here (libnvidia-ml.so.1 is absent)")
    async with Dashboard(sample.services(gpus=nothing, known_jobs=JobsSnapshot())).run_test(
        size=WIDE, notifications=True
    ) as pilot:
        await shown(pilot, "no GPUs: no NVIDIA driver here", "`hitui doctor` says how to mend it")


async def test_a_driver_that_stopped_answering_keeps_the_last_values_and_says_so() -> None:
    stale = replace(sample.server(), error="no answer since 14:01")
    async with Dashboard(sample.services(gpus=stale)).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "! no answer since 14:01; last values:", "67.9/80 G")


async def test_an_empty_workspace_says_what_to_do_next() -> None:
    services = sample.services(states=(), known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "no results found below", "press i to name the folders")
        await pilot.press("i")
        await shown(pilot, "hitui init -w /made-up/RealHiTBench")
        await pilot.press("escape")
        await gone(pilot, "hitui init -w")
        await pilot.press("r")
        await shown(pilot, "no config is selected")


async def test_of_several_problems_the_first_is_on_the_rule_and_a_key_shows_all_in_full() -> None:
    long = f"hitui.toml: is not valid TOML: {'x' * 90} (what it said before still counts)"
    services = sample.services(problems=(long, "data/image: no such folder"))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "! i shows 1 more: hitui.toml: is not valid TOML")
        await pilot.press("i")
        await shown(pilot, "(what it said before still", "! data/image: no such folder")


async def test_a_problem_of_the_workspace_is_on_the_rule() -> None:
    services = sample.services(
        problems=("data/QA_final.json: is not there; name it as [workspace] questions",)
    )
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "! data/QA_final.json: is not there; name it as [workspace] questions")


@pytest.mark.parametrize(("size", "told"), [((59, 30), "here are 59x30"), ((100, 14), "here are 100x14")])
async def test_a_terminal_too_small_asks_for_room(size: tuple[int, int], told: str) -> None:
    async with Dashboard(sample.services()).run_test(size=size, notifications=True) as pilot:
        await shown(pilot, "hitui needs 60x15", told)
        await pilot.resize_terminal(*WIDE)
        await shown(pilot, "▶ GPU 2 #14")
        await pilot.press("down")
        await shown(pilot, "▸  qwen3vl_default_pic/mix_csv")


async def test_every_line_is_as_wide_as_the_screen_at_any_size() -> None:
    async with Dashboard(sample.services()).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        for size in ((60, 15), (80, 24), (99, 30), (100, 30), (140, 33), (250, 60)):
            await pilot.resize_terminal(*size)
            await shown(pilot, "━ Configs")
            await pilot.pause()
            strips = pilot.app.screen._compositor.render_strips()
            assert [sum(segment.cell_length for segment in strip) for strip in strips] == [size[0]] * size[1]
            assert "qwen3vl_text/text_html"[-8:] in screen_text(pilot)


async def test_quitting_leaves_with_status_0() -> None:
    app = Dashboard(sample.services())
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "25 to rerun")
        await pilot.press("q")
    assert app.return_code == 0


async def test_no_name_commands_the_terminal_or_shifts_a_line() -> None:
    names = (
        "group/\x1b]0;owned\x07",
        "group/\x9b31mred",
        "group/b\u202ea",
        "group/t\tab",
        "group/gr\udcfcn",
        "🧑\u200d🔬",
    )
    services = sample.services(states=tuple(sample.config(name, 1, missing=2) for name in names))
    async with Dashboard(services).run_test(size=(120, 40), notifications=True) as pilot:
        await shown(pilot, "group/]0;owned")
        text = screen_text(pilot)
        assert all(letter.isprintable() for letter in text.replace("\n", "").replace("\u200d", ""))
        assert "🧑\u200d🔬" in text
        assert "gr�n " in text
        strips = pilot.app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {120}


async def test_no_colour_is_sent_where_none_is_wanted() -> None:
    app = Dashboard(sample.services(), colours=False)
    async with app.run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPU 2 #14")
        painted = app.screen._compositor.render_full_update().render_segments(app.console)
        assert "text_html" in painted
        attributes = {part for found in re.findall(r"\x1b\[([0-9;]*)m", painted) for part in found.split(";")}
        # Nothing but bold, underline, reverse and their ends.
        assert attributes <= {"", "0", "1", "4", "7"}
        assert "1" in attributes


def test_a_running_job_without_known_gpus_is_words_too() -> None:
    from hitui.ui.config_rows import state_words

    job = sample.jobs().jobs[1]
    state = Running(("GPU-deadbeef-0000",), 1, 0.0)
    words = state_words(sample.config("a/b"), replace(job, state=state), None, {})
    assert words.long == "▶ GPU GPU-deadbeef #14"


async def test_pauses_are_told_in_the_header_and_in_the_rows() -> None:
    known = sample.queue()
    services = sample.services(known_jobs=known)
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(
            pilot,
            "! group night stopped",
            "▶ GPU 2 #14, 1 more waits",
            "again in 3h, attempt 2 #16",
            "paused by hand #17",
            "group night paused #19",
        )
        assert "done in about" not in screen_text(pilot)
        groups = (Group("day", None, "paused by hand"), Group("night", 2))
        services.jobs.publish(replace(known, queue=Queue("until Monday", groups)))
        await shown(pilot, "queue paused · group day paused")
        services.jobs.publish(replace(known, queue=Queue("", (*groups, Group("dusk", None, "for lunch")))))
        await shown(pilot, "2 groups paused")
        services.jobs.publish(replace(known, queue=Queue()))
        await gone(pilot, "paused ·")


def test_the_queue_is_loaded_by_nothing_that_the_start_waits_for() -> None:
    """What loads all that an upgrade may replace does so once the rest has been started."""
    code = (
        "import asyncio, sys\n"
        "from hitui.ui import app\n"
        "from hitui.ui.app import Dashboard\n"
        "app.import_all = lambda names: None\n"
        "from tests.ui import sample\n"
        "async def main():\n"
        "    dashboard = Dashboard(sample.services())\n"
        "    async with dashboard.run_test() as pilot:\n"
        "        while not dashboard.jobs_snapshot.jobs:\n"
        "            await pilot.pause(0.01)\n"
        "        print(*(name for name in sys.modules if 'queue' in name and name.startswith('hitui.ui')))\n"
        "asyncio.run(main())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
