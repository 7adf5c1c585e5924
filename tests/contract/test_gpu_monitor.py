"""Readings go on in the background, and a driver that hangs stops nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hitui.adapters.gpus import open_source
from hitui.adapters.gpus.base import GpuSource
from hitui.adapters.gpus.monitor import GpuMonitor
from hitui.domain.gpus import GpuSnapshot
from tests.tools.eventually import eventually
from tests.tools.nvml_sim.driver import NvmlDriver

GIB = 1024**3
NO_ANSWER = "the driver has not answered for"


class Heard:
    """What a monitor published."""

    def __init__(self) -> None:
        self.snapshots: list[GpuSnapshot] = []

    def __call__(self, snapshot: GpuSnapshot) -> None:
        self.snapshots.append(snapshot)

    def used(self, gibibytes: int) -> bool:
        """Whether the newest one is whole and says so."""
        if not self.snapshots or self.snapshots[-1].error is not None or not self.snapshots[-1].gpus:
            return False
        return self.snapshots[-1].gpus[0].memory_used == gibibytes * GIB

    def stuck(self) -> bool:
        return bool(self.snapshots) and (self.snapshots[-1].error or "").startswith(NO_ANSWER)


@pytest.fixture
def monitor(nvml_driver: NvmlDriver) -> Iterator[GpuMonitor]:
    made = GpuMonitor(open_source, interval=0.01, stuck_after=0.1)
    yield made
    made.close()
    nvml_driver.write("count 1\n")
    eventually(lambda: nvml_driver.users == 0, "the reader gives the driver back")


def test_before_the_first_reading_there_is_none(monitor: GpuMonitor) -> None:
    assert monitor.latest.taken_at == 0
    assert monitor.latest.gpus == ()


def test_changes_are_published_whole(monitor: GpuMonitor, nvml_driver: NvmlDriver) -> None:
    heard = Heard()
    nvml_driver.write("gpu 0 mem_used 1GiB\n")
    monitor.start(heard)
    eventually(lambda: heard.used(1))
    nvml_driver.write("gpu 0 mem_used 2GiB\n")
    eventually(lambda: heard.used(2))
    eventually(lambda: monitor.latest.gpus[0].memory_used == 2 * GIB)


def test_between_two_readings_nobody_waits_for_the_driver(nvml_driver: NvmlDriver) -> None:
    heard = Heard()
    monitor = GpuMonitor(open_source, interval=3600, stuck_after=0)
    monitor.start(heard)
    eventually(lambda: heard.used(0))
    assert monitor.latest.error is None
    monitor.close()
    eventually(lambda: nvml_driver.users == 0)


def test_publishing_comes_from_one_thread_that_is_not_ours(monitor: GpuMonitor) -> None:
    threads: list[int] = []
    monitor.start(lambda snapshot: threads.append(threading.get_ident()))
    eventually(lambda: len(threads) > 2)
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("function", ["nvmlDeviceGetTemperature", "nvmlDeviceGetCount"])
def test_a_driver_that_hangs_is_reported_and_comes_back(
    monitor: GpuMonitor, nvml_driver: NvmlDriver, function: str
) -> None:
    heard = Heard()
    nvml_driver.write("gpu 0 mem_used 1GiB\n")
    monitor.start(heard)
    eventually(lambda: heard.used(1))
    nvml_driver.write(f"gpu 0 mem_used 1GiB\nhang {function}\n")
    eventually(heard.stuck)
    assert heard.snapshots[-1].gpus[0].memory_used == 1 * GIB
    assert (monitor.latest.error or "").startswith(NO_ANSWER)
    nvml_driver.write("gpu 0 mem_used 3GiB\n")
    eventually(lambda: heard.used(3))
    assert monitor.latest.error is None


def test_a_driver_that_hangs_from_the_start_is_reported(monitor: GpuMonitor, nvml_driver: NvmlDriver) -> None:
    heard = Heard()
    nvml_driver.write("count 1\nhang nvmlInit\n")
    monitor.start(heard)
    eventually(heard.stuck)
    assert heard.snapshots[-1].gpus == ()
    nvml_driver.write("gpu 0 mem_used 3GiB\n")
    eventually(lambda: heard.used(3))


def test_closing_waits_for_no_driver(monitor: GpuMonitor, nvml_driver: NvmlDriver) -> None:
    heard = Heard()
    monitor.start(heard)
    eventually(lambda: heard.snapshots)
    nvml_driver.write("count 1\nhang *\n")
    eventually(heard.stuck)
    monitor.close()
    published = len(heard.snapshots)
    assert (monitor.latest.error or "").startswith(NO_ANSWER)
    nvml_driver.write("count 1\n")
    eventually(lambda: nvml_driver.users == 0, "the reader leaves the call and gives the driver back")
    assert len(heard.snapshots) == published


def test_one_reading_for_a_command(nvml_driver: NvmlDriver) -> None:
    nvml_driver.write("gpu 0 mem_used 1GiB\n")
    snapshot = GpuMonitor(open_source).read_once()
    assert snapshot.gpus[0].memory_used == 1 * GIB
    eventually(lambda: nvml_driver.users == 0)


def test_one_reading_gives_a_hanging_driver_up(nvml_driver: NvmlDriver) -> None:
    nvml_driver.write("count 1\nhang nvmlInit\n")
    snapshot = GpuMonitor(open_source).read_once(timeout=0.1)
    assert (snapshot.error or "").startswith(NO_ANSWER)
    assert snapshot.gpus == ()
    nvml_driver.write("count 1\n")
    eventually(lambda: nvml_driver.users == 0)


class Faulty:
    """A source with a fault of its own, until someone mends it."""

    def __init__(self) -> None:
        self.mended = False
        self.closed = False

    def read(self) -> GpuSnapshot:
        if not self.mended:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        return GpuSnapshot(taken_at=1.0, source="faulty")

    def close(self) -> None:
        self.closed = True


def test_a_fault_in_a_source_is_an_error_and_readings_go_on() -> None:
    source = Faulty()
    heard = Heard()

    def opened() -> GpuSource:
        return source

    monitor = GpuMonitor(opened, interval=0.01)
    monitor.start(heard)
    eventually(lambda: heard.snapshots)
    assert "UnicodeDecodeError" in (heard.snapshots[0].error or "")
    source.mended = True
    eventually(lambda: heard.snapshots[-1].error is None)
    monitor.close()
    eventually(lambda: source.closed)


def test_a_monitor_starts_once(monitor: GpuMonitor) -> None:
    monitor.start(Heard())
    with pytest.raises(RuntimeError, match="started before"):
        monitor.start(Heard())
