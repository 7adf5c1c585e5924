"""What becomes of jobs whose machine was restarted, and of pids that others have by then."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.domain.jobs import Ended, Ending, Running
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.programs import write_programs
from tests.tools.survival import HANG, change, follower, followers, waits


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


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


def test_a_job_that_brings_the_machine_down_each_time_is_paused_in_the_end(here: Control) -> None:
    write_programs(here, {"heavy": HANG}, "resume = true\nretries = 2")
    job_id = here.submit("heavy")
    for attempt in (2, 3):
        here.running(job_id)
        restart_the_machine(here, job_id)
        here.service.ensure_supervisor()
        assert here.ended(job_id).reason.endswith(f"it resumes by itself, attempt {attempt} of 3")
        job_id = follower(here, job_id).id
    here.running(job_id)
    restart_the_machine(here, job_id)
    here.service.ensure_supervisor()
    state = here.ended(job_id)
    assert state.ending is Ending.LOST
    assert state.reason.endswith("paused: a restart of the machine ended attempt 3 of 3, and it may be why")
    held = follower(here, job_id)
    waits(here, held.id, "someone to resume it: a restart of the machine ended attempt 3 of 3")
    here.client.change_queue("resume", jobs=[held.id])
    here.running(held.id)


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
