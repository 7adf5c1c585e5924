"""The local executor with real launchers and runners, without a supervisor: what it records, how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from hitui.adapters import processes
from hitui.adapters.executors import local
from hitui.adapters.executors.base import ExitRecord, Launch, LaunchedJob, Standing
from hitui.adapters.executors.local import LocalExecutor
from hitui.adapters.executors.locks import is_locked, lock_gpus, release
from hitui.adapters.processes import JOB_VARIABLE
from hitui.errors import LaunchError
from tests.tools.eventually import eventually

T = TypeVar("T")
STUBBORN = """
import os, pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
name = "child" if os.fork() == 0 else "main"
path = pathlib.Path(name + ".new")
path.write_text(str(os.getpid()))
path.rename(name)
while True:
    signal.pause()
"""
"""Ignores SIGTERM, as its child does; both write who they are."""
DAEMON = """
import os, pathlib, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
os.wait()
"""
"""Leaves a process behind that has a session of its own, no parent and an empty environment."""
TRACKER = """
import os
reading, writing = os.pipe()
if os.fork() == 0:
    os.close(writing)
    os.read(reading, 1)
"""
"""Has a helper that ends by itself as soon as it sees that the runner has ended."""


def marker_of(folder: Path) -> str:
    """Of the whole path: folders of one name, in two workers, have each other's processes otherwise, and end them."""
    return f"{str(folder).replace('/', '-')}:1"


def launched(folder: Path, program: str, grace: float = 0.2) -> LaunchedJob:
    marker = marker_of(folder)
    environment = {**os.environ, JOB_VARIABLE: marker}
    argv = (sys.executable, "-c", program)
    return LocalExecutor().start(Launch(folder, marker, argv, environment, folder, folder / "log", grace), [])


def seen_through(
    folder: Path, program: str, between: Callable[[LaunchedJob], Awaitable[None]] | None = None
) -> ExitRecord:
    """How a job ended; `between` is awaited once its runner runs."""

    async def scene() -> ExitRecord | None:
        job = launched(folder, program)
        assert await job.begun() is not None
        if between is not None:
            await between(job)
        return await job.ended()

    record = asyncio.run(asyncio.wait_for(scene(), 60))
    assert record is not None
    assert not processes.members(marker_of(folder))
    return record


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_a_stop_ends_processes_that_ignore_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_descriptors: bool
) -> None:
    if not has_descriptors:
        # As in a Python that was built for a Linux before 5.3.
        monkeypatch.delattr(os, "pidfd_open")

    async def stop(job: LaunchedJob) -> None:
        await asyncio.to_thread(eventually, (tmp_path / "child").exists)
        await asyncio.to_thread(eventually, (tmp_path / "main").exists)
        await job.stop()

    record = seen_through(tmp_path, STUBBORN, stop)
    assert (record.signal, record.status, record.left, record.outlived) == (signal.SIGKILL, None, 0, 0)
    for name in ("main", "child"):
        assert processes.find_process(int((tmp_path / name).read_text())) is None


def test_a_stop_is_one_signal_and_the_runner_has_its_grace(tmp_path: Path) -> None:
    """A second one would mean: now."""
    finishes = "import signal, sys, time\n"
    finishes += "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
    finishes += "open('main', 'w').close()\nsignal.pause()\ntime.sleep(0.3)\nsys.exit(7)\n"

    async def scene() -> ExitRecord | None:
        job = launched(tmp_path, finishes, grace=60.0)
        assert await job.begun() is not None
        await asyncio.to_thread(eventually, (tmp_path / "main").exists)
        await job.stop()
        return await job.ended()

    record = asyncio.run(asyncio.wait_for(scene(), 60))
    assert record is not None
    assert record.status == 7
    assert (tmp_path / "log").read_text() == "asked\n"


