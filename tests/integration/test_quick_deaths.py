"""Jobs that die at once, one after the other, stop their group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Ending, JobRequest, Queued
from hitui.domain.schedule import Schedule
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.programs import execute_themselves, write_programs
from tests.tools.survival import CRASH, HANG, follower, revive, waits

QUICK = 'retries = 0\nquick = "1m"'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


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
    assert reason.startswith(f"#{evals[0]} and #{evals[1]} failed at their start")
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


def test_programs_that_cannot_be_executed_do_not_burn_through_their_group(here: Control) -> None:
    names = ("one", "two", "three", "four")
    write_programs(here, dict.fromkeys(names, ""))
    for path in (here.root.parent / "programs").iterdir():
        path.write_text("#!/no/such/interpreter\n")
        path.chmod(0o755)
    execute_themselves(here)
    here.client.start(here.root)
    here.client.change_queue("limit", group="default", limit=1)
    jobs = [here.submit(name) for name in names]
    assert [here.ended(job_id).ending for job_id in jobs[:2]] == [Ending.NOT_STARTED] * 2
    waits(here, jobs[2], f"group default to be resumed: #{jobs[0]} and #{jobs[1]} failed at their start")
    assert [type(here.job(job_id).state) for job_id in jobs[2:]] == [Queued, Queued]


@pytest.mark.parametrize("killed", [False, True])
def test_a_setup_at_fault_is_not_tried_again_and_stops_the_group_of_those_it_would_hit_too(
    here: Control, killed: bool
) -> None:
    at_fault = "event('phase', phase='loading')\nprint('no module named torch', file=sys.stderr)\n"
    end = "event('end', done=0, errors=0, exit=78)\nsay('main')\nwait()\n" if killed else "sys.exit(78)\n"
    names = ("one", "two", "three")
    write_programs(here, dict.fromkeys(names, at_fault + end), 'retries = 2\nquick = "0s"')
    here.client.start(here.root)
    here.client.change_queue("limit", group="default", limit=1)
    jobs = [here.submit(name) for name in names]
    for name, job_id in zip(names[: 2 * killed], jobs, strict=False):
        # The launcher has no time to write down how the runner ended: its own last event line says so.
        here.running(job_id)
        main = here.told(name, "main")
        kill(here.launcher(job_id))
        kill(main)
    reason = "exit status 78: no module named torch; not tried again: it would fail the same way until its setup changes"
    for job_id in jobs[:2]:
        ended = here.ended(job_id)
        assert (ended.ending, ended.exit_status, ended.reason) == (Ending.FAILED, 78, reason)
        assert here.successor(job_id) is None
    waits(here, jobs[2], "group default to be resumed: #")
    paused = here.client.last_known().queue.group("default").paused
    assert paused == f"#{jobs[0]} and #{jobs[1]} failed at their start: no module named torch"
