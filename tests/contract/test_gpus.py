"""What every source of GPU readings keeps, one suite over the registry.

A new kind needs one entry in `STAGES`: a way to say what its GPUs shall be.
"""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from hitui.adapters.gpus import KINDS, make_source, open_source
from hitui.adapters.gpus.base import GpuSource, UnknownSource
from hitui.adapters.processes import find_process
from hitui.domain.gpus import Gpu
from tests.tools.eventually import eventually
from tests.tools.nvml_sim.driver import NvmlDriver

GIB = 1024**3


@dataclass(frozen=True)
class Staged:
    """One GPU as a test wants it; memory in GiB."""

    used: int = 0
    utilization: int = 0
    lost: bool = False
    processes: tuple[tuple[int, int], ...] = ()
    """(pid, GiB)."""


class Stage(Protocol):
    def put(self, gpus: Sequence[Staged]) -> None: ...
    def remove(self) -> None: ...
    def spoil(self) -> None: ...


class NvmlStage:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._driver: NvmlDriver = request.getfixturevalue("nvml_driver")

    def put(self, gpus: Sequence[Staged]) -> None:
        lines = [f"count {len(gpus)}", "driver 535.104.05"]
        for index, gpu in enumerate(gpus):
            lines += [
                f"gpu {index} uuid GPU-{index}",
                f"gpu {index} mem_total 80GiB",
                f"gpu {index} mem_used {gpu.used}GiB",
                f"gpu {index} util_gpu {gpu.utilization}",
            ]
            lines += [f"gpu {index} proc {pid} {memory}GiB" for pid, memory in gpu.processes]
            lines += [f"gpu {index} error * lost"] if gpu.lost else []
        self._driver.write("\n".join(lines) + "\n")

    def remove(self) -> None:
        self._driver.unload()

    def spoil(self) -> None:
        self._driver.write("count 2\nerror nvmlDeviceGetCount unknown\n")


class SimulatedStage:
    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._folder: Path = request.getfixturevalue("tmp_path")
        request.getfixturevalue("monkeypatch").setenv("HITUI_SIMULATED_GPUS", str(self._folder))

    def put(self, gpus: Sequence[Staged]) -> None:
        claims = self._folder / "claims"
        claims.mkdir(exist_ok=True)
        described = []
        for index, gpu in enumerate(gpus):
            ours = [
                (process, memory)
                for pid, memory in gpu.processes
                if (process := find_process(pid)) is not None
            ]
            here = {process.pid for process, _ in ours}
            others = [entry for entry in gpu.processes if entry[0] not in here]
            for process, memory in ours:
                claim = {
                    "pid": process.pid,
                    "start_time": process.start_time,
                    "memory": {f"GPU-{index}": memory * GIB},
                    "utilization": 0,
                }
                (claims / f"{process.pid}.json").write_text(json.dumps(claim))
            described.append(
                {
                    "index": index,
                    "uuid": f"GPU-{index}",
                    "name": "Made up",
                    "memory_total": 80 * GIB,
                    "memory_used": (gpu.used - sum(memory for _, memory in ours)) * GIB,
                    "utilization": gpu.utilization,
                    "temperature": 40,
                    "power": 100.0,
                    "power_limit": 400.0,
                    "error": "lost: made up" if gpu.lost else None,
                    "processes": [{"pid": pid, "memory": memory * GIB} for pid, memory in others],
                }
            )
        (self._folder / "gpus.json").write_text(json.dumps({"driver": "simulated", "gpus": described}))

    def remove(self) -> None:
        (self._folder / "gpus.json").unlink()

    def spoil(self) -> None:
        (self._folder / "gpus.json").write_text('{"gpus": [{"index"')


STAGES: dict[str, Callable[[pytest.FixtureRequest], Stage]] = {
    "nvml": NvmlStage,
    "simulated": SimulatedStage,
}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stage(kind: str, request: pytest.FixtureRequest) -> Stage:
    return STAGES[kind](request)


@pytest.fixture
def source(kind: str, stage: Stage) -> Iterator[GpuSource]:
    made = make_source(kind)
    yield made
    made.close()


def read_gpus(source: GpuSource) -> tuple[Gpu, ...]:
    snapshot = source.read()
    assert snapshot.error is None
    return snapshot.gpus


def test_the_environment_chooses_between_the_kinds(kind: str, stage: Stage) -> None:
    stage.put([Staged()])
    opened = open_source()
    assert opened.read().source == kind
    opened.close()


def test_every_gpu_is_read_in_index_order(stage: Stage, source: GpuSource) -> None:
    stage.put([Staged(used=68, utilization=97), Staged(), Staged(used=80)])
    gpus = read_gpus(source)
    assert [(gpu.index, gpu.label, gpu.uuid) for gpu in gpus] == [
        (0, "0", "GPU-0"),
        (1, "1", "GPU-1"),
        (2, "2", "GPU-2"),
    ]
    assert [gpu.memory_used for gpu in gpus] == [68 * GIB, 0, 80 * GIB]
    assert [gpu.utilization for gpu in gpus] == [97, 0, 0]
    for gpu in gpus:
        assert gpu.error is None
        assert gpu.name
        assert gpu.memory_total == 80 * GIB
        assert gpu.memory_free == 80 * GIB - (gpu.memory_used or 0)
        assert gpu.temperature is not None
        assert gpu.power is not None
        assert not gpu.mig_enabled