@pytest.mark.parametrize("launcher_lives", [True, False])
def test_a_stop_at_once_waits_for_no_grace(tmp_path: Path, launcher_lives: bool) -> None:
    async def scene() -> None:
        job = launched(tmp_path, STUBBORN, grace=600.0)
        assert await job.begun() is not None
        for name in ("main", "child"):
            await asyncio.to_thread(eventually, (tmp_path / name).exists)
        launcher = json.loads((tmp_path / "launcher.json").read_text())["pid"]
        # What ends the session of who started it, as a terminal that is closed, does not reach it.
        assert os.getsid(launcher) == launcher
        if launcher_lives:
            await job.stop()
        else:
            os.kill(launcher, signal.SIGKILL)
            await asyncio.to_thread(eventually, lambda: processes.find_process(launcher) is None)
        await job.stop(now=True)
        await job.ended()

    asyncio.run(asyncio.wait_for(scene(), 60))
    assert not processes.members(marker_of(tmp_path))


def test_a_stop_is_not_lost_with_a_launcher_that_dies_over_it(tmp_path: Path) -> None:
    async def scene() -> ExitRecord | None:
        job = launched(tmp_path, STUBBORN)
        assert await job.begun() is not None
        await asyncio.to_thread(eventually, (tmp_path / "child").exists)
        launcher = json.loads((tmp_path / "launcher.json").read_text())["pid"]
        # It hears nothing any more, and is still there to be told.
        os.kill(launcher, signal.SIGSTOP)
        await job.stop()
        os.kill(launcher, signal.SIGKILL)
        return await job.ended()

    assert asyncio.run(asyncio.wait_for(scene(), 60)) is None
    assert not processes.members(marker_of(tmp_path))


def test_a_runner_leads_a_session_and_has_the_signals_of_any_program(tmp_path: Path) -> None:
    # Of `sh`, since Python itself ignores some. The sixth word of `stat` is the session.
    told = "grep -h -e SigBlk -e SigIgn /proc/self/status; cut -d ' ' -f 1,6 /proc/$$/stat"
    launch = Launch(
        tmp_path, marker_of(tmp_path), ("sh", "-c", told), os.environ, tmp_path, tmp_path / "log", 0.2
    )
    (tmp_path / "log").write_text("of an earlier launch\n")

    async def scene() -> ExitRecord | None:
        job = LocalExecutor().start(launch, [])
        assert await job.begun() is not None
        return await job.ended()

    record = asyncio.run(asyncio.wait_for(scene(), 60))
    assert record is not None
    assert record.status == 0
    assert record.ran_seconds is not None
    earlier, blocked, ignored, stat = (tmp_path / "log").read_text().splitlines()
    assert earlier == "of an earlier launch"
    assert int(blocked.split()[1], 16) == 0
    mask = int(ignored.split()[1], 16)
    assert not any(mask >> (number - 1) & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))
    pid, session = stat.split()
    assert session == pid


def test_one_that_is_asked_to_give_way_is_asked_by_a_signal_of_its_own(tmp_path: Path) -> None:
    gives_way = "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
    gives_way += "open('main', 'w').close()\nwhile True:\n    signal.pause()\n"

    async def ask(job: LaunchedJob) -> None:
        await asyncio.to_thread(eventually, (tmp_path / "main").exists)
        assert await job.give_way()

    record = seen_through(tmp_path, gives_way, ask)
    assert (record.status, record.signal) == (75, None)
    assert not asyncio.run(LocalExecutor().attach(tmp_path, 0.2).give_way())


