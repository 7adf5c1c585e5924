"""One look at the queue: which of its jobs wait for the same."""

from __future__ import annotations

from hitui.domain.jobs import Job, JobRequest, Queued
from hitui.domain.placement import Need
from hitui.domain.queue import Standing
from hitui.supervisor.round import Round

GIB = 1024**3


def test_what_one_job_waits_for_holds_for_those_alike_alone() -> None:
    wide = Job(1, JobRequest("a", gpu_count=2), 0.0, Queued())
    alike = Job(2, JobRequest("a", gpu_count=2, ids=(1,)), 0.0, Queued())
    narrow = Job(3, JobRequest("a", ids=(2,)), 0.0, Queued())
    round_ = Round((wide, alike, narrow), Standing(0.0), {"a": Need(20 * GIB)})
    round_.remember(wide, "20 GiB free on 2 GPUs: GPU 0 is free")
    assert round_.as_one_ahead(alike) == "20 GiB free on 2 GPUs: GPU 0 is free"
    assert round_.as_one_ahead(narrow) == ""