def test_the_next_reading_shows_what_changed(stage: Stage, source: GpuSource) -> None:
    stage.put([Staged(used=1)])
    first = source.read()
    stage.put([Staged(used=2), Staged(used=3)])
    second = source.read()
    assert [gpu.memory_used for gpu in first.gpus] == [1 * GIB]
    assert [gpu.memory_used for gpu in second.gpus] == [2 * GIB, 3 * GIB]
    assert second.taken_at >= first.taken_at


def test_a_lost_gpu_says_so_and_the_others_go_on(stage: Stage, source: GpuSource) -> None:
    stage.put([Staged(used=1), Staged(used=2), Staged(used=3)])
    assert [gpu.error for gpu in read_gpus(source)] == [None, None, None]
    stage.put([Staged(used=4), Staged(lost=True), Staged(used=5)])
    first, lost, last = read_gpus(source)
    assert (first.memory_used, first.error) == (4 * GIB, None)
    assert (last.memory_used, last.error) == (5 * GIB, None)
    assert lost.error is not None
    assert lost.error.startswith("lost: ")
    assert (lost.index, lost.uuid) == (1, "GPU-1")
    assert lost.memory_total is lost.memory_free is lost.utilization is lost.temperature is None


def test_nothing_to_read_is_one_line_and_ends_by_itself(stage: Stage, source: GpuSource) -> None:
    stage.put([Staged(used=1)])
    read_gpus(source)
    stage.remove()
    snapshot = source.read()
    assert snapshot.gpus == ()
    assert snapshot.error
    assert "\n" not in snapshot.error
    stage.put([Staged(used=2)])
    assert [gpu.memory_used for gpu in read_gpus(source)] == [2 * GIB]


def test_what_cannot_be_understood_is_an_error_and_no_exception(stage: Stage, source: GpuSource) -> None:
    stage.spoil()
    snapshot = source.read()
    assert snapshot.gpus == ()
    assert snapshot.error
    assert "\n" not in snapshot.error


def test_processes_carry_user_and_command_where_they_are_ours_to_see(stage: Stage, source: GpuSource) -> None:
    absent = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    command = [sys.executable, "-c", "input()  # title \x1b[31m"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        stage.put([Staged(used=70, processes=((child.pid, 7), (absent, 60)))])
        words = f"{sys.executable} -c input()  # title  [31m"
        # A process that has just begun has no command line for a moment.
        eventually(lambda: words in [one.command for one in read_gpus(source)[0].processes], words)
        (gpu,) = read_gpus(source)
        other, ours = gpu.processes
        assert gpu.memory_used == 70 * GIB
        assert (other.pid, other.memory, other.user, other.command) == (absent, 60 * GIB, None, None)
        assert (ours.pid, ours.memory, ours.kind) == (child.pid, 7 * GIB, "compute")
        assert ours.user == getpass.getuser()
        assert ours.command == words
        child.communicate(b"\n")


def test_a_source_closes_twice_and_unread(kind: str, stage: Stage) -> None:
    unread = make_source(kind)
    unread.close()
    stage.put([Staged()])
    read = make_source(kind)
    read.read()
    read.close()
    read.close()


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownSource, match=r"'rocm'.*nvml, simulated"):
        make_source("rocm")


def test_a_claim_counts_as_long_as_its_process_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", str(tmp_path))
    described = {"index": 0, "uuid": "GPU-0", "name": "Made up", "memory_total": 80 * GIB, "utilization": 30}
    (tmp_path / "gpus.json").write_text(json.dumps({"gpus": [described]}))
    (tmp_path / "claims").mkdir()

    def claim(pid: int, start_time: int) -> None:
        held = {"pid": pid, "start_time": start_time, "memory": {"GPU-0": 20 * GIB}, "utilization": 90}
        (tmp_path / "claims" / f"{pid}.json").write_text(json.dumps(held))

    source = make_source("simulated")
    here = find_process(os.getpid())
    assert here is not None
    claim(here.pid, here.start_time)
    (gpu,) = read_gpus(source)
    assert (gpu.memory_used, gpu.memory_free, gpu.utilization) == (20 * GIB, 60 * GIB, 100)
    assert [process.pid for process in gpu.processes] == [os.getpid()]
    # The same pid, but another process: the one that claimed is gone.
    claim(here.pid, here.start_time + 1)
    (gpu,) = read_gpus(source)
    assert (gpu.memory_used, gpu.utilization, gpu.processes) == (0, 30, ())


@pytest.mark.parametrize("content", [b'{"driver": "\xff", "gpus": []}', b"[" * 100_000])
def test_a_description_that_no_decoder_takes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", str(tmp_path))
    (tmp_path / "gpus.json").write_bytes(content)
    error = make_source("simulated").read().error
    assert error is not None
    assert error.startswith(f"{tmp_path / 'gpus.json'}: ")


def test_a_claim_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", str(tmp_path))
    (tmp_path / "gpus.json").write_text('{"gpus": []}')
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "7.json").write_text('{"pid": "seven"}')
    error = make_source("simulated").read().error
    assert error is not None
    assert "claims/7.json" in error
    assert "$.pid" in error
