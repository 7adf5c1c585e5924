"""Fixtures that several folders of tests share; what they make is under `tests/tools`."""

from __future__ import annotations

import compileall
import fcntl
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tools.nvml_sim.build import build
from tests.tools.nvml_sim.driver import FILE_VARIABLE, NvmlDriver

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ["tests.tools.order", "tests.tools.settled", "tests.tools.skips"]

# How long an example takes says something of the machine that runs it, and nothing of what is tested. Each run draws
# others; `--hypothesis-profile=thorough` draws many.
settings.register_profile(
    "hitui", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("hitui"), max_examples=1000)
settings.load_profile("hitui")


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or leaves anything in the cache of whoever runs them."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell lets what it starts behind itself (`make test &`) ignore SIGINT, and programs pass that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def bytecode() -> None:
    """Where the environment forbids Python to write it, each process of the tests would compile hitui anew."""
    for folder in ("hitui", "runners"):
        compileall.compile_dir(ROOT / folder, quiet=2)


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_each_model() -> None:
    """A tiny model gains nothing by more; beside the other tests its threads would only wait for each other.

    Set before any test imports torch, which reads it then; the runners that tests start inherit it.
    """
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated libnvidia-ml.so.1, compiled once a session."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml_driver(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NvmlDriver]:
    """A driver with one GPU, for this process and (by its `environment`) for others."""
    driver = NvmlDriver(nvml_library, tmp_path / "nvml.txt")
    driver.write("count 1\n")
    monkeypatch.setenv(FILE_VARIABLE, str(driver.file))
    monkeypatch.delenv("HITUI_SIMULATED_GPUS", raising=False)
    driver.serve_this_process()
    yield driver
    # Threads that hang in a call of this test may leave it now.
    driver.write("count 1\n")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Qwen3-VL with random weights. No test writes there."""
    return _model(tmp_path_factory, "tiny")


@pytest.fixture(scope="session")
def middle_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a larger one, whose answers depend on the question. No test writes there."""
    return _model(tmp_path_factory, "middle")


def _model(folders: pytest.TempPathFactory, size: str) -> Path:
    """Made once for all workers of a run, whose temporary folders lie in one."""
    home = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent
    folder = home / f"{size}-qwen3vl"
    with (home / f"{size}-qwen3vl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            beside = home / f"{size}-qwen3vl.new"
            _make_model(beside, size.upper())
            beside.rename(folder)
    return folder


def _make_model(folder: Path, size: str) -> None:
    """Here, where whoever asks for it imports torch himself; it must not ask the network."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("HF_HUB_OFFLINE", "1")
        warnings.simplefilter("default")
        from tests.tools import tiny_model

        tiny_model.build(folder, size=getattr(tiny_model, size))
