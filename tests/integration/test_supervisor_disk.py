"""A state disk that takes nothing more while jobs run, and a job store that is none."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.adapters.executors.base import ExitRecord, Launch
from hitui.adapters.executors.local import LocalExecutor, LocalJob
from hitui.adapters.processes import Process
from hitui.domain.claims import Claim
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Queued, Starting, Stopping
from hitui.errors import SupervisorError
from hitui.paths import RuntimePaths
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.store import Store
from tests.tools import small_disk
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.programs import write_programs
from tests.tools.survival import HANG, follower


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


@contextmanager
def no_room_for(process: Process) -> Iterator[None]:
    """Every write of this process to a file fails, as on a full disk."""
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_jobs_that_were_stopped_on_a_full_disk_are_recorded_as_stopped(here: Control) -> None:
    asked = [here.submit("hang"), here.submit("stubborn")]
    runners = [here.running(job_id).pid for job_id in asked]
    here.told("hang", "main")
    here.told("stubborn", "main")
    with no_room_for(here.supervisor()):
        told = here.client.stop(asked)
        assert [type(job.state) for job in told] == [Stopping, Stopping]
        # It is remembered, so the second wish is one without grace.
        again = here.client.stop(asked)
        assert [type(job.state) for job in again] == [Stopping, Stopping]
        eventually(lambda: not any(map(processes.find_process, runners)), "both runners have ended")
        assert [type(job.state) for job in here.client.jobs().jobs] == [Stopping, Stopping]
    assert [here.ended(job_id).ending for job_id in asked] == [Ending.STOPPED, Ending.STOPPED]


def test_on_a_full_disk_a_stop_reaches_those_that_run_though_one_that_waits_cannot_be_ended(
    here: Control,
) -> None:
    running = here.submit("hang", gpus=("0",))
    runner = here.running(running)
    here.told("hang", "main")
    waiting = here.submit("answer", gpus=("0",))
    here.waits_for(waiting)
    with no_room_for(here.supervisor()):
        with pytest.raises(SupervisorError, match=r"state\.db: the jobs cannot be kept there"):
            here.client.stop([waiting, running])
        eventually(lambda: processes.find_process(runner.pid) is None, "the runner has ended")
        assert isinstance(here.job(waiting).state, Queued)
    assert here.ended(running).ending is Ending.STOPPED


def test_a_wish_to_stop_is_kept_as_soon_as_there_is_room(here: Control) -> None:
    job_id = here.submit("stubborn")
    main = here.told("stubborn", "main")
    here.running(job_id)
    launcher = here.launcher(job_id)
    with no_room_for(here.supervisor()):
        here.client.stop([job_id])
    eventually(lambda: isinstance(here.job(job_id).state, Stopping), "the store has it")
    kill(here.supervisor())
    kill(launcher)
    kill(main)
    here.service.ensure_supervisor()
    assert here.ended(job_id).ending is Ending.STOPPED


def test_a_pause_on_a_full_disk_is_one_though_the_job_ends_before_there_is_room(here: Control) -> None:
    write_programs(here, {"long": HANG})
    job_id = here.submit("long")
    here.running(job_id)
    main = here.told("long", "main")
    with no_room_for(here.supervisor()):
        here.client.change_queue("pause", jobs=[job_id], reason="lunch")
        eventually(lambda: not processes.alive(main), "the runner has ended")
    assert follower(here, job_id).schedule.held == "lunch"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_store_that_is_no_file_is_named(here: Control, kind: str) -> None:
    here.paths.state.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(here.paths.database)
    else:
        here.paths.database.mkdir()
    complaint = rf"^{here.paths.database}: is no file; move it away to begin anew$"
    with pytest.raises(SupervisorError, match=complaint):
        here.service.read_once()
    with pytest.raises(SupervisorError, match=complaint):
        here.service.ensure_supervisor()
    if kind == "pipe":
        here.paths.database.unlink()
    else:
        here.paths.database.rmdir()


class Kept:
    """A keeper in this process, with a store that can be made to take nothing."""

    def __init__(self, folder: Path) -> None:
        self.paths = RuntimePaths(folder / "state", folder / "runtime")
        self.paths.state.mkdir()
        self.store = Store(self.paths.database)
        self._news = asyncio.Event()
        self.keeper = Keeper(self.store, self.paths, self._news.set)
        self.refusals = 0

    def full(self, full: bool) -> None:
        self.store._database.execute(f"PRAGMA query_only = {int(full)}")

    def starting(self, config: str, boot: str | None = None) -> Job:
        """A job that is claimed and about to be launched; its folder is there."""
        (job,) = self.store.submit([JobRequest(config)], {})
        folder = self.paths.job(job.id)
        folder.mkdir(parents=True)
        log, events = folder / "log", folder / "events.jsonl"
        return self.store.start(
            job.id,
            [f"GPU-{job.id}"],
            boot or processes.boot_id(),
            log=log,
            events=events,
            task_count=None,
        )

    def launch_of(self, job: Job, *argv: str) -> Launch:
        folder = self.paths.job(job.id)
        marker = self.keeper.new_marker(job.id)
        return Launch(folder, marker, argv, {"HITUI_JOB": marker}, folder, folder / "log", 1.0)

    def refused(self) -> None:
        self.refusals += 1
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once it holds; looked at after every change and every refusal."""
        while not condition():
            await asyncio.wait_for(self._news.wait(), 30)
            self._news.clear()

    async def ended(self, job: Job) -> Ended:
        await self.until(lambda: isinstance(self.store.job(job.id).state, Ended))
        state = self.store.job(job.id).state
        assert isinstance(state, Ended)
        return state


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    monkeypatch.setattr("hitui.supervisor.keeper.RETRY_SECONDS", 0.05)
    made = Kept(tmp_path)
    monkeypatch.setattr("hitui.supervisor.keeper.note_error", made.refused)
    yield made
    made.store.close()


