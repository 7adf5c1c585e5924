"""One look at the queue: which of its jobs wait for the same."""

from __future__ import annotations

from hitui.domain.jobs import Job, JobRequest, Queued
from hitui.domain.placement import Need
from hitui.domain.queue import Standing
from hitui.domain.schedule import Schedule
from hitui.domain.waits import Wait, WaitKind
from hitui.errors import HituiError
from hitui.supervisor.round import Round

GIB = 1024**3


def test_what_one_job_waits_for_holds_for_those_alike_alone() -> None:
    wide = Job(1, JobRequest("a", gpu_count=2), 0.0, Queued())
    alike = Job(2, JobRequest("a", gpu_count=2, ids=(1,)), 0.0, Queued())
    narrow = Job(3, JobRequest("a", ids=(2,)), 0.0, Queued())
    round_ = Round((wide, alike, narrow), Standing(0.0), {"a": Need(20 * GIB)})
    wait = Wait(WaitKind.GPUS, "20 GiB free on 2 GPUs: GPU 0 is free")
    round_.remember(wide, wait)
    assert round_.as_one_ahead(alike) == wait
    assert round_.as_one_ahead(narrow) is None


def test_what_waits_for_the_same_config_has_no_share_in_the_gpus_that_it_could_not_use() -> None:
    first = Job(1, JobRequest("a"), 0.0, Queued())
    same = Job(2, JobRequest("a", ids=(1,)), 0.0, Queued())
    other = Job(3, JobRequest("b"), 0.0, Queued())
    without = Job(4, JobRequest("c"), 0.0, Queued())
    later = Job(5, JobRequest("b", ids=(1,)), 0.0, Queued(), schedule=Schedule(priority=-1))
    needs: dict[str, Need | HituiError] = {"a": Need(20 * GIB), "b": Need(20 * GIB), "c": Need(0)}
    round_ = Round((first, same, other, without, later), Standing(0.0), needs)
    assert list(round_.rivals(first)) == [other]
