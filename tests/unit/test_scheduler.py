"""The queue's motor alone: what goes wrong around it does not stop it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hitui.domain.jobs import Ended, Ending, JobRequest
from hitui.domain.schedule import Schedule
from hitui.paths import RuntimePaths
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