def test_a_job_that_cannot_be_launched_on_a_full_disk_gives_its_gpu_back_later(kept: Kept) -> None:
    async def scene() -> Ended:
        job = kept.starting("a")
        (kept.paths.job(job.id) / "spec.json").mkdir()
        kept.full(True)
        kept.keeper.launch(job, kept.launch_of(job, sys.executable), [])
        await kept.until(lambda: kept.refusals > 1)
        assert kept.store.claims() == {f"GPU-{job.id}": (Claim(job.id),)}
        kept.full(False)
        return await kept.ended(job)

    state = asyncio.run(scene())
    assert state.ending is Ending.NOT_STARTED
    assert "spec.json: Is a directory" in state.reason
    assert kept.store.claims() == {}


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_job_for_whose_process_there_is_no_room_at_this_moment_goes_back_into_the_queue(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It had waited for its GPU for a night, and was ended for good since a limit was reached for a second."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    async def scene() -> Ended:
        job = kept.starting("a")
        with monkeypatch.context() as patch:
            patch.setattr("hitui.adapters.executors.local.subprocess.Popen", refuse)
            kept.keeper.launch(job, kept.launch_of(job, sys.executable), [])
        await kept.until(lambda: isinstance(kept.store.job(job.id).state, Queued))
        assert kept.store.claims() == {}
        folder = kept.paths.job(job.id)
        again = kept.store.start(
            job.id, [], processes.boot_id(), log=folder / "log", events=folder / "events", task_count=None
        )
        kept.keeper.launch(again, kept.launch_of(again, sys.executable, "-c", ""), [])
        return await kept.ended(again)

    assert asyncio.run(scene()).ending is Ending.SUCCEEDED


def test_a_job_that_is_to_start_while_an_upgrade_replaces_the_launcher_goes_back_into_the_queue(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job that was free to start in these seconds was ended for good, since its launcher died three times."""

    async def scene() -> Ended:
        job = kept.starting("a")
        with monkeypatch.context() as patch:
            patch.setattr("hitui.adapters.executors.local.LAUNCHER", kept.paths.state / "launcher.py")
            kept.keeper.launch(job, kept.launch_of(job, sys.executable), [])
        await kept.until(lambda: isinstance(kept.store.job(job.id).state, Queued))
        folder = kept.paths.job(job.id)
        again = kept.store.start(
            job.id, [], processes.boot_id(), log=folder / "log", events=folder / "events", task_count=None
        )
        kept.keeper.launch(again, kept.launch_of(again, sys.executable, "-c", ""), [])
        return await kept.ended(again)

    assert asyncio.run(scene()).ending is Ending.SUCCEEDED


def test_a_supervisor_that_comes_back_to_a_full_disk_takes_over_what_it_can(kept: Kept) -> None:
    async def scene() -> tuple[Ended, Ended]:
        over, alive = kept.starting("over", boot="before"), kept.starting("alive")
        launched = LocalExecutor().start(
            kept.launch_of(alive, sys.executable, "-c", "import sys; sys.exit(3)"), []
        )
        await launched.begun()
        kept.full(True)
        await kept.keeper.recover()
        await kept.until(lambda: kept.refusals > 3)
        kept.full(False)
        states = await kept.ended(over), await kept.ended(alive)
        # Its other owner, which in earnest would be gone by now, must not leave a zombie.
        await launched.ended()
        await kept.keeper.close()
        return states

    over, alive = asyncio.run(scene())
    assert over.ending is Ending.LOST
    assert (alive.ending, alive.exit_status) == (Ending.FAILED, 3)


def test_a_full_disk_is_no_launcher_that_died_again(kept: Kept) -> None:
    async def scene() -> None:
        job = kept.starting("a")
        kept.full(True)
        await kept.keeper.recover()
        await kept.until(lambda: kept.refusals > 5)
        kept.full(False)
        await kept.until(lambda: not isinstance(kept.store.job(job.id).state, Starting))
        assert isinstance(kept.store.job(job.id).state, Queued)
        await kept.keeper.close()

    asyncio.run(scene())


def test_a_job_that_cannot_be_followed_for_a_moment_is_followed_on(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = LocalJob.ended

    async def ended_the_second_time(job: LocalJob) -> ExitRecord | None:
        if kept.refusals == 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return await ended(job)

    monkeypatch.setattr(LocalJob, "ended", ended_the_second_time)

    async def scene() -> Ended:
        job = kept.starting("a")
        kept.keeper.launch(job, kept.launch_of(job, sys.executable, "-c", "import sys; sys.exit(3)"), [])
        return await kept.ended(job)

    state = asyncio.run(scene())
    assert (state.ending, state.exit_status, kept.refusals) == (Ending.FAILED, 3, 1)
    assert kept.store.claims() == {}


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
from tests.integration.test_supervisor_disk import queue_until_full
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
