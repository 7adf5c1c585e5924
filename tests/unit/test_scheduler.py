"""The queue's motor alone: what goes wrong around it does not stop it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.adapters.executors.base import Launch
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Queued
from hitui.domain.placement import GpuRules, Need
from hitui.domain.schedule import Group, Schedule
from hitui.paths import RuntimePaths
from hitui.supervisor import scheduler
from hitui.supervisor.joining import Joined, Part
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.launches import Launches
from hitui.supervisor.rows import End
from hitui.supervisor.scheduler import Scheduler
from hitui.supervisor.store import Store


def test_an_error_of_whoever_is_told_of_a_change_does_not_stop_the_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = RuntimePaths(tmp_path / "state", tmp_path / "runtime")
    paths.state.mkdir()
    store = Store(paths.database)
    [before] = store.submit([JobRequest("stopped")], {})
    # Neither can ever start.
    never = Schedule(after_success=(before.id,))
    first, second = store.submit([JobRequest("one"), JobRequest("other")], {}, never)
    store.end(before.id, End(Ending.STOPPED))

    async def scene() -> None:
        told = asyncio.Event()

        def changed() -> None:
            told.set()
            raise RuntimeError("can't start new thread")

        keeper = Keeper(store, paths, lambda: None)
        scheduler = Scheduler(store, Launches(tmp_path), keeper, paths, changed)
        running = asyncio.create_task(scheduler.run())
        for job in (first, second):
            scheduler.wake()
            await asyncio.wait_for(told.wait(), 30)
            told.clear()
            assert isinstance(store.job(job.id).state, Ended)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())
    store.close()
    assert "can't start new thread" in capsys.readouterr().err


class NoGpus:
    """Launches of jobs that need no GPU and have one task to do."""

    def needs(self, jobs: Sequence[Job]) -> dict[str, Need]:
        return {job.request.config: Need(0) for job in jobs}

    def parts(self, request: JobRequest) -> tuple[Part, ...]:
        return (Part(request, (1,), 1.0),)

    def check_command(self, request: JobRequest, environment: object) -> None:
        """It could be started."""

    def shards(self, *_: object) -> tuple[JobRequest, ...]:
        return ()


@pytest.mark.parametrize("change", ["nothing", "queue", "group", "job", "stop"])
def test_what_is_paused_or_stopped_while_a_start_is_prepared_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    paths = RuntimePaths(tmp_path / "state", tmp_path / "runtime")
    paths.state.mkdir()
    store = Store(paths.database)
    (job,) = store.submit([JobRequest("one")], {})
    launch = Launch(tmp_path, "x:1", ("true",), {}, tmp_path, tmp_path / "log", 1.0)
    launched: list[int] = []

    class Told(Keeper):
        def launch(self, job: Job, launch: Launch, locks: Sequence[int]) -> None:
            launched.append(job.id)

    async def prepared(function: Callable[..., object], *arguments: object) -> object:
        if function is not scheduler.prepare:
            return function(*arguments)
        if change == "queue":
            store.pause_queue("lunch")
        elif change == "group":
            store.set_group(Group(job.schedule.group, paused="lunch"))
        elif change == "job":
            store.reschedule(job.id, lambda known: replace(known, held="lunch"))
        elif change == "stop":
            store.end(job.id, End(Ending.STOPPED))
        return launch

    monkeypatch.setattr(asyncio, "to_thread", prepared)
    keeper = Told(store, paths, lambda: None)
    motor = Scheduler(store, NoGpus(), keeper, paths, lambda: None)  # type: ignore[arg-type]
    asyncio.run(motor.look())
    assert launched == ([job.id] if change == "nothing" else [])
    assert isinstance(store.job(job.id).state, Queued) == (change in ("queue", "group", "job"))
    store.close()


class OneGpu(NoGpus):
    """The same for jobs that need one."""

    def __init__(self) -> None:
        self.asked_to_join: list[list[int]] = []

    def needs(self, jobs: Sequence[Job]) -> dict[str, Need]:
        return {job.request.config: Need(1) for job in jobs}

    def rules(self) -> GpuRules:
        return GpuRules(hold=0.0)

    def check_while_it_waits(self, request: JobRequest, environment: object) -> None:
        """It could be started."""

    def join(self, job: Job, parts: Sequence[Part], candidates: Sequence[Job], places: int) -> Joined:
        self.asked_to_join.append([other.id for other in candidates])
        return Joined(tuple(parts))


@pytest.mark.parametrize("gpus", [None, ("0",)])
def test_only_jobs_of_one_environment_that_name_no_gpus_may_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: tuple[str, ...] | None
) -> None:
    monkeypatch.setenv("HITUI_GPU_LOCKS", str(tmp_path / "locks"))
    paths = RuntimePaths(tmp_path / "state", tmp_path / "runtime")
    paths.state.mkdir()
    store = Store(paths.database)
    (first,) = store.submit([JobRequest("one", gpus=gpus)], {"HF_HOME": "/a"})
    store.submit([JobRequest("two", gpus=gpus)], {"HF_HOME": "/b"})
    (third,) = store.submit([JobRequest("three", gpus=gpus)], {"HF_HOME": "/a"})
    launch = Launch(tmp_path, "x:1", ("true",), {}, tmp_path, tmp_path / "log", 1.0)
    monkeypatch.setattr(scheduler, "prepare", lambda *_: launch)
    launched: list[int] = []

    class Told(Keeper):
        def launch(self, job: Job, launch: Launch, locks: Sequence[int]) -> None:
            launched.append(job.id)

    launches = OneGpu()

    async def scene() -> None:
        motor = Scheduler(store, launches, Told(store, paths, lambda: None), paths, lambda: None)  # type: ignore[arg-type]
        gpu = Gpu(0, "GPU-0", "x", memory_total=8, memory_used=0, memory_free=8, utilization=0)
        motor.observe(GpuSnapshot(1000.0, "test", (gpu,)))
        await motor.look()

    asyncio.run(scene())
    assert launches.asked_to_join == ([[third.id]] if gpus is None else [])
    assert launched == [first.id]
    store.close()
