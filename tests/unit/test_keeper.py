"""What a keeper makes of what an executor tells it; the executor does as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.adapters.executors.base import ExitRecord, Launch, RunnerRecord, Standing
from hitui.adapters.processes import Process
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Queued, Running
from hitui.domain.schedule import Group
from hitui.domain.succession import RetryRules, StopAim, StopWish, Toll
from hitui.paths import RuntimePaths
from hitui.supervisor import keeper as keeping
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store

RUNNER = RunnerRecord(Process(77, 1), 1000.0)


def ended_with(
    status: int | None, *, signal: int | None = None, outlived: int = 0, left: int = 0, ran: float = 100.0
) -> ExitRecord:
    return ExitRecord(status, signal, None, 1100.0, None, outlived, left, ran_seconds=ran)


class Told:
    """Executor and launched job in one."""

    marker = None

    def __init__(self) -> None:
        self.runner: RunnerRecord | None = RUNNER
        self.record: ExitRecord | None = None
        self.gives_way = True
        self.over = asyncio.Event()
        self.asked: list[str] = []

    def start(self, launch: Launch, locks: Sequence[int]) -> Told:
        return self

    def attach(self, folder: Path, grace: float) -> Told:
        return self

    def standing(self, folder: Path) -> Standing:
        return Standing.GONE

    def recorded(self, folder: Path) -> ExitRecord | None:
        return self.record

    async def begun(self) -> RunnerRecord | None:
        return self.runner

    async def ended(self) -> ExitRecord | None:
        await self.over.wait()
        return self.record

    async def give_way(self) -> bool:
        self.asked.append("give way")
        return self.gives_way

    async def stop(self, *, now: bool = False) -> None:
        self.asked.append("stop now" if now else "stop")


class Scene:
    """One job, and the keeper of it."""

    def __init__(self, folder: Path) -> None:
        self.paths = RuntimePaths(folder / "state", folder / "runtime")
        self.paths.state.mkdir()
        self.store = Store(self.paths.database)
        self.told: Told
        self.keeper = Keeper(self.store, self.paths, lambda: None, lambda configs: RetryRules(retries=0))
        self.id = self.store.submit([JobRequest("a")], {})[0].id
        self.paths.job(self.id).mkdir(parents=True)

    @property
    def job(self) -> Job:
        return self.store.job(self.id)

    def begin(self, boot: str) -> Job:
        folder = self.paths.job(self.id)
        return self.store.start(
            self.id, (), boot, log=folder / "log", events=folder / "events", task_count=None
        )

    def launch(self) -> None:
        folder = self.paths.job(self.id)
        launch = Launch(folder, "x:1", ("true",), {}, folder, folder / "log", 1.0)
        self.keeper.launch(self.begin(processes.boot_id()), launch, [])

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(3000):
            if condition():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it did not come about")

    async def end(self, record: ExitRecord | None) -> Ended:
        self.told.record = record
        self.told.over.set()
        await self.until(lambda: isinstance(self.job.state, Ended))
        assert isinstance(self.job.state, Ended)
        return self.job.state

    def play(self, act: Callable[[], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            self.told = Told()
            await act()
            await self.keeper.close()

        asyncio.run(all_of_it())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path)
    monkeypatch.setattr(keeping, "open_executor", lambda name: made.told)
    yield made
    made.store.close()


def test_only_a_second_stop_for_good_has_no_grace(scene: Scene) -> None:
    async def act() -> None:
        scene.launch()
        await scene.until(lambda: isinstance(scene.job.state, Running))
        scene.keeper.stop(scene.job, StopWish(StopAim.PAUSE, "lunch"))
        scene.keeper.stop(scene.job)
        scene.keeper.stop(scene.job)
        await scene.until(lambda: len(scene.told.asked) == 3)
        assert scene.told.asked == ["stop", "stop", "stop now"]
        assert (await scene.end(ended_with(143))).ending is Ending.STOPPED

    scene.play(act)


@pytest.mark.parametrize(
    ("gives_way", "grace", "ends", "asked"),
    [
        (True, 60.0, False, ["give way"]),
        (True, 0.01, False, ["give way", "stop"]),
        (True, 0.01, True, ["give way"]),
        (False, 60.0, False, ["give way", "stop"]),
    ],
)
def test_what_is_to_give_way_has_a_while_for_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, gives_way: bool, grace: float, ends: bool, asked: list[str]
) -> None:
    monkeypatch.setattr(keeping, "STOP_GRACE", grace)

    async def act() -> None:
        scene.told.gives_way = gives_way
        scene.launch()
        await scene.until(lambda: isinstance(scene.job.state, Running))
        scene.keeper.stop(scene.job, StopWish(StopAim.REQUEUE, "its GPU is lost"))
        if ends:
            await scene.end(ended_with(75))
        await scene.until(lambda: len(scene.told.asked) >= len(asked))
        await asyncio.sleep(0.05)
        assert scene.told.asked == asked

    scene.play(act)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            ended_with(0, outlived=2),
            "ended 2 of its processes that outlived the runner; a runner must not go into the background",
        ),
        (ended_with(1, outlived=2), "exit status 1"),
        (ended_with(0, left=1), "1 of its processes hangs in the kernel"),
        (
            ExitRecord(None, 9, None, 1100.0, None, 0, 0, out_of_memory=True),
            "ended by SIGKILL; the kernel ended it for lack of memory",
        ),
        (ended_with(1, left=2), "exit status 1; 2 of its processes hang in the kernel"),
        (None, "launcher and runner were killed; what was answered is kept"),
    ],
)
def test_what_is_said_of_an_end(scene: Scene, record: ExitRecord | None, reason: str) -> None:
    async def act() -> None:
        scene.launch()
        assert (await scene.end(record)).reason == reason

    scene.play(act)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("", "exit status 9: it said so"),
        ('{"event": "end", "exit": 0}', None),
        ('{"event": "end", "exit": 3}', "exit status 3: it said so"),
    ],
)
def test_what_its_runner_said_last_tells_what_no_launcher_recorded(
    scene: Scene, end: str, reason: str | None
) -> None:
    folder = scene.paths.job(scene.id)
    (folder / "log").write_text("it said so\n")
    (folder / "events").write_text(f"{end}\n")

    async def act() -> None:
        scene.launch()
        ended = await scene.end(None if end else ended_with(9))
        assert ended.ending is (Ending.FAILED if reason else Ending.SUCCEEDED)
        assert ended.reason == (reason or "")

    scene.play(act)


@pytest.mark.parametrize(
    ("aim", "record", "ending", "reason"),
    [
        (StopAim.PAUSE, ended_with(143), Ending.STOPPED, "paused: lunch"),
        (StopAim.PAUSE, None, Ending.STOPPED, "paused: lunch"),
        (StopAim.PAUSE, ended_with(0), Ending.SUCCEEDED, ""),
        (StopAim.REQUEUE, ended_with(143), Ending.REQUEUED, "lunch; it goes on elsewhere"),
        (StopAim.REQUEUE, ended_with(0), Ending.SUCCEEDED, ""),
        (StopAim.END, ended_with(143), Ending.STOPPED, "on request"),
        (StopAim.END, None, Ending.STOPPED, "on request"),
    ],
)
def test_a_job_goes_on_only_where_it_was_stopped_for_that(
    scene: Scene, aim: StopAim, record: ExitRecord | None, ending: Ending, reason: str
) -> None:
    async def act() -> None:
        scene.launch()
        await scene.until(lambda: isinstance(scene.job.state, Running))
        scene.keeper.stop(scene.job, StopWish(aim, "lunch"))
        ended = await scene.end(record)
        assert (ended.ending, ended.reason) == (ending, reason)
        goes_on = aim is not StopAim.END and ending is not Ending.SUCCEEDED
        assert (scene.job.successor is not None) == goes_on
        queued = [(job.replaces, job.schedule.held) for job in scene.store.queued()]
        assert queued == ([(scene.id, "lunch" if aim is StopAim.PAUSE else "")] if goes_on else [])

    scene.play(act)


@pytest.mark.parametrize(
    ("record", "stopped", "ending", "status"),
    [
        (ended_with(143), False, Ending.LOST, None),
        (ended_with(None, signal=15), False, Ending.LOST, None),
        (ended_with(1), False, Ending.FAILED, 1),
        (ended_with(0), False, Ending.SUCCEEDED, 0),
        (ended_with(143), True, Ending.STOPPED, 143),
    ],
)
def test_what_the_machine_ended_as_it_went_down_was_interrupted_unless_someone_had_asked_for_it(
    scene: Scene, record: ExitRecord, stopped: bool, ending: Ending, status: int | None
) -> None:
    async def act() -> None:
        scene.begin("another boot")
        if stopped:
            scene.store.stopping(scene.id)
        scene.told.record = record
        await scene.keeper.recover()
        assert isinstance(scene.job.state, Ended)
        assert (scene.job.state.ending, scene.job.state.exit_status) == (ending, status)

    scene.play(act)


def test_what_lives_was_started_by_another_machine_and_not_before_a_restart_of_this_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act() -> None:
        monkeypatch.setattr(scene.told, "standing", lambda folder: Standing.LIVES)
        scene.begin("another boot")
        await scene.keeper.recover()
        await scene.until(lambda: isinstance(scene.job.state, Running))
        assert (await scene.end(ended_with(0))).ending is Ending.SUCCEEDED

    scene.play(act)


@pytest.mark.parametrize(("errors", "died"), [(5, True), (4, False)])
def test_a_job_that_ended_at_once_and_answered_nothing_counts_as_dead(
    scene: Scene, errors: int, died: bool
) -> None:
    line = f'{{"event": "progress", "done": 5, "total": 9, "errors": {errors}}}\n'
    (scene.paths.job(scene.id) / "events").write_text(line)

    async def act() -> None:
        scene.launch()
        await scene.end(ended_with(1, ran=2.0))
        assert scene.store.quick_deaths("default") == ((scene.id,) if died else ())

    scene.play(act)


@pytest.mark.parametrize("paused", ["", "lunch"])
def test_why_a_group_was_paused_is_not_forgotten_when_its_jobs_die(scene: Scene, paused: str) -> None:
    before, _ = scene.store.submit([JobRequest("b"), JobRequest("c")], {})
    scene.store.end(before.id, End(Ending.FAILED), None, Toll((before.id,)))
    scene.store.set_group(Group("default", paused=paused))

    async def act() -> None:
        scene.launch()
        await scene.end(ended_with(1, ran=2.0))
        reason = f"#{before.id} and #{scene.id} failed at their start"
        assert scene.store.queue().group("default").paused == (paused or reason)

    scene.play(act)


def test_a_job_whose_launcher_dies_each_time_is_launched_three_times(scene: Scene) -> None:
    (scene.paths.job(scene.id) / "log").write_text("no room for a fork\n")

    async def act() -> None:
        scene.told.runner = None
        scene.told.over.set()
        for _ in range(2):
            scene.launch()
            await scene.until(lambda: isinstance(scene.job.state, Queued))
        scene.launch()
        state = await scene.end(None)
        assert (state.ending, state.reason) == (
            Ending.NOT_STARTED,
            "its launcher died 3 times: no room for a fork",
        )

    scene.play(act)


def test_a_job_that_cannot_be_started_for_a_fault_of_ours_goes_back_into_the_queue(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an upgrade has replaced the files under the supervisor: it was `starting`, and held its GPUs, for ever."""
    monkeypatch.setattr(keeping, "RETRY_SECONDS", 0.01)

    async def act() -> None:
        def gone(name: str) -> Told:
            raise ModuleNotFoundError(name)

        with monkeypatch.context() as patch:
            patch.setattr(keeping, "open_executor", gone)
            scene.launch()
            await scene.until(lambda: isinstance(scene.job.state, Queued))
        scene.launch()
        assert (await scene.end(ended_with(0))).ending is Ending.SUCCEEDED

    scene.play(act)
