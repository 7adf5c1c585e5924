"""When a queue of thousands need not be looked at again."""

from __future__ import annotations

from msgspec.structs import replace

from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.supervisor.gpu_news import GpuNews

GPU = Gpu(0, "GPU-0", "test", memory_total=80, memory_free=40, utilization=97, temperature=61, power=312.0)


def _read(news: GpuNews, at: float, gpu: Gpu = GPU, error: str | None = None) -> None:
    news.observe(GpuSnapshot(1000.0 + at, "test", () if error else (gpu,), error=error))


def test_there_are_until_a_look_found_the_gpus_the_same_for_longer_than_the_hold() -> None:
    news = GpuNews()
    assert news.are_there(hold=2.0)
    for second in range(4):
        _read(news, second)
        assert news.are_there(hold=2.0)
        if second < 3:
            news.look()
            # A GPU that is free is given to a job only when it has been so for the hold time.
            assert news.are_there(hold=2.0)
    news.look()
    assert not news.are_there(hold=2.0)
    _read(news, 4, replace(GPU, temperature=80, power=100.0))
    assert not news.are_there(hold=2.0)


def test_whatever_decides_about_a_job_is_news() -> None:
    for other in (
        replace(GPU, memory_free=41),
        replace(GPU, utilization=0),
        replace(GPU, error="lost", memory_total=None),
        replace(GPU, mig_enabled=True),
        replace(GPU, uuid="GPU-1"),
        replace(GPU, processes=(GpuProcess(12, 1, "compute"),)),
    ):
        news = GpuNews()
        for second in range(2):
            _read(news, second)
            news.look()
        assert not news.are_there(hold=0.0)
        _read(news, 2, other)
        assert news.are_there(hold=0.0)
        # Also when the next readings are the same, until one of them was looked at.
        _read(news, 3, other)
        assert news.are_there(hold=0.0)
        news.look()
        assert not news.are_there(hold=0.0)


def test_a_driver_that_answers_no_more_and_a_clock_that_was_set_back_are_news() -> None:
    for change in (
        lambda news: _read(news, 2, error="no answer"),
        lambda news: _read(news, -500, replace(GPU, utilization=1)),
    ):
        news = GpuNews()
        for second in range(2):
            _read(news, second)
            news.look()
        change(news)
        assert news.are_there(hold=0.0)
        news.look()
        assert news.are_there(hold=0.0)
