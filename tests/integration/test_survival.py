"""What becomes of jobs that crash, are paused, or whose supervisor or machine goes down under them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.adapters.events import read_tail
from hitui.adapters.executors.base import Launch
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Queued, Running
from hitui.domain.schedule import Schedule
from hitui.domain.succession import StopAim, StopWish
from hitui.errors import LaunchError
from hitui.paths import RuntimePaths
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.store import Store
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.memory_limit import memory_limit
from tests.tools.programs import write_programs
from tests.tools.survival import CRASH, CRASH_ONCE, HANG, STARTED, change, follower, followers, revive, waits


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


one_after_the_other = pytest.mark.xdist_group("kills for lack of memory")
"""Launchers learn of such a kill by the count of the whole machine."""


def test_a_crash_is_tried_again_after_pauses_that_grow_and_then_left_with_its_reason(here: Control) -> None:
    write_programs(here, {"crash": CRASH}, 'retries = 2\nretry_pause = "0.1s"\nquick = "0s"')
    first = here.submit("crash")
    second = follower(here, first)
    third = follower(here, second.id)
    state = here.ended(third.id)
    assert (second.attempt, third.attempt) == (2, 3)
    assert (second.schedule.pause, third.schedule.pause) == (0.1, 0.4)
    assert here.ended(first).reason.endswith("KeyError: layer 7; tried again after 0 s, attempt 2 of 3")
    assert state.reason == "exit status 1: KeyError: layer 7; not tried again: it was attempt 3 of 3"
    starts = [float(line) for line in (here.output("crash") / "starts").read_text().split()]
    assert len(starts) == 3
    assert starts[1] - starts[0] >= 0.1
    assert starts[2] - starts[1] >= 0.4
    assert followers(here, third.id) == 0


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "sys.stderr.write('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\\n')\n"
            "sys.exit('W0101 destroy_process_group() was not called')\n",
            "it would run out of memory again",
        ),
        ("sys.exit(2)\n", "it would be used wrongly again"),
        ("os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)\n", "someone outside of hitui ended it"),
        ("sys.exit(143)\n", "someone outside of hitui ended it"),
    ],
)
def test_what_would_end_the_same_way_or_was_ended_by_someone_is_left(
    here: Control, source: str, why: str
) -> None:
    write_programs(here, {"left": source}, 'retries = 2\nretry_pause = "1ms"\nquick = "0s"')
    job_id = here.submit("left")
    state = here.ended(job_id)
    assert state.ending is Ending.FAILED
    assert f"; not tried again: {why}" in state.reason
    assert followers(here, job_id) == 0


def test_a_retry_outlives_the_supervisor_and_its_pause_goes_on(here: Control) -> None:
    write_programs(here, {"once": CRASH_ONCE}, 'retries = 1\nretry_pause = "1s"')
    first = here.submit("once")
    again = follower(here, first)
    revive(here)
    assert here.job(again.id).schedule == again.schedule
    assert here.ended(again.id).ending is Ending.SUCCEEDED
    starts = [float(line) for line in (here.output("once") / "starts").read_text().split()]
    assert starts[1] - starts[0] >= 1.0


def test_a_pause_before_a_retry_ends_though_the_clock_was_set_back(here: Control) -> None:
    write_programs(here, {"once": CRASH_ONCE}, 'retries = 1\nretry_pause = "10m"')
    again = follower(here, here.submit("once"))
    kill(here.supervisor())
    # What a clock that is set back by a day makes of a pause of a tenth of a second.
    text = json.dumps({"not_before": time.time() + 86400, "pause": 0.1})
    change(here, "UPDATE jobs SET schedule = ? WHERE id = ?", text, again.id)
    here.service.ensure_supervisor()
    assert here.ended(again.id).ending is Ending.SUCCEEDED


def test_a_time_that_was_named_is_waited_for_whatever_the_clock_did(here: Control) -> None:
    here.service.ensure_supervisor()
    later = time.time() + 86400
    (job,) = here.service.submit([JobRequest("g/answer")], Schedule(not_before=later))
    assert here.waits_for(job.id).endswith(": it starts then")
    assert here.job(job.id).schedule.not_before == later


@pytest.mark.parametrize("killed", [False, True])
def test_a_job_that_is_paused_gives_its_gpu_back_and_comes_back_held(here: Control, killed: bool) -> None:
    slow = "signal.signal(signal.SIGTERM, lambda *_: (wait_for_go(), sys.exit(143)))\n" + HANG
    go = "def wait_for_go():\n    while not (output / 'go').exists():\n        time.sleep(0.01)\n"
    write_programs(here, {"long": go + slow, "next": HANG})
    running = here.submit("long", gpus=("0",))
    here.running(running)
    here.told("long", "main")
    waiting = here.submit("next", gpus=("0",))
    here.client.change_queue("pause", jobs=[running], reason="lunch")
    with pytest.raises(LaunchError, match=f"job {running} is being stopped already"):
        here.client.change_queue("pause", jobs=[running])
    if killed:
        revive(here)
    (here.output("long") / "go").touch()
    held = follower(here, running)
    assert here.ended(running).reason == "paused: lunch"
    assert (held.schedule.held, held.attempt) == ("lunch", 1)
    assert here.running(waiting).gpus[0].endswith("0")
    waits(here, held.id, "someone to resume it: lunch")
    here.client.stop([waiting])
    here.client.change_queue("resume", jobs=[held.id])
    here.running(held.id)


def test_a_job_that_is_stopped_while_it_is_paused_stays_away(here: Control) -> None:
    go = "def wait_for_go(*_):\n    while not (output / 'go').exists():\n        time.sleep(0.01)\n    sys.exit(0 - 113)\n"
    write_programs(here, {"long": go + "signal.signal(signal.SIGTERM, wait_for_go)\n" + HANG})
    job_id = here.submit("long")
    here.running(job_id)
    here.told("long", "main")
    here.client.change_queue("pause", jobs=[job_id])
    here.client.stop([job_id])
    (here.output("long") / "go").touch()
    state = here.ended(job_id)
    assert (state.ending, state.reason) == (Ending.STOPPED, "on request")
    assert followers(here, job_id) == 0


def test_a_job_that_is_paused_before_its_runner_was_executed_comes_back_held(here: Control) -> None:
    """The state that is left when supervisor and launcher are killed between the claim and the execution."""
    write_programs(here, {"long": HANG})
    here.client.start(here.root)
    here.client.change_queue("pause", reason="not yet")
    job_id = here.submit("long", gpus=("0",))
    kill(here.supervisor())
    folder = here.paths.job(job_id)
    values = (processes.boot_id(), time.time(), str(folder / "log"), time.time(), job_id)
    change(
        here,
        "UPDATE jobs SET state = 'stopping', boot = ?, since = ?, log = ?, stop_asked = ?, stop_aim = 'pause',"
        " stop_reason = 'lunch' WHERE id = ?",
        *values,
    )
    here.service.ensure_supervisor()
    assert follower(here, job_id).schedule.held == "lunch"


def test_what_waits_for_a_job_waits_for_the_one_that_took_its_place(here: Control) -> None:
    write_programs(here, {"once": CRASH_ONCE, "then": STARTED}, 'retries = 1\nretry_pause = "0.5s"')
    here.client.start(here.root)
    here.client.change_queue("pause")
    first = here.submit("once")
    (then,) = here.service.submit([JobRequest("g/then")], Schedule(after_success=(first,)))
    here.client.change_queue("resume")
    again = follower(here, first)
    assert here.job(then.id).schedule.after_success == (again.id,)
    waits(here, then.id, f"job {again.id}: to succeed")
    revive(here)
    assert here.ended(then.id).ending is Ending.SUCCEEDED
    last_try = float((here.output("once") / "starts").read_text().split()[-1])
    assert float((here.output("then") / "starts").read_text()) > last_try


def test_a_runner_that_does_not_give_way_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitui.supervisor.keeper.STOP_GRACE", 0.1)
    paths = RuntimePaths(tmp_path / "state", tmp_path / "runtime")
    folder = paths.job(1)
    folder.mkdir(parents=True)
    store = Store(paths.database)
    (job,) = store.submit([JobRequest("a")], {})
    log, events = folder / "log", folder / "events.jsonl"
    job = store.start(job.id, ["GPU-1"], processes.boot_id(), log=log, events=events, task_count=None)
    source = "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN); print('up', flush=True); signal.pause()"

    async def scene() -> Job:
        news = asyncio.Event()
        keeper = Keeper(store, paths, news.set)
        marker = keeper.new_marker(job.id)
        argv = (sys.executable, "-c", source)
        launch = Launch(folder, marker, argv, {"HITUI_JOB": marker}, folder, log, 1.0)
        keeper.launch(job, launch, [])
        while not isinstance(store.job(job.id).state, Running) or not read_tail(log):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(news.wait(), 0.02)
            news.clear()
        keeper.stop(store.job(job.id), StopWish(StopAim.REQUEUE, "its GPU is lost"))
        while store.job(job.id).active:
            await asyncio.wait_for(news.wait(), 30)
            news.clear()
        await keeper.close()
        return store.job(job.id)

    state = asyncio.run(scene()).state
    assert isinstance(state, Ended)
    assert (state.ending, state.signal) == (Ending.REQUEUED, signal.SIGTERM)
    assert [(found.replaces, found.state) for found in store.active()] == [(job.id, Queued())]
    store.close()


@one_after_the_other
def test_what_a_launcher_records_of_a_kill_for_lack_of_memory_decides(here: Control) -> None:
    bar = "print('loaded\\n  6%|▌         | 1/17 [00:38<02:51, 12.2s/it]', end='\\r', flush=True)\n"
    write_programs(here, {"large": bar + HANG}, 'retries = 2\nretry_pause = "1ms"\nquick = "0s"')
    job_id = here.submit("large")
    here.running(job_id)
    main, launcher = here.told("large", "main"), here.launcher(job_id)
    kill(here.supervisor())
    kill(main)
    eventually(lambda: not processes.alive(launcher), "the launcher has recorded the end")
    path = here.paths.job(job_id) / "exit.json"
    written = json.loads(path.read_text())
    assert (written["signal"], written["out_of_memory"]) == (signal.SIGKILL, False)
    assert 0 < written["ran"] < 60
    path.write_text(json.dumps({**written, "out_of_memory": True}))
    here.service.ensure_supervisor()
    reason = here.ended(job_id).reason
    assert reason == (
        "ended by SIGKILL; the kernel ended it for lack of memory; last in its log: loaded; not tried again: it would run out"
        " of memory again"
    )
    assert followers(here, job_id) == 0


@one_after_the_other
def test_a_job_that_the_kernel_ends_for_lack_of_memory_says_so_and_is_not_tried_again(here: Control) -> None:
    with memory_limit(64 << 20) as group:
        if group is None:
            # Without a limit nobody can run out of memory here, and a kill is no more than one.
            eat = "os.kill(os.getpid(), 9)\n"
        else:
            eat = f"pathlib.Path({str(group)!r}).write_text(str(os.getpid()))\ntaken = []\n"
            eat += "while True:\n    taken.append(b'x' * (1 << 20))\n"
        write_programs(here, {"large": STARTED + eat}, 'retries = 1\nretry_pause = "1ms"\nquick = "0s"')
        job_id = here.submit("large")
        state = here.ended(job_id)
        assert (state.ending, state.signal) == (Ending.FAILED, signal.SIGKILL)
        recorded = json.loads((here.paths.job(job_id) / "exit.json").read_text())
        assert recorded["out_of_memory"] == (group is not None)
        if group is None:
            assert "if nobody here did it, the machine ran out of memory" in state.reason
            here.ended(follower(here, job_id).id)
        else:
            assert state.reason == (
                "ended by SIGKILL; the kernel ended it for lack of memory; not tried again: it would run out of memory again"
            )
            assert followers(here, job_id) == 0
        assert len((here.output("large") / "starts").read_text().split()) == (2 if group is None else 1)
