"""The log below the configs: whose it is, that it follows, that it can be scrolled."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.domain.jobs import Ended, Ending, JobsSnapshot, Queued
from hitui.ui.app import Dashboard
from tests.ui import sample
from tests.ui.conftest import gone, shown, until

WIDE = (120, 40)


async def test_the_log_of_the_selected_config_follows_and_can_be_scrolled(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {number}\n" for number in range(1, 101)) + "\r 1/17\r 2/17")
    async with Dashboard(sample.services(known_jobs=sample.jobs(str(log)))).run_test(
        size=WIDE, notifications=True
    ) as pilot:
        await shown(
            pilot,
            "#14 qwen3vl_text/text_html · GPU 2 · running · 3 of 14 · 1 error",
            "following",
            " 2/17",
            "line 100",
        )
        with log.open("a") as stream:
            stream.write("\r 3/17\nnext [bold]line[/bold]\n")
        await shown(pilot, " 3/17", "next [bold]line[/bold]")
        await gone(pilot, " 2/17")
        await pilot.press("tab", "home")
        await shown(pilot, "line 1", "lines 1-", "End follows")
        await pilot.press("end")
        await shown(pilot, "following", "next [bold]line[/bold]")
        await pilot.resize_terminal(80, 24)
        await shown(pilot, "#14 text_html · GPU 2 · running · 3 of 14 · 1 error", "following")
        await pilot.resize_terminal(*WIDE)
        await shown(pilot, "#14 qwen3vl_text/text_html · GPU 2")


async def test_a_config_that_no_job_has_run_shows_the_newest_log_of_its_folders(tmp_path: Path) -> None:
    (tmp_path / "mix_json.log").write_text("of an older script\n")
    state = sample.config("group/mix_json", 3071)
    state = replace(state, config=replace(state.config, folders=(str(tmp_path),)))
    services = sample.services(states=(state,), known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "mix_json · from mix_json.log", "of an older script")


async def test_a_job_that_starts_takes_over_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("started\n")
    services = sample.services(known_jobs=JobsSnapshot())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "no log yet")
        await until(pilot, lambda: services.jobs.started)
        services.jobs.publish(sample.jobs(str(log)))
        await shown(pilot, "started", "#14 qwen3vl_text/text_html")


async def test_a_queued_job_says_in_full_what_it_waits_for_until_its_log_is_there(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("started\n")
    services = sample.services()
    async with Dashboard(services).run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "waits #15")
        await pilot.press("down")
        await shown(
            pilot, "#15 waits for 20 GiB free on one GPU: GPU 0 has 12.1 GiB; GPU 3 does not", "answer"
        )
        first, second, third = services.jobs.first.jobs  # type: ignore[attr-defined]
        waits = replace(third, state=Queued("20 GiB free on one GPU: GPU 3 is excluded"))
        services.jobs.publish(JobsSnapshot((first, second, waits), 99))
        await shown(pilot, "GPU 3 is excluded")
        running = replace(second, id=15, request=third.request, log=str(log))
        services.jobs.publish(JobsSnapshot((first, running), 99))
        await shown(pilot, "started")
        await gone(pilot, "GPU 3 is excluded")


async def test_a_job_that_was_stopped_before_it_started_leaves_the_log_of_the_one_before(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.txt"
    log.write_text("17 answers of today\n")
    first, second, _ = sample.jobs(str(log)).jobs
    stopped = Ended(Ending.STOPPED, sample.NOON, "on request, before it started")
    ran = replace(second, state=replace(stopped, reason="on request"))
    dropped = replace(second, id=16, state=replace(stopped, ended_at=sample.NOON + 9), log="")
    services = sample.services(known_jobs=JobsSnapshot((first, ran, dropped), 99))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "17 answers of today", "#14 qwen3vl_text/text_html · stopped")
        await pilot.press("enter")
        await shown(pilot, "#16 stopped")
        await pilot.press("l")
        await shown(pilot, "17 answers of today")


@pytest.mark.parametrize("opened_by", ["", "enter"])
@pytest.mark.parametrize("left_by", ["a job", "a script", ""])
async def test_a_queued_job_that_never_ran_has_the_newest_log_of_its_config_on_both_screens(
    left_by: str, opened_by: str, tmp_path: Path
) -> None:
    log = tmp_path / "log.log"
    _, second, _ = sample.jobs(str(log)).jobs
    state = sample.config(second.request.config, 3054, errors=17)
    ended = replace(second, state=Ended(Ending.STOPPED, sample.NOON, "on request"))
    known = [
        replace(ended, log="") if left_by != "a job" else ended,
        replace(second, id=16, state=Queued("its turn"), log=""),
    ]
    if left_by:
        log.write_text("17 answers of today\n")
    if left_by == "a script":
        state = replace(state, config=replace(state.config, folders=(str(tmp_path),)))
    services = sample.services(states=(state,), known_jobs=JobsSnapshot(tuple(known), 99))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "#16 waits for its turn")
        if opened_by:
            await pilot.press(opened_by)
            await shown(pilot, "#16 queued")
        await pilot.press("l")
        if not left_by:
            await shown(pilot, "there is no log yet for this config")
            return
        await shown(pilot, "f follow", "17 answers of today")
        if left_by == "a job":
            await shown(pilot, "#16 has no log of its own: this is that of #14")
