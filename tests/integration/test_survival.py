"""What becomes of jobs that crash, are paused, or whose supervisor or machine goes down under them."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.adapters.events import read_tail
from hitui.adapters.executors.base import Launch
from hitui.adapters.processes import Process
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Queued, Running
from hitui.domain.schedule import Schedule
from hitui.domain.succession import StopAim, StopWish
from hitui.errors import LaunchError
from hitui.paths import RuntimePaths
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.store import Store
from tests.tools import many_supervisors, small_disk
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.programs import write_programs

HANG = "say('main')\nwait()\n"
STARTED = "(output / 'starts').open('a').write(f'{time.time()}\\n')\n"
CRASH = STARTED + "sys.exit('KeyError: layer 7')\n"
CRASH_ONCE = STARTED + "if len((output / 'starts').read_text().split()) == 1:\n    sys.exit(3)\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def follower(here: Control, job_id: int) -> Job:
    """The job that took the place of one that has ended."""
    here.ended(job_id)
    found = here.client.last_known(None).successor_of(job_id)
    assert found is not None, here.job(job_id)
    return found


def waits(here: Control, job_id: int, start: str) -> None:
    """Returns once a queued job says that it waits for something that starts so."""
    eventually(lambda: here.waits_for(job_id).startswith(start), f"job {job_id} waits for {start}")


def followers(here: Control, job_id: int) -> int:
    return sum(job.replaces == job_id for job in here.client.last_known(None).jobs)


def revive(here: Control) -> None:
    kill(here.supervisor())
    here.service.ensure_supervisor()


def test_a_crash_is_tried_again_after_pauses_that_grow_and_then_left_with_its_reason(here: Control) -> None:
    write_programs(here, {"crash": CRASH}, 'retries = 2\nretry_pause = "0.1s"\nquick = "0s"')
    first = here.submit("crash")
    second = follower(here, first)
    third = follower(here, second.id)
    state = here.ended(third.id)
    assert (second.attempt, third.attempt) == (2, 3)
    assert (second.schedule.pause, third.schedule.pause) == (0.1, 0.4)
    assert here.ended(first).reason.endswith("KeyError: layer 7; tried again in 0 s, attempt 2 of 3")
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


def change(here: Control, statement: str, *values: object) -> None:
    """Changes the store while no supervisor runs."""
    store = Store(here.paths.database)
    store._database.execute(statement, values)
    store.close()


QUICK = 'retries = 0\nquick = "1m"'


@pytest.mark.parametrize("killed", [False, True])
def test_two_jobs_that_die_at_once_stop_their_group_until_it_is_resumed(here: Control, killed: bool) -> None:
    write_programs(
        here,
        {"one": "sys.exit('no module named torch')", "two": HANG + CRASH, "three": HANG, "other": HANG},
        QUICK,
    )
    here.client.start(here.root)
    here.client.change_queue("limit", group="eval", limit=1)
    evals = [
        here.service.submit([JobRequest(f"g/{name}")], Schedule(group="eval"))[0].id
        for name in ("one", "two", "three")
    ]
    assert here.ended(evals[0]).ending is Ending.FAILED
    here.running(evals[1])
    main = here.told("two", "main")
    if killed:
        revive(here)
    kill(main)
    here.ended(evals[1])
    reason = eventually(lambda: here.client.last_known().queue.group("eval").paused, "the group is paused")
    assert reason.startswith(f"#{evals[0]} and #{evals[1]} died within 60 s")
    waits(here, evals[2], "group eval to be resumed: #")
    # Other groups go on.
    here.running(here.submit("other"))
    if killed:
        revive(here)
    assert isinstance(here.job(evals[2]).state, Queued)
    here.client.change_queue("resume", group="eval")
    here.running(evals[2])
    # The count begins anew: one more death does not stop it.
    kill(here.told("three", "main"))
    here.ended(evals[2])
    assert here.client.last_known().queue.group("eval").paused == ""


def test_no_group_is_stopped_in_which_nothing_else_waits(here: Control) -> None:
    write_programs(here, {"one": CRASH, "two": CRASH}, 'retries = 1\nretry_pause = "1ms"')
    first = here.submit("one")
    second = here.submit("two")
    for job_id in (first, second):
        again = follower(here, job_id)
        assert here.ended(again.id).reason.endswith("not tried again: it was attempt 2 of 2")
    assert here.client.last_known().queue.groups == ()


def test_a_job_that_works_between_two_deaths_keeps_its_group_going(here: Control) -> None:
    write_programs(here, {"one": CRASH, "good": "", "two": CRASH, "last": HANG}, QUICK)
    here.client.start(here.root)
    here.client.change_queue("limit", group="default", limit=1)
    jobs = [here.submit(name) for name in ("one", "good", "two", "last")]
    here.running(jobs[-1])
    endings = [here.ended(job_id).ending for job_id in jobs[:-1]]
    assert endings == [Ending.FAILED, Ending.SUCCEEDED, Ending.FAILED]
    assert here.client.last_known().queue.group("default").paused == ""


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


def restart_the_machine(here: Control, job_id: int, *, kill_all: bool = True) -> None:
    """Ends what runs as a power cut does, and makes the job one of another boot."""
    launcher = here.launcher(job_id)
    runner = here.running(job_id).pid
    kill(here.supervisor())
    if kill_all:
        kill(launcher)
        found = processes.find_process(runner)
        assert found is not None
        kill(found)
    change(here, "UPDATE jobs SET boot = 'before' WHERE id = ?", job_id)


@pytest.mark.parametrize(
    ("queue", "keys", "resumes"),
    [
        ("", "", False),
        ("resume = true", "", True),
        ("", "resume = true", True),
        ("resume = true", "resume = false", False),
    ],
)
def test_what_a_restart_of_the_machine_interrupted_goes_on_where_that_is_asked_for(
    here: Control, queue: str, keys: str, resumes: bool
) -> None:
    write_programs(here, {"long": HANG, "next": "pass"}, queue, {"long": keys})
    job_id = here.submit("long", gpus=("0",))
    here.running(job_id)
    waiting = here.submit("next", gpus=("0",))
    here.waits_for(waiting)
    restart_the_machine(here, job_id)
    here.service.ensure_supervisor()
    state = here.ended(job_id)
    assert state.ending is Ending.LOST
    assert state.reason.startswith("interrupted: the machine was restarted while it ran")
    assert followers(here, job_id) == int(resumes)
    if resumes:
        assert here.running(follower(here, job_id).id).gpus == here.job(job_id).gpus
    else:
        assert here.ended(waiting).ending is Ending.SUCCEEDED


def test_a_runner_that_the_machine_ended_on_its_way_down_was_interrupted_too(here: Control) -> None:
    source = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n" + HANG
    write_programs(here, {"long": source}, "resume = true")
    job_id = here.submit("long")
    here.running(job_id)
    main, launcher = here.told("long", "main"), here.launcher(job_id)
    kill(here.supervisor())
    processes.send(main, signal.SIGTERM)
    eventually(lambda: not processes.alive(launcher), "the launcher has recorded the end")
    change(here, "UPDATE jobs SET boot = 'before' WHERE id = ?", job_id)
    here.service.ensure_supervisor()
    assert here.ended(job_id).reason.startswith("interrupted: ")
    here.running(follower(here, job_id).id)


def test_a_pid_that_someone_else_has_by_now_is_neither_followed_nor_ended(here: Control) -> None:
    write_programs(here, {"long": HANG, "innocent": HANG})
    job_id = here.submit("long", gpus=("0",))
    here.running(job_id)
    innocent = here.submit("innocent", gpus=("1",))
    other = here.told("innocent", "main")
    here.running(innocent)
    here.told("long", "main")
    supervisor, launcher = here.supervisor(), here.launcher(job_id)
    runner = processes.find_process(here.running(job_id).pid)
    assert runner is not None
    for process in (supervisor, launcher, runner):
        kill(process)
    for name in ("launcher.json", "runner.json"):
        path = here.paths.job(job_id) / name
        written = json.loads(path.read_text())
        # The pid of the other job's runner, the start time of what had it before.
        path.write_text(json.dumps({**written, "pid": other.pid}))
    here.service.ensure_supervisor()
    assert here.ended(job_id).ending is Ending.LOST
    here.client.stop([job_id])
    assert processes.alive(other)
    assert isinstance(here.job(innocent).state, Running)
    assert isinstance(here.job(job_id).state, Ended)


def test_of_those_that_are_started_at_the_same_moment_one_is_the_supervisor(here: Control) -> None:
    """A hundred starts, ten at a time."""
    folder = Path(many_supervisors.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "tests.tools.many_supervisors", str(here.root), "10", "10"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    rounds = json.loads(run.stdout)
    assert len(rounds) == 10
    winners = set()
    for said in rounds:
        assert len(said) == 10
        (line,) = set(said)
        assert re.fullmatch(r"ready \d+ 0", line)
        winners.add(line)
    assert len(winners) == 10
    assert not here.client.answers()


FILL = "x" * 1000


def queue_until_full(store: Store) -> list[int]:
    """Ids of the jobs that the store took, before it took no more."""
    taken: list[int] = []
    with suppress(sqlite3.OperationalError):
        for number in range(2000):
            taken += [job.id for job in store.submit([JobRequest(f"c{number}", ids=(FILL,))], {})]
    return taken


def test_on_a_full_disk_the_last_good_state_is_there(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store(path)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages + 40}")
    taken = queue_until_full(store)
    assert 10 < len(taken) < 2000
    kept = store.jobs()
    assert [job.id for job in kept] == taken
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.submit([JobRequest(f"d{number}", ids=(FILL,)) for number in range(50)], {})
    assert store.jobs() == kept
    # Nobody has closed it: the next supervisor opens what a killed one left.
    beside = Store(path)
    assert beside.jobs() == kept
    beside.check()
    # With room again it goes on.
    assert beside.submit([JobRequest("more", ids=(FILL,))], {})[0].id > taken[-1]
    beside.close()
    store.close()


ON_A_SMALL_DISK = """
import json, os, sys
from pathlib import Path
from hitui.domain.jobs import JobRequest
from hitui.supervisor.store import Store
from tests.integration.test_survival import queue_until_full
folder = Path(sys.argv[1])
(folder / "ballast").write_bytes(bytes(200_000))
read, write = os.pipe()
if os.fork() == 0:
    # It closes nothing, as a supervisor that is killed.
    taken = queue_until_full(Store(folder / "state.db"))
    os.write(write, json.dumps(taken).encode())
    os._exit(0)
