"""`hitui gpus` as a program: beside nvitop and gpustat on the same driver, and where there is none."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.tools.nvml_sim.build import LIBRARY
from tests.tools.nvml_sim.driver import NvmlDriver

GIB = 1024**3
MIB = 1024**2

SERVER = """
driver 535.104.05
count 4
gpu * name NVIDIA A800-SXM4-80GB
gpu * mem_total 80GiB
gpu 0 mem_used 67.9GiB
gpu 0 mem_reserved 600MiB
gpu 0 util_gpu 97
gpu 0 temp 61
gpu 0 power 312.4
gpu 0 proc {first} 60GiB C 80
gpu 0 proc {second} 7.4GiB C 17
gpu 1 mem_used 7.5GiB
gpu 2 mem_used 40.8GiB
gpu 2 temp na
gpu 2 util_gpu na
gpu 2 proc {second} 40GiB C 3
gpu 3 power na
"""

NVITOP = """
import json
from nvitop import Device, NA
def known(value):
    return None if value is NA else value
print(json.dumps([
    {
        "index": device.index, "uuid": device.uuid(), "name": device.name(),
        "memory_total": known(device.memory_total()), "memory_used": known(device.memory_used()),
        "memory_free": known(device.memory_free()), "utilization": known(device.gpu_utilization()),
        "temperature": known(device.temperature()), "power": known(device.power_usage()),
        "processes": sorted(
            [process.pid, process.gpu_memory(), process.username(), " ".join(process.cmdline())]
            for process in device.processes().values()
        ),
    }
    for device in Device.all()
]))
"""


@pytest.fixture
def pids() -> Iterator[tuple[int, int]]:
    """Two live processes of ours."""
    command = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as first,
        subprocess.Popen([*command, "second"], stdin=subprocess.PIPE) as second,
    ):
        yield first.pid, second.pid
        for child in (first, second):
            child.communicate(b"\n")


def hitui(*arguments: str, environment: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hitui", "gpus", *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def gpus_of(driver: NvmlDriver, cwd: Path) -> list[dict[str, Any]]:
    done = hitui("--json", environment=driver.environment, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    gpus: list[dict[str, Any]] = json.loads(done.stdout)["gpus"]
    return gpus


def other_tool(*command: str, driver: NvmlDriver) -> Any:
    done = subprocess.run(
        [sys.executable, *command], env=driver.environment, capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


def test_the_values_are_those_of_nvitop(
    nvml_driver: NvmlDriver, pids: tuple[int, int], tmp_path: Path
) -> None:
    nvml_driver.write(SERVER.format(first=pids[0], second=pids[1]))
    theirs = other_tool("-c", NVITOP, driver=nvml_driver)
    ours = [
        {
            **{name: gpu[name] for name in theirs[0] if name not in ("power", "processes")},
            "power": None if gpu["power"] is None else round(gpu["power"] * 1000),
            "processes": sorted(
                [process["pid"], process["memory"], process["user"], process["command"]]
                for process in gpu["processes"]
            ),
        }
        for gpu in gpus_of(nvml_driver, tmp_path)
    ]
    assert len(ours) == 4
    assert ours == theirs


def test_the_values_are_those_of_gpustat(
    nvml_driver: NvmlDriver, pids: tuple[int, int], tmp_path: Path
) -> None:
    nvml_driver.write(SERVER.format(first=pids[0], second=pids[1]))
    theirs = [
        {
            "index": gpu["index"],
            "uuid": gpu["uuid"],
            "name": gpu["name"],
            "temperature": gpu["temperature.gpu"],
            "utilization": gpu["utilization.gpu"],
            "power": gpu["power.draw"],
            "memory_used": gpu["memory.used"],
            "memory_total": gpu["memory.total"],
            "processes": sorted(
                (process["pid"], process["gpu_memory_usage"], process["username"], process["full_command"])
                for process in gpu["processes"]
            ),
        }
        for gpu in other_tool("-m", "gpustat", "--json", driver=nvml_driver)["gpus"]
    ]
    ours = [
        {
            **{name: gpu[name] for name in ("index", "uuid", "name", "temperature", "utilization")},
            "power": None if gpu["power"] is None else int(gpu["power"]),
            "memory_used": gpu["memory_used"] // MIB,
            "memory_total": gpu["memory_total"] // MIB,
            "processes": sorted(
                (process["pid"], process["memory"] // MIB, process["user"], process["command"].split(" "))
                for process in gpu["processes"]
            ),
        }
        for gpu in gpus_of(nvml_driver, tmp_path)
    ]
    assert ours == theirs


def test_mig_devices_are_those_of_nvitop(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    nvml_driver.write(
        "gpu 0 mig 1\ngpu 0 mem_total 40GiB\nmig 0.0 mem_total 4864MiB\nmig 0.1 mem_total 9984MiB\n"
        "mig 0.1 mem_used 1GiB\ngpu 1 mem_total 80GiB\n"
    )
    script = """
import json
from nvitop import MigDevice
print(json.dumps([[*device.index, device.uuid(), device.name(), device.memory_total(),
                   device.memory_used(), device.memory_free()] for device in MigDevice.all()]))
