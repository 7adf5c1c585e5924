"""Queues that tests of the screen make up, and the screen of the queue opened on them."""

from __future__ import annotations

from textual.pilot import Pilot

from hitui.domain.jobs import Job, JobRequest, JobsSnapshot, Queued
from hitui.domain.schedule import Queue, Schedule
from hitui.ui.widgets.queue_table import QueueTable
from tests.ui import sample
from tests.ui.conftest import dashboard, shown, until

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