os.wait()
taken = json.loads(os.read(read, 1 << 16))
assert 10 < len(taken) < 2000, taken
store = Store(folder / "state.db")
assert [job.id for job in store.jobs()] == taken
store.check()
(folder / "ballast").unlink()
assert store.submit([JobRequest("more")], {})[0].id > taken[-1]
"""


def test_on_a_disk_that_is_full_in_earnest_too(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    program = [sys.executable, "-c", ON_A_SMALL_DISK, str(disk)]
    run = subprocess.run(
        [sys.executable, small_disk.__file__, str(disk), "1000000", *program],
        cwd=Path(small_disk.__file__).parents[2],
        capture_output=True,
        text=True,
    )
    if run.returncode == small_disk.NOT_ALLOWED:
        pytest.skip("mounts are not allowed here")
    assert run.returncode == 0, run.stderr


@contextmanager
def no_room_for(process: Process) -> Iterator[None]:
    """Every write of this process to a file fails, as on a full disk."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_pause_on_a_full_disk_is_one_though_the_job_ends_before_there_is_room(here: Control) -> None:
    write_programs(here, {"long": HANG})
    job_id = here.submit("long")
    here.running(job_id)
    main = here.told("long", "main")
    with no_room_for(here.supervisor()):
        here.client.change_queue("pause", jobs=[job_id], reason="lunch")
        eventually(lambda: not processes.alive(main), "the runner has ended")
    assert follower(here, job_id).schedule.held == "lunch"


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
        marker = keeper.marker(job.id)
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


