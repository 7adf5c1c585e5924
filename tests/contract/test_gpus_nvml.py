"""What NVML answers, and what is made of it: the real binding on a simulated driver."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pynvml
import pytest

from hitui.adapters.gpus.nvml import NvmlSource
from hitui.domain.gpus import Gpu, GpuSnapshot
from tests.tools.nvml_sim.driver import NvmlDriver

MIB = 1024**2
GIB = 1024**3

TWO_GPUS = """
gpu * mem_total 80GiB
gpu 0 mem_used 10GiB
gpu 0 uuid GPU-first
gpu 1 mem_used 20GiB
gpu 1 uuid GPU-second
"""


@pytest.fixture
def source(nvml_driver: NvmlDriver) -> Iterator[NvmlSource]:
    made = NvmlSource(reopen_seconds=0)
    yield made
    made.close()
    assert nvml_driver.users == 0


def read(source: NvmlSource) -> GpuSnapshot:
    snapshot = source.read()
    assert snapshot.error is None
    return snapshot


def read_one(source: NvmlSource) -> Gpu:
    return read(source).gpus[0]


def test_values_come_in_their_units(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(
        "driver 550.54.15\ngpu 0 name NVIDIA A100-SXM4-40GB\ngpu 0 mem_total 40GiB\ngpu 0 mem_used 512MiB\n"
        "gpu 0 util_gpu 97\ngpu 0 temp 61\ngpu 0 power 312.5\ngpu 0 power_limit 400\n"
    )
    snapshot = read(source)
    assert snapshot.driver == "550.54.15"
    gpu = snapshot.gpus[0]
    assert gpu.name == "NVIDIA A100-SXM4-40GB"
    assert (gpu.memory_total, gpu.memory_used) == (40 * GIB, 512 * MIB)
    assert (gpu.utilization, gpu.temperature, gpu.power, gpu.power_limit) == (97, 61, 312.5, 400.0)


def test_reserved_memory_is_neither_used_nor_free(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write("gpu 0 mem_total 80GiB\ngpu 0 mem_used 10GiB\ngpu 0 mem_reserved 1GiB\n")
    gpu = read_one(source)
    assert (gpu.memory_used, gpu.memory_free) == (10 * GIB, 69 * GIB)


def test_old_drivers_are_read_by_their_older_calls(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(
        "gpu 0 mem_used 10GiB\ngpu 0 mem_reserved 1GiB\ngpu 0 proc 4194305 2GiB\n"
        "error nvmlDeviceGetMemoryInfo_v2 function_not_found\nerror *RunningProcesses_v3 function_not_found\n"
    )
    gpu = read_one(source)
    assert gpu.memory_used == 11 * GIB
    assert [(process.pid, process.memory) for process in gpu.processes] == [(4194305, 2 * GIB)]
    assert gpu.error is None


@pytest.mark.parametrize(
    ("directive", "fields"),
    [
        ("util_gpu na", ["utilization"]),
        ("temp na", ["temperature"]),
        ("power na", ["power"]),
        ("power_limit na", ["power_limit"]),
        ("mem_total na", ["memory_total", "memory_used", "memory_free"]),
        ("error nvmlDeviceGetTemperature no_permission", ["temperature"]),
        ("error nvmlDeviceGetPowerUsage function_not_found", ["power"]),
        ("error nvmlDeviceGetMigMode not_supported", []),
    ],
)
def test_a_value_that_is_not_given_is_none_and_no_fault(
    source: NvmlSource, nvml_driver: NvmlDriver, directive: str, fields: list[str]
) -> None:
    nvml_driver.write(TWO_GPUS + f"gpu 0 {directive}\n")
    gpu, other = read(source).gpus
    values = msgspec.structs.asdict(gpu)
    expected = {name for name, value in msgspec.structs.asdict(other).items() if value is None}
    assert {name for name, value in values.items() if value is None} == expected | set(fields)


@pytest.mark.parametrize(
    ("function", "what", "fields"),
    [
        ("nvmlDeviceGetTemperature", "temperature", {"temperature"}),
        ("nvmlDeviceGetUtilizationRates", "utilisation", {"utilization"}),
        ("nvmlDeviceGetMemoryInfo", "memory", {"memory_total", "memory_used", "memory_free"}),
        ("nvmlDeviceGetComputeRunningProcesses", "compute processes", set()),
        ("nvmlDeviceGetMigMode", "MIG mode", set()),
        ("nvmlDeviceGetUUID", "UUID", set()),
    ],
)
def test_one_failing_call_is_named_and_the_other_values_stand(
    source: NvmlSource, nvml_driver: NvmlDriver, function: str, what: str, fields: set[str]
) -> None:
    nvml_driver.write(TWO_GPUS)
    before, other_before = read(source).gpus
    nvml_driver.write(TWO_GPUS + f"gpu 0 error {function} unknown\n")
    gpu, other = read(source).gpus
    assert gpu.error == f"{what}: not read (Unknown Error)"
    changes = dict.fromkeys(fields)
    assert gpu == msgspec.structs.replace(before, error=gpu.error, **changes)
    assert other == other_before


def test_a_lost_gpu_comes_back_when_the_library_is_opened_anew(
    source: NvmlSource, nvml_driver: NvmlDriver
) -> None:
    nvml_driver.write(TWO_GPUS + "gpu 0 error * lost\n")
    lost, other = read(source).gpus
    assert lost.error is not None
    assert lost.error.startswith("lost: the driver no longer answers")
    # Lost from the start: the driver never said who it is.
    assert (lost.uuid, lost.index) == ("", 0)
    assert other.memory_used == 20 * GIB
    nvml_driver.write(TWO_GPUS)
    back, _ = read(source).gpus
    assert (back.uuid, back.memory_used, back.error) == ("GPU-first", 10 * GIB, None)
    assert nvml_driver.users == 1


@pytest.mark.parametrize(
    ("reopen_seconds", "errors", "opened"),
    [(0.0, "", 1), (0.0, "gpu 0 error * lost\n", 3), (3600.0, "gpu 0 error * lost\n", 1)],
)
def test_the_library_is_opened_anew_for_what_is_lost_alone_and_not_at_once(
    nvml_driver: NvmlDriver,
    monkeypatch: pytest.MonkeyPatch,
    reopen_seconds: float,
    errors: str,
    opened: int,
) -> None:
    """Each time takes a driver seconds in which it answers nobody."""
    initialise = pynvml.nvmlInit
    calls: list[None] = []

    def counted() -> None:
        calls.append(None)
        initialise()

    monkeypatch.setattr(pynvml, "nvmlInit", counted)
    nvml_driver.write(TWO_GPUS + errors)
    source = NvmlSource(reopen_seconds)
    for _ in range(3):
        read(source)
    source.close()
    assert len(calls) == opened


def test_a_gpu_lost_between_two_calls_counts_as_lost(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(TWO_GPUS + "gpu 1 error nvmlDeviceGetPowerUsage lost\n")
    fine, lost = read(source).gpus
    assert fine.error is None
    assert lost.error is not None
    assert lost.error.startswith("lost: ")
    assert lost.memory_total is None


def test_a_gpu_that_needs_a_reset_says_how(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write("gpu 0 error nvmlDeviceGetMemoryInfo reset_required\n")
    error = read_one(source).error
    assert error is not None
    assert "nvidia-smi --gpu-reset" in error


def test_a_gpu_that_this_user_may_not_use_says_so(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(TWO_GPUS + "gpu 0 error nvmlDeviceGetHandleByIndex no_permission\n")
    refused, other = read(source).gpus
    assert refused.error == "not ours: this user or container may not use it"
    assert other.error is None


def test_a_gpu_that_fails_as_a_whole_says_with_what(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(TWO_GPUS + "gpu 0 error nvmlDeviceGetHandleByIndex irq\n")
    failing, other = read(source).gpus
    assert failing.error == "no answer: the driver fails for it (Interrupt Request Issue)"
    assert other.error is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("driver_not_loaded", "not loaded"),
        ("version_mismatch", "different versions"),
        ("no_permission", "refuses this user"),
        ("unknown", "Unknown Error"),
    ],
)
def test_a_driver_that_cannot_be_opened_says_why_and_is_tried_again(
    source: NvmlSource, nvml_driver: NvmlDriver, fault: str, words: str
) -> None:
    nvml_driver.write(f"count 1\nerror nvmlInit {fault}\n")
    snapshot = source.read()
    assert snapshot.gpus == ()
    assert snapshot.error is not None
    assert words in snapshot.error
    nvml_driver.write("count 1\n")
    assert len(read(source).gpus) == 1


@pytest.mark.parametrize("fault", ["driver_not_loaded", "uninitialized"])
def test_a_driver_that_goes_away_while_a_gpu_is_read_is_opened_again(
    source: NvmlSource, nvml_driver: NvmlDriver, fault: str
) -> None:
    nvml_driver.write(TWO_GPUS)
    read(source)
    nvml_driver.write(TWO_GPUS + f"gpu 1 error nvmlDeviceGetTemperature {fault}\n")
    assert source.read().error
    assert nvml_driver.users == 0
    nvml_driver.write(TWO_GPUS)
    assert len(read(source).gpus) == 2
    assert nvml_driver.users == 1


def test_another_number_of_gpus_is_noticed(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    counts = []
    for count in (2, 1, 3, 0, 1):
        nvml_driver.write(f"count {count}\n")
        counts.append(len(read(source).gpus))
    assert counts == [2, 1, 3, 0, 1]


def test_another_gpu_at_the_same_index_is_noticed(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write("gpu 0 uuid GPU-old\ngpu 0 name NVIDIA A100\n")
    assert read_one(source).name == "NVIDIA A100"
    nvml_driver.write("gpu 0 uuid GPU-new\ngpu 0 name NVIDIA H200\n")
    gpu = read_one(source)
    assert (gpu.uuid, gpu.name) == ("GPU-new", "NVIDIA H200")


def test_a_process_in_several_lists_is_one(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(
        "gpu 0 proc 4194305 2GiB C\ngpu 0 proc 4194305 2GiB G\ngpu 0 proc 4194306 3GiB M\n"
        "gpu 0 proc 4194307 na C\n"
    )
    processes = read_one(source).processes
    assert [(process.pid, process.memory, process.kind) for process in processes] == [
        (4194306, 3 * GIB, "mps"),
        (4194305, 2 * GIB, "compute+graphics"),
        (4194307, None, "compute"),
    ]


MIG = """
gpu 0 uuid GPU-parent
gpu 0 mig 1
gpu 0 mem_total 40GiB
gpu 0 mem_used 4GiB
mig 0.0 uuid MIG-zero
mig 0.0 name NVIDIA A100-SXM4-40GB MIG 1g.5gb
mig 0.0 mem_total 4864MiB
mig 0.2 uuid MIG-two
mig 0.2 mem_total 9984MiB
mig 0.2 mem_used 4GiB
mig 0.2 proc 4194305 4GiB
gpu 1 uuid GPU-whole
"""


def test_mig_devices_stand_behind_their_gpu(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(MIG)
    parent, zero, two, whole = read(source).gpus
    assert [gpu.label for gpu in (parent, zero, two, whole)] == ["0", "0:0", "0:2", "1"]
    assert (parent.mig_enabled, parent.memory_used, parent.utilization) == (True, 4 * GIB, None)
    assert parent.processes == ()
    assert (zero.uuid, zero.mig_parent, zero.memory_total) == ("MIG-zero", "GPU-parent", 4864 * MIB)
    assert zero.name == "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    assert (two.uuid, two.memory_used, two.memory_free) == ("MIG-two", 4 * GIB, (9984 - 4096) * MIB)
    assert [process.pid for process in two.processes] == [4194305]
    assert two.utilization is two.temperature is two.power is None
    assert (whole.mig_enabled, whole.mig_index, whole.error) == (False, None, None)


def test_mig_devices_come_and_go_with_their_mode(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(MIG)
    assert len(read(source).gpus) == 4
    nvml_driver.write(MIG + "gpu 0 mig 0\n")
    assert [gpu.label for gpu in read(source).gpus] == ["0", "1"]


def test_a_failing_mig_device_leaves_its_gpu_alone(source: NvmlSource, nvml_driver: NvmlDriver) -> None:
    nvml_driver.write(MIG + "mig 0.2 error nvmlDeviceGetMemoryInfo unknown\n")
    parent, zero, two, _ = read(source).gpus
    assert parent.error is None
    assert zero.error is None
    assert two.error == "memory: not read (Unknown Error)"
    assert two.memory_total is None