"""
    memory = ("memory_total", "memory_used", "memory_free")
    ours = [
        [gpu[name] for name in ("index", "mig_index", "uuid", "name", *memory)]
        for gpu in gpus_of(nvml_driver, tmp_path)
        if gpu["mig_index"] is not None
    ]
    assert len(ours) == 2
    assert ours == other_tool("-c", script, driver=nvml_driver)


def test_every_gpu_has_the_keys_that_scripts_rely_on(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    nvml_driver.write("gpu 0 mem_used 1GiB\ngpu 1 error * lost\n")
    for gpu in gpus_of(nvml_driver, tmp_path):
        assert set(gpu) >= {
            *("index", "uuid", "name", "memory_total", "memory_used", "memory_free", "utilization"),
            *("temperature", "power", "processes", "held_by", "free_for_jobs", "error"),
        }


def test_the_settings_say_which_are_free_for_jobs(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    (tmp_path / "hitui.toml").write_text(
        '[gpus]\nexclude = [1]\nmin_free = "30GiB"\nmax_utilization = 5\n', encoding="utf-8"
    )
    nvml_driver.write(
        "gpu * mem_total 80GiB\ngpu 0 mem_used 1GiB\ngpu 1 mem_used 1GiB\ngpu 2 mem_used 51GiB\n"
        "gpu 3 util_gpu 6\ngpu 4 error * lost\ngpu 5 mig 1\nmig 5.0 mem_total 40GiB\n"
    )
    gpus = gpus_of(nvml_driver, tmp_path)
    assert [gpu["free_for_jobs"] for gpu in gpus] == [True, False, False, False, False, False, True]
    assert gpus[0]["not_free_because"] is None
    assert all(gpu["held_by"] is None for gpu in gpus)


def test_the_table_fits_eighty_columns(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    nvml_driver.write(SERVER.format(first=4194305, second=4194306) + "gpu 3 error * lost\n")
    done = hitui(environment=nvml_driver.environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        "GPU  name              memory used  util  temp  power  for jobs",
        "  0  A800-SXM4-80GB  67.9/80.0 GiB   97%  61°C  312 W  only 11.5 GiB free",
        "  1  A800-SXM4-80GB   7.5/80.0 GiB    0%  35°C   60 W  free",
        "  2  A800-SXM4-80GB  40.8/80.0 GiB     -     -   60 W  free",
        "  3                  lost: the driver no longer answers for it; reset it or reboot (dmesg says why: Xid)",
    ]
    assert lines[6:] == [
        "GPU      pid  user   memory  command",
        "  0  4194305  ?      60 GiB  ?",
        "  0  4194306  ?     7.4 GiB  ?",
        "  2  4194306  ?      40 GiB  ?",
    ]


def test_without_a_driver_one_line_says_so(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    nvml_driver.unload()
    plain = hitui(environment=nvml_driver.environment, cwd=tmp_path)
    assert (plain.returncode, plain.stdout) == (1, "")
    assert plain.stderr.startswith("hitui: the NVIDIA driver is not loaded")
    assert plain.stderr.count("\n") == 1
    as_json = hitui("--json", environment=nvml_driver.environment, cwd=tmp_path)
    assert as_json.returncode == 1
    described = json.loads(as_json.stdout)
    assert (described["gpus"], described["source"], described["driver"]) == ([], "nvml", None)
    assert plain.stderr == f"hitui: {described['error']}\n"


def test_without_the_library_one_line_says_so(tmp_path: Path, nvml_driver: NvmlDriver) -> None:
    # A file that is no library comes first in the loader's path, whatever this machine has.
    (tmp_path / LIBRARY).write_bytes(b"no library")
    environment = {**nvml_driver.environment, "LD_LIBRARY_PATH": str(tmp_path)}
    done = hitui(environment=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "libnvidia-ml.so.1 is absent or cannot be loaded" in done.stderr


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_hangs_holds_nobody_up(nvml_driver: NvmlDriver, tmp_path: Path, function: str) -> None:
    nvml_driver.write(f"count 1\nhang {function}\n")
    done = hitui("--json", "--timeout", "0.2", environment=nvml_driver.environment, cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith("the driver has not answered for")


def test_watching_prints_every_reading_until_interrupted(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    nvml_driver.write("gpu 0 mem_used 1GiB\n")
    with subprocess.Popen(
        [sys.executable, "-m", "hitui", "gpus", "--watch", "--json"],
        env=nvml_driver.environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["gpus"][0]["memory_used"] == 1 * GIB
        nvml_driver.write("gpu 0 mem_used 2GiB\n")
        used = 0
        while used != 2 * GIB:
            used = json.loads(watching.stdout.readline())["gpus"][0]["memory_used"]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=30) == 130


def test_watching_on_a_terminal_draws_over_itself(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    nvml_driver.write("gpu 0 mem_used 1GiB\n")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hitui", "gpus", "--watch"],
        env=nvml_driver.environment,
        cwd=tmp_path,
        stdout=theirs,
    ) as watching:
        os.close(theirs)
        shown = b""
        while shown.count(b"\x1b[H\x1b[J") < 2:
            shown += os.read(ours, 4096)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=30) == 130
    os.close(ours)
    assert b"A800-SXM4-80GB" in shown
