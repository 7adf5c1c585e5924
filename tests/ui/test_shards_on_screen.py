"""A config in shards: one row on the main screen, a line for each in the queue; keys of the row act on all of them."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from hitui.domain.jobs import JobsSnapshot, Queued, Running, Shard
from hitui.domain.progress import JobProgress
from hitui.domain.waits import WaitKind
from hitui.ui.app import Dashboard
from tests.ui import sample
from tests.ui.conftest import gone, shown, until

WIDE = (160, 40)
COUNT = 3


def in_shards(waiting: int = 1, count: int = COUNT) -> JobsSnapshot:
    """Job 14 of the sample as shard 1 of several, and the others beside it: the last ones wait."""
    known = sample.jobs()
    first = next(job for job in known.jobs if job.id == 14)
    shards = tuple(
        replace(
            first,
            id=14 + 10 * number,
            request=replace(first.request, shard=Shard(14, number, count, (number,))),
            state=Queued("20 GiB free on one GPU", WaitKind.GPUS)
            if number >= count - waiting
            else Running((f"GPU-0000000{2 + number}",), 4711 + number, sample.NOON - 50),
        )
        for number in range(count)
    )
    return replace(known, jobs=(*(job for job in known.jobs if job.id != 14), *shards))


async def test_a_row_in_shards_is_stopped_as_one() -> None:
    services = sample.services(known_jobs=in_shards())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPUs 2,3 #14 +1, 1 more waits")
        await pilot.press("x")
        await shown(pilot, "Stop #14 #24 #34 qwen3vl_text/text_html?", "Enter stop them")
        await pilot.press("enter")
        await until(pilot, lambda: services.jobs.stopped == [14, 24, 34])
        await shown(pilot, "asked #14 #24 #34 text_html to stop")


async def test_a_row_in_shards_is_paused_and_resumed_as_one() -> None:
    services = sample.services(known_jobs=in_shards())
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "▶ GPUs 2,3 #14 +1")
        await pilot.press("p")
        await shown(pilot, "Pause #14 #24 #34 qwen3vl_text/text_html?", "wait until someone resumes them")
        await pilot.press("enter")
        asked = [("pause", {"jobs": [number]}) for number in (14, 24, 34)]
        await until(pilot, lambda: services.jobs.changes == asked)


async def test_shards_that_all_wait_are_paused_without_a_question() -> None:
    services = sample.services(known_jobs=in_shards(waiting=COUNT))
    async with Dashboard(services).run_test(size=WIDE, notifications=True) as pilot:
        await shown(pilot, "20 GiB free #14, 2 more wait")
        await pilot.press("p")
        await until(pilot, lambda: len(services.jobs.changes) == COUNT)
        await gone(pilot, "Pause #14")
        assert {verb for verb, _ in services.jobs.changes} == {"pause"}


async def test_the_log_says_whose_it_is_and_how_far_all_shards_are(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of the first\n")
    known = in_shards()
    jobs = tuple(replace(job, log=str(log)) if job.id == 14 else job for job in known.jobs)
    progress = {14: JobProgress("running", 3, 7), 24: JobProgress("running", 4, 7)}
    services = sample.services(known_jobs=replace(known, jobs=jobs), progress=progress)
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        await shown(
            pilot, "of the first", "#14 qwen3vl_text/text_html 1/3 · GPU 2 · running · 7 of 14 in all shards"
        )


async def test_the_queue_and_the_details_name_each_shard() -> None:
    progress = {14: JobProgress("running", 3, 7)}
    services = sample.services(known_jobs=in_shards(), progress=progress)
    async with Dashboard(services).run_test(size=WIDE) as pilot:
        await shown(pilot, "▶ GPUs 2,3 #14 +1")
        await pilot.press("enter")
        await shown(
            pilot,
            "shards      #14 1/3 ▶ GPU 2  3/7",
            "            #24 2/3 ▶ GPU 3",
            "            #34 3/3 waits for 20 GiB free on one GPU",
        )
        await pilot.press("escape", "Q")
        await shown(
            pilot, "qwen3vl_text/text_html 1/3", "qwen3vl_text/text_html 2/3", "qwen3vl_text/text_html 3/3"
        )


async def test_of_many_shards_the_details_count_the_rest() -> None:
    services = sample.services(known_jobs=in_shards(waiting=3, count=9))
    async with Dashboard(services).run_test(size=(80, 24)) as pilot:
        await shown(pilot, "#14 +5")
        await pilot.press("enter", "shift+tab")
        await shown(pilot, "#54 5/9 ▶", "and 1 more running, 3 more queued")