def test_a_job_is_launched_once_at_a_time_and_again_without_what_it_left(tmp_path: Path) -> None:
    executor = LocalExecutor()
    assert executor.standing(tmp_path) is Standing.NEVER_RAN

    async def launch_another(job: LaunchedJob) -> None:
        assert executor.standing(tmp_path) is Standing.LIVES
        with pytest.raises(LaunchError, match="something of this job still lives"):
            launched(tmp_path, "pass")
        os.kill(json.loads((tmp_path / "runner.json").read_text())["pid"], signal.SIGKILL)

    assert seen_through(tmp_path, "import time; time.sleep(1000)", launch_another).signal == signal.SIGKILL
    assert seen_through(tmp_path, "raise SystemExit(3)").status == 3
    (tmp_path / "exit.json").unlink()
    # Its launcher too was killed.
    assert executor.standing(tmp_path) is Standing.GONE

    async def nowhere() -> ExitRecord | None:
        launch = Launch(tmp_path, "x:1", ("true",), {}, tmp_path / "gone", tmp_path / "log", 0.2)
        job = executor.start(launch, [])
        assert await job.begun() is None
        return await job.ended()

    record = asyncio.run(asyncio.wait_for(nowhere(), 60))
    assert record is not None
    assert (record.status, record.error) == (127, f"{tmp_path}/gone: No such file or directory")
    assert not (tmp_path / "runner.json").exists()
    assert executor.standing(tmp_path) is Standing.GONE


def test_what_was_launched_in_another_container_lives_as_long_as_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pids are nobody's here; a supervisor that took it for gone ended it, or let its config be run twice."""
    monkeypatch.setattr(local, "_LOOK_SECONDS", 0.02)

    async def take_over(job: LaunchedJob) -> None:
        runner = processes.find_process(json.loads((tmp_path / "runner.json").read_text())["pid"])
        assert runner is not None
        runner_file, launcher_file = tmp_path / "runner.json", tmp_path / "launcher.json"
        runner_file.write_text(json.dumps({**json.loads(runner_file.read_text()), "start_time": 1}))
        elsewhere = {"start_time": 1, "place": "a start of the machine pid:[1]"}
        launcher = {**json.loads(launcher_file.read_text()), **elsewhere}
        # It may be attached to before its launcher has said anything.
        launcher_file.unlink()
        looks: Counter[bool] = Counter()

        def look(path: Path) -> bool:
            looks[launcher_file.exists()] += 1
            return is_locked(path)

        monkeypatch.setattr(local, "is_locked", look)
        ended = asyncio.create_task(LocalExecutor().attach(tmp_path, 0.2).ended())
        await asyncio.to_thread(eventually, lambda: looks[False] > 2)
        (tmp_path / "beside").write_text(json.dumps(launcher))
        (tmp_path / "beside").replace(launcher_file)
        await asyncio.to_thread(eventually, lambda: looks[True] > 3 or ended.done())
        assert not ended.done()
        assert processes.send(runner, signal.SIGKILL)
        record = await ended
        assert record is not None
        assert record.signal == signal.SIGKILL

    seen_through(tmp_path, "import time; time.sleep(1000)", take_over)


def test_what_outlives_its_runner_is_counted_and_ended(tmp_path: Path) -> None:
    record = seen_through(tmp_path, DAEMON)
    assert (record.status, record.outlived, record.left) == (0, 1, 0)


def test_a_helper_that_ends_with_its_runner_is_not_counted(tmp_path: Path) -> None:
    record = seen_through(tmp_path, TRACKER)
    assert (record.status, record.outlived) == (0, 0)


@pytest.mark.parametrize("text", ['{"pid": "\udcff"}', "[" * 100_000, "", "{}"])
def test_a_record_that_no_launcher_wrote_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "exit.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert LocalExecutor().recorded(tmp_path) is None


def test_a_pipe_in_the_place_of_a_lock_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "GPU-1.lock")
    held, taken = lock_gpus(tmp_path, ("GPU-1",))
    assert taken is None
    assert is_locked(tmp_path / "GPU-1.lock")
    release(held)
    assert not is_locked(tmp_path / "GPU-1.lock")


def test_what_the_launcher_writes_is_for_its_owner_alone(tmp_path: Path) -> None:
    seen_through(tmp_path, "pass")
    for name in ("spec.json", "launcher.json", "runner.json", "exit.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600, name
        assert isinstance(json.loads((tmp_path / name).read_text()), dict)
