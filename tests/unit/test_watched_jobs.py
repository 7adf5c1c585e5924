"""What comes of looks at jobs that run, one after the other on a clock of the test: marks, pauses, moves elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.jobs import Job, JobRequest, Running, Stopping
from hitui.domain.succession import RetryRules
from hitui.domain.watching import WatchRules
from hitui.errors import SettingsError
from hitui.paths import RuntimePaths
from hitui.supervisor import watching
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.store import Store


class Scene:
    """One job on one GPU that runs, who looks after it, and the clock that says when that is."""

    def __init__(self, folder: Path, rules: WatchRules) -> None:
        self.paths = RuntimePaths(folder / "state", folder / "runtime")
        self.paths.state.mkdir()
        self.store = Store(self.paths.database)
        self.rules = rules
        self.now = 1_000_000.0
        self.log = folder / "log"
        self.events = folder / "events"
        self._news = asyncio.Event()
        self._changed = False
        self.unreadable = False
        self.start("a", "GPU-0")
        self.begin()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def start(self, config: str, gpu: str) -> int:
        """Another job that runs; its number."""
        (job,) = self.store.submit([JobRequest(config)], {})
        self.store.start(job.id, (gpu,), "boot", log=self.log, events=self.events, task_count=None)
        self.store.begun(job.id, 77, self.now)
        return job.id

    def begin(self) -> None:
        """Someone begins to look after the jobs, as in a supervisor that was just started."""
        self._loop = asyncio.get_running_loop()
        keeper = Keeper(self.store, self.paths, lambda: None)
        self.watcher = watching.Watching(
            self.store, keeper, self._rules, lambda configs: RetryRules(), self._change
        )
        self.watcher.wake()
        self._running = asyncio.create_task(self.watcher.run())

    async def end(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def _rules(self, configs: Collection[str]) -> WatchRules:
        # The settings of each job are read before each look.
        if configs == ("a",):
            self._loop.call_soon_threadsafe(self._news.set)
        if self.unreadable:
            raise SettingsError("hitui.toml: cannot be read")
        return self.rules

    def _change(self) -> None:
        self._changed = True
        self._news.set()

    def state(self, job_id: int = 1) -> Running | Stopping:
        state = self.store.job(job_id).state
        assert isinstance(state, (Running, Stopping))
        return state

    def stalled_since(self, job_id: int = 1) -> float | None:
        state = self.state(job_id)
        assert isinstance(state, Running), state
        return state.stalled_since

    def reads(self, load: int) -> None:
        """The GPUs are read: how busy the job's own one is."""
        process = GpuProcess(77, 1, "compute", session=77)
        other = Gpu(1, "GPU-1", "x", memory_total=8, utilization=0)
        gpu = Gpu(0, "GPU-0", "x", memory_total=8, utilization=load, processes=(process,))
        self.watcher.observe(GpuSnapshot(1.0, "test", (gpu, other)))

    def reads_a_loss(self, *, listed: bool) -> None:
        """The driver no longer answers for the job's GPU, or lists only the other."""
        gpus = (
            Gpu(0, "GPU-0", "x", error="lost: it fell off the bus"),
            Gpu(1, "GPU-1", "x", memory_total=8, utilization=0),
        )
        self.watcher.observe(GpuSnapshot(1.0, "test", gpus if listed else gpus[1:]))

    async def look(self, later: float = 0.0, *loads: int) -> None:
        """After so many seconds, and readings of the GPU at work then, each job is looked at, once or more often."""
        self.now += later
        for load in loads:
            self.reads(load)
        self._changed = False
        # One reading may be under way; what lies between the next two is a whole look.
        for _ in range(3):
            self._news.clear()
            await self._news.wait()
            if self._changed:
                break


