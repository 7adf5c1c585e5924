"""The curve beside a GPU keeps the newest readings, and shows gaps as gaps."""

from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.history import UtilizationHistory


def snapshot(error: str | None = None, **percents: int | None) -> GpuSnapshot:
    gpus = tuple(
        Gpu(index=index, uuid=uuid, name="", utilization=percent)
        for index, (uuid, percent) in enumerate(percents.items())
    )
    return GpuSnapshot(0.0, "simulated", gpus, error=error)


def test_the_newest_readings_are_kept_oldest_first() -> None:
    history = UtilizationHistory(length=3)
    for percent in (1, 2, 3, 4):
        history = history.after(snapshot(a=percent, b=None))
    assert history.of("a") == (2, 3, 4)
    assert history.of("b") == (None, None, None)


def test_a_driver_that_does_not_answer_is_a_gap() -> None:
    history = UtilizationHistory().after(snapshot(a=50)).after(snapshot(error="no answer", a=50))
    assert history.after(snapshot(a=60)).of("a") == (50, None, 60)


def test_a_gpu_that_is_gone_is_forgotten_and_an_unnamed_one_never_kept() -> None:
    history = UtilizationHistory().after(GpuSnapshot(0.0, "nvml", (Gpu(0, "", "lost"),)))
    assert history.by_gpu == {}
    assert history.after(snapshot(a=1)).after(snapshot(b=2)).by_gpu == {"b": (2,)}
