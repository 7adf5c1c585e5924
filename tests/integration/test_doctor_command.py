"""`hitui doctor` as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.nvml_sim.driver import NvmlDriver


def doctor(driver: NvmlDriver, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **driver.environment,
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder / "runtime"),
        "HITUI_GPU_LOCKS": str(folder / "locks"),
    }
    return subprocess.run(
        [sys.executable, "-m", "hitui", "doctor", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def checks_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_lines_and_object_say_the_same(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    (tmp_path / "hitui.toml").write_text('[runner.demo]\nengine = "demo"\n')
    nvml_driver.write("count 2\ngpu 1 error * lost\n")
    lines = doctor(nvml_driver, tmp_path)
    as_json = doctor(nvml_driver, tmp_path, "--json")
    assert (lines.returncode, lines.stderr) == (0, "")
    assert (as_json.returncode, as_json.stderr) == (0, "")
    assert json.loads(as_json.stdout)["level"] == "warn"
    for name, check in checks_of(as_json).items():
        line = next(line for line in lines.stdout.splitlines() if line[6:].startswith(f"{name}: "))
        assert line.split()[0].lower() == check["level"]
    assert checks_of(as_json)["GPU 1"]["what"].startswith("lost: ")
    assert checks_of(as_json)["settings"]["level"] == "ok"
    assert list(tmp_path.glob("state*")) == []


def test_refused_settings_fail_and_the_rest_is_looked_at(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    (tmp_path / "hitui.toml").write_text("[gpus]\nexlude = [1]\n")
    done = doctor(nvml_driver, tmp_path, "--json")
    checks = checks_of(done)
    assert done.returncode == 1
    assert checks["settings"]["level"] == "fail"
    assert "did you mean 'exclude'?" in checks["settings"]["what"]
    assert checks["driver"]["level"] == "ok"
    # Nobody knows which there are: it would ask for one that may stand there.
    assert "runners" not in checks


@pytest.mark.parametrize("name", ["absent", "x" * 5000], ids=["absent", "too long"])
def test_a_folder_that_is_not_there_is_said(nvml_driver: NvmlDriver, tmp_path: Path, name: str) -> None:
    done = doctor(nvml_driver, tmp_path, "-w", name)
    assert (done.returncode, done.stderr) == (1, "")
    assert (
        f"FAIL  workspace: {tmp_path}/{name}: is not a folder -> give the workspace's folder" in done.stdout
    )


def test_a_folder_that_was_removed_meanwhile_is_said(nvml_driver: NvmlDriver, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    program = "import sys; from hitui.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        ["/bin/sh", "-c", 'rmdir "$PWD" && exec "$0" -c "$1"', sys.executable, program],
        env=nvml_driver.environment,
        cwd=here,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "FAIL  workspace: the folder that you are in is gone" in done.stdout