def test_programs_that_cannot_be_executed_do_not_burn_through_their_group(here: Control) -> None:
    names = ("one", "two", "three", "four")
    write_programs(here, dict.fromkeys(names, ""))
    for path in (here.root.parent / "programs").iterdir():
        path.write_text("#!/no/such/interpreter\n")
        path.chmod(0o755)
    settings = here.root / "hitui.toml"
    settings.write_text(settings.read_text().replace(f'["{sys.executable}", ', "["))
    here.client.start(here.root)
    here.client.change_queue("limit", group="default", limit=1)
    jobs = [here.submit(name) for name in names]
    assert [here.ended(job_id).ending for job_id in jobs[:2]] == [Ending.NOT_STARTED] * 2
    waits(here, jobs[2], f"group default to be resumed: #{jobs[0]} and #{jobs[1]} died")
    assert [type(here.job(job_id).state) for job_id in jobs[2:]] == [Queued, Queued]


def test_what_a_launcher_records_of_a_kill_for_lack_of_memory_decides(here: Control) -> None:
    write_programs(here, {"large": HANG}, 'retries = 2\nretry_pause = "1ms"\nquick = "0s"')
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
        "ended by SIGKILL; the machine ran out of memory; not tried again: it would run out of memory again"
    )
    assert followers(here, job_id) == 0