Play = Callable[[WatchRules, Callable[[Scene], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    def play(rules: WatchRules, acts: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            scene = Scene(tmp_path, rules)
            monkeypatch.setattr(watching, "time", scene)
            await acts(scene)
            await scene.end()
            scene.store.close()

        monkeypatch.setattr(watching, "SHORTEST_LOOK_SECONDS", 0.001)
        monkeypatch.setattr(watching, "LOOKS_A_STALL", 1e9)
        asyncio.run(whole())

    return play


def write_events(scene: Scene, *statuses: str) -> None:
    lines = [json.dumps({"event": "task", "id": at, "status": status}) for at, status in enumerate(statuses)]
    scene.events.write_text("".join(f"{line}\n" for line in lines))


def test_a_job_is_paused_for_what_failed_in_a_row_unless_its_settings_say_never(play: Play) -> None:
    async def acts(scene: Scene) -> None:
        write_events(scene, "done", "error", "error")
        await scene.look()
        assert isinstance(scene.state(), Running)
        scene.rules = WatchRules(errors=3)
        await scene.look()
        assert isinstance(scene.state(), Running)
        write_events(scene, "done", "error", "error", "error")
        await scene.look()
        assert isinstance(scene.state(), Stopping)

    play(WatchRules(errors=0), acts)


def test_use_of_a_gpu_counts_though_the_last_reading_before_the_look_saw_none(play: Play) -> None:
    async def acts(scene: Scene) -> None:
        await scene.look()
        await scene.look(11, 90, 0)
        await scene.look(9, 0)
        assert scene.stalled_since() is None
        await scene.look(1, 0)
        assert scene.stalled_since() == scene.now - 10

    play(WatchRules(stall=10), acts)


def test_a_job_is_only_marked_where_the_driver_fell_silent_meanwhile(play: Play) -> None:
    async def acts(scene: Scene) -> None:
        await scene.look(0, 0)
        # What it said last is too old to say anything of the time since.
        await scene.look(9)
        await scene.look(2, 0)
        assert scene.stalled_since() == scene.now - 11
        await scene.look(9, 0)
        assert isinstance(scene.state(), Running)
        await scene.look(1, 0)
        assert isinstance(scene.state(), Stopping)

    play(WatchRules(stall=10, restart=True), acts)


@pytest.mark.parametrize("name", ["log", "events"])
def test_a_mark_goes_where_the_job_spoke_while_no_supervisor_lived(play: Play, name: str) -> None:
    async def acts(scene: Scene) -> None:
        file = scene.log.with_name(name)
        file.write_text("hello\n")
        os.utime(file, (scene.now, scene.now))
        await scene.look()
        await scene.look(11)
        marked = scene.stalled_since()
        assert marked is not None
        await scene.end()
        scene.begin()
        await scene.look(1)
        assert scene.stalled_since() == marked
        os.utime(file, (scene.now, scene.now))
        await scene.end()
        scene.begin()
        await scene.look(1)
        assert scene.stalled_since() is None

    play(WatchRules(stall=10), acts)


@pytest.mark.parametrize(("limit", "listed"), [(None, True), (30.0, True), (30.0, False)])
def test_a_job_is_taken_elsewhere_once_its_gpu_was_lost_for_so_long_or_never(
    play: Play, limit: float | None, listed: bool
) -> None:
    async def acts(scene: Scene) -> None:
        other = scene.start("b", "GPU-1")
        await scene.look()
        for later in (0.0, 29.0):
            scene.now += later
            scene.reads_a_loss(listed=listed)
        assert isinstance(scene.state(), Running)
        # What was asked to go is left alone then.
        for later in (1.0, 1.0):
            scene.now += later
            scene.reads_a_loss(listed=listed)
        assert isinstance(scene.state(), Running if limit is None else Stopping)
        assert isinstance(scene.state(other), Running)

    play(WatchRules(stall=None, lost=limit), acts)


def test_a_job_that_cannot_be_marked_keeps_nobody_from_looking_after_the_others(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def acts(scene: Scene) -> None:
        other = scene.start("b", "GPU-1")
        await scene.look()
        mark = scene.store.mark_stalled

        def full(job_id: int, since: float | None) -> Job:
            if job_id == 1:
                raise sqlite3.OperationalError("database or disk is full")
            return mark(job_id, since)

        with monkeypatch.context() as patch:
            patch.setattr(scene.store, "mark_stalled", full)
            await scene.look(11)
        assert (scene.stalled_since(), scene.stalled_since(other)) == (None, scene.now - 11)
        await scene.look()
        assert scene.stalled_since() == scene.now - 11

    play(WatchRules(stall=10), acts)


def test_one_look_that_fails_is_not_the_last_and_a_long_stall_makes_none_late(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.001)

    async def acts(scene: Scene) -> None:
        monkeypatch.setattr(watching, "LOOKS_A_STALL", 1)
        scene.unreadable = True
        await scene.look()
        scene.unreadable = False
        write_events(scene, "error")
        await scene.look()
        assert isinstance(scene.state(), Stopping)

    play(WatchRules(stall=3600, errors=1), acts)
