"""kill -9 of supervisor, launcher and runner, one by one and together; stops that have to insist."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.adapters.processes import Process
from hitui.domain.jobs import Ended, Ending, Queued, Running, Starting
from hitui.supervisor.store import Store
from tests.tools.commands import typed
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.programs import write_programs
from tests.tools.survival import HANG


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def gone(process: Process) -> bool:
    return not processes.alive(process)


def test_a_killed_supervisor_finds_its_job_again(here: Control) -> None:
    job_id = here.submit("hang")
    before = here.running(job_id)
    kill(here.supervisor())
    assert here.client.last_known().jobs[0].state == before
    here.service.ensure_supervisor()
    assert here.running(job_id) == before
    here.client.stop([job_id])
    state = here.ended(job_id)
    assert (state.ending, state.signal) == (Ending.STOPPED, signal.SIGTERM)


def test_a_job_that_ends_while_no_supervisor_lives_is_recorded(here: Control) -> None:
    job_id = here.submit("hang")
    runner = here.told("hang", "main")
    here.running(job_id)
    launcher = here.launcher(job_id)
    kill(here.supervisor())
    kill(runner)
    eventually(lambda: gone(launcher), "the launcher has ended")
    here.service.ensure_supervisor()
    state = here.ended(job_id)
    assert (state.ending, state.signal) == (Ending.FAILED, signal.SIGKILL)
    assert "SIGKILL" in state.reason


def test_a_runner_outlives_its_launcher_and_keeps_its_gpu(here: Control) -> None:
    job_id = here.submit("hang", gpus=("0",))
    runner = here.told("hang", "main")
    here.running(job_id)
    kill(here.launcher(job_id))
    waiting = here.submit("answer", gpus=("0",))
    assert here.waits_for(waiting).endswith(f"GPU 0 is held by job {job_id}")
    assert processes.alive(runner)
    kill(here.supervisor())
    here.service.ensure_supervisor()
    assert here.running(job_id).pid == runner.pid
    here.client.stop([job_id])
    assert here.ended(job_id).ending is Ending.STOPPED
    assert gone(runner)
    assert here.ended(waiting).ending is Ending.SUCCEEDED


def test_a_runner_that_ends_well_without_its_launcher_is_known_by_its_end_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control(tmp_path, monkeypatch, seconds=0.2) as here:
        job_id = here.submit("answer")
        here.running(job_id)
        kill(here.launcher(job_id))
        state = here.ended(job_id)
        assert (state.ending, state.exit_status) == (Ending.SUCCEEDED, 0)
        assert here.answered("answer") == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("supervised", [True, False])
def test_launcher_and_runner_killed_together_are_lost_and_run_again(here: Control, supervised: bool) -> None:
    job_id = here.submit("hang")
    runner = here.told("hang", "main")
    here.running(job_id)
    launcher = here.launcher(job_id)
    if not supervised:
        kill(here.supervisor())
    kill(launcher)
    kill(runner)
    here.service.ensure_supervisor()
    state = here.ended(job_id)
    assert state.ending is Ending.LOST
    assert "killed" in state.reason
    (here.output("hang") / "main.pid").unlink()
    again = here.submit("hang")
    assert here.told("hang", "main").pid == here.running(again).pid


def test_what_was_killed_with_the_supervisor_is_run_again_by_a_rerun_of_all(here: Control) -> None:
    """As cron does every night, while nobody opens the screen."""
    write_programs(here, {"long": HANG}, queue="retries = 0")
    job_id = here.submit("long")
    main = here.told("long", "main")
    here.running(job_id)
    for process in (here.supervisor(), here.launcher(job_id), main):
        kill(process)
    done = typed(here, "rerun", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"job {job_id + 1}: g/long, 6 tasks\n"
    assert here.ended(job_id).ending is Ending.LOST


def test_nobody_is_told_that_a_job_runs_which_was_killed_with_the_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control(tmp_path, monkeypatch, seconds=60.0) as here:
        jobs = [here.submit("hang", gpus=("0",)), here.submit("answer", gpus=("1",))]
        runners = [processes.find_process(here.running(job_id).pid) for job_id in jobs]
        for process in (here.supervisor(), *map(here.launcher, jobs), *runners):
            assert process is not None
            kill(process)
        here.service.ensure_supervisor()
        states = {job.id: job.state for job in here.client.jobs().jobs}
        assert [type(states[job_id]) for job_id in jobs] == [Ended, Ended]


def test_what_a_killed_runner_leaves_is_ended_before_its_gpu_is_free(here: Control) -> None:
    job_id = here.submit("stubborn", gpus=("0",))
    main, child = here.told("stubborn", "main"), here.told("stubborn", "child")
    here.running(job_id)
    launcher = here.launcher(job_id)
    waiting = here.submit("answer", gpus=("0",))
    kill(launcher)
    kill(main)
    assert here.ended(waiting).ending is Ending.SUCCEEDED
    assert gone(child)
    assert here.ended(job_id).ending is Ending.LOST


def test_asked_twice_a_stop_has_no_grace(here: Control) -> None:
    job_id = here.submit("stubborn")
    main, child = here.told("stubborn", "main"), here.told("stubborn", "child")
    here.running(job_id)
    here.client.stop([job_id])
    here.client.stop([job_id])
    state = here.ended(job_id)
    assert state.signal == signal.SIGKILL
    assert gone(main)
    assert gone(child)


def test_a_stop_ends_a_process_that_made_itself_a_daemon(here: Control) -> None:
    job_id = here.submit("daemon")
    daemon = here.told("daemon", "daemon")
    here.running(job_id)
    here.client.stop([job_id])
    here.ended(job_id)
    assert gone(daemon)


def test_what_a_runner_leaves_behind_is_ended_with_it(here: Control) -> None:
    job_id = here.submit("leave")
    child = here.told("leave", "child")
    state = here.ended(job_id)
    assert state.ending is Ending.SUCCEEDED
    assert state.reason == (
        "ended 1 of its processes that outlived the runner; a runner must not go into the background"
    )
    assert gone(child)


def test_a_stop_that_the_supervisor_did_not_outlive_is_carried_on(here: Control) -> None:
    job_id = here.submit("hang")
    main = here.told("hang", "main")
    here.running(job_id)
    launcher = here.launcher(job_id)
    # Nothing comes of the wish before both are killed.
    processes.send(launcher, signal.SIGSTOP)
    here.client.stop([job_id])
    kill(here.supervisor())
    kill(launcher)
    assert not gone(main)
    here.service.ensure_supervisor()
    assert here.ended(job_id).ending is Ending.STOPPED
    assert gone(main)


def test_claimed_but_never_executed_is_queued_again(here: Control) -> None:
    """The state that a kill between the claim and the launcher leaves."""
    job_id = here.submit("answer", gpus=("0",))
    assert here.ended(job_id)
    here.client.shut_down()
    store = Store(here.paths.database)
    job = store.submit([here.job(job_id).request], {})[0]
    uuid = "GPU-7e570000-0000-4000-8000-000000000000"
    log, events = here.paths.job(job.id) / "log", here.paths.job(job.id) / "events.jsonl"
    store.start(job.id, [uuid], processes.boot_id(), log=log, events=events, task_count=6)
    assert isinstance(store.job(job.id).state, Starting)
    store.close()
    (here.output("answer") / "results.jsonl").unlink()
    here.service.ensure_supervisor()
    assert here.ended(job.id).ending is Ending.SUCCEEDED
    assert here.answered("answer") == [1, 2, 3, 4, 5, 6]


def test_after_a_restart_of_the_machine_what_ran_is_lost_and_what_waited_still_waits(
    here: Control,
) -> None:
    here.service.ensure_supervisor()
    running = here.submit("hang", gpus=("0",))
    here.running(running)
    waiting = here.submit("answer", gpus=("0",))
    here.waits_for(waiting)
    runner, launcher, supervisor = here.told("hang", "main"), here.launcher(running), here.supervisor()
    for process in (supervisor, launcher, runner):
        kill(process)
    store = Store(here.paths.database)
    store._database.execute("UPDATE jobs SET boot = 'before' WHERE id = ?", (running,))
    assert isinstance(store.job(running).state, Running)
    assert isinstance(store.job(waiting).state, Queued)
    store.close()
    here.service.ensure_supervisor()
    state = here.ended(running)
    assert state.ending is Ending.LOST
    assert state.reason.startswith("interrupted: the machine was restarted")
    assert here.ended(waiting).ending is Ending.SUCCEEDED


def test_a_job_outlives_the_first_one_of_a_state_that_begins_anew(here: Control) -> None:
    """Both are number 1 of one workspace, and what ends takes along what is left of it."""
    job_id = here.submit("hang")
    hangs = here.told("hang", "main")
    here.running(job_id)
    launcher = here.launcher(job_id)
    kill(here.supervisor())
    shutil.rmtree(here.paths.state)
    try:
        other = here.submit("answer2")
        assert other == job_id
        assert here.ended(other).ending is Ending.SUCCEEDED
        assert processes.alive(hangs)
    finally:
        processes.send(launcher, signal.SIGTERM)
        eventually(lambda: not processes.alive(launcher), "it has ended")
    assert not processes.alive(hangs)


def test_a_job_whose_folder_was_removed_is_lost_and_the_rest_goes_on(here: Control) -> None:
    job_id = here.submit("hang", gpus=("0",))
    runner = here.told("hang", "main")
    here.running(job_id)
    waiting = here.submit("answer", gpus=("0",))
    launcher = here.launcher(job_id)
    for process in (here.supervisor(), launcher, runner):
        kill(process)
    shutil.rmtree(here.paths.job(job_id))
    here.service.ensure_supervisor()
    state = here.ended(job_id)
    assert state.ending is Ending.LOST
    assert "every trace of it was removed" in state.reason
    assert here.ended(waiting).ending is Ending.SUCCEEDED


def test_a_launcher_waits_until_it_can_record_the_end(here: Control) -> None:
    job_id = here.submit("hang")
    here.running(job_id)
    launcher = here.launcher(job_id)
    runner = here.told("hang", "main")
    in_the_way = here.paths.job(job_id) / f"exit.json.{launcher.pid}"
    in_the_way.mkdir()
    here.client.stop([job_id])
    eventually(lambda: gone(runner), "the runner has ended")
    assert not gone(launcher)
    in_the_way.rmdir()
    state = here.ended(job_id)
    assert (state.ending, state.signal) == (Ending.STOPPED, signal.SIGTERM)
