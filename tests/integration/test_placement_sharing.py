"""Several jobs on one GPU, and several GPUs for one job, with real runner processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.domain.jobs import Ending, JobRequest, Queued, Running
from hitui.errors import LaunchError
from tests.tools.control import HEAD, Control, control, kill
from tests.tools.eventually import eventually

GIB = 2**30
FIRST = "GPU-7e570000-0000-4000-8000-000000000000"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch, gpus=1) as made:
        made.write_settings(HEAD, 'share = true\nmin_free = "25GiB"')
        yield made


def use(here: Control, pid: int, memory: int, utilization: int = 90) -> None:
    """The process uses so much of the GPU, as a driver would say; nothing with no memory."""
    file = here.gpus / "claims" / f"{pid}.json"
    if not memory:
        file.unlink()
        return
    process = processes.find_process(pid)
    assert process is not None
    beside = here.gpus / f"{pid}.new"
    claim = {"pid": pid, "start_time": process.start_time, "memory": {FIRST: memory}}
    beside.write_text(json.dumps({**claim, "utilization": utilization}))
    beside.replace(file)


def says(here: Control, job_id: int, what: str) -> None:
    def told() -> bool:
        job = next(job for job in here.client.jobs().jobs if job.id == job_id)
        assert isinstance(job.state, Queued), job
        return job.state.waits_for.endswith(what)

    eventually(told, what)


def test_small_jobs_share_a_gpu_as_far_as_its_memory_goes(here: Control) -> None:
    hanging = [here.submit(mode) for mode in ("hang", "stubborn", "daemon")]
    for job_id in hanging:
        assert here.running(job_id).gpus == (FIRST,)
    waiting = here.submit("answer")
    named = ", ".join(map(str, hanging))
    says(here, waiting, f"GPU 0 has 5 GiB beside what jobs {named} will take")
    here.client.stop(hanging[:1])
    assert here.ended(waiting).ending is Ending.SUCCEEDED


def test_what_a_job_has_taken_is_not_counted_twice_and_its_own_work_keeps_nobody_away(
    here: Control,
) -> None:
    foreign = os.getpid()
    use(here, foreign, 40 * GIB, utilization=0)
    first = here.submit("hang")
    runner = here.running(first).pid
    waiting = here.submit("answer")
    says(here, waiting, f"GPU 0 has 15 GiB beside what job {first} will take")
    use(here, runner, 30 * GIB)
    says(here, waiting, "GPU 0 has 10 GiB beside what job 1 will take")
    use(here, runner, 20 * GIB)
    says(here, waiting, "GPU 0 has 15 GiB beside what job 1 will take")
    # Of two the driver does not say whose work it is.
    use(here, foreign, GIB, utilization=0)
    says(here, waiting, "GPU 0 is 90% busy")
    use(here, foreign, 0)
    assert here.ended(waiting).ending is Ending.SUCCEEDED
    assert isinstance(here.job(first).state, Running)


def test_a_job_that_does_not_share_waits_for_the_whole_gpu_and_is_not_overtaken(here: Control) -> None:
    settings = here.root / "hitui.toml"
    text = settings.read_text()
    at = text.index('[[config]]\nname = "g/answer"\n')
    settings.write_text(text[:at] + "[[config]]\nshare = false\n" + text[at:].removeprefix("[[config]]\n"))
    first = here.submit("hang")
    here.running(first)
    alone = here.submit("answer")
    says(here, alone, f"GPU 0 is held by job {first}")
    behind = here.submit("answer2")
    says(here, behind, f"GPU 0 is kept for job {alone}")
    here.client.stop([first])
    assert here.ended(alone).ending is Ending.SUCCEEDED
    assert here.ended(behind).ending is Ending.SUCCEEDED


def test_jobs_share_across_supervisors_that_die(here: Control) -> None:
    first = here.submit("hang")
    here.running(first)
    kill(here.supervisor())
    second = here.submit("stubborn")
    assert here.running(second).gpus == (FIRST,)
    assert isinstance(here.job(first).state, Running)


def test_another_workspace_does_not_share(here: Control, tmp_path: Path) -> None:
    first = here.submit("hang")
    here.running(first)
    other = Control(tmp_path / "other", 6, 0.02)
    other.write_settings(HEAD, 'share = true\nmin_free = "25GiB"')
    try:
        waiting = other.submit("answer")
        says(other, waiting, "GPU 0 is locked by your hitui in workspace")
        here.client.stop([first])
        assert other.ended(waiting).ending is Ending.SUCCEEDED
    finally:
        other.client.shut_down()


def test_a_job_gets_as_many_gpus_as_its_runner_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with control(tmp_path, monkeypatch, gpus=3) as here:
        here.write_settings(HEAD, "gpus = 2")
        first = here.submit("hang")
        assert len(set(here.running(first).gpus)) == 2
        waiting = here.submit("answer")
        says(here, waiting, f"GPU 0, 1 are held by job {first}; GPU 2 is free")
        named = here.service.submit([JobRequest("g/answer2", gpus=("2",))])[0].id
        says(here, named, f"GPU 2 is kept for job {waiting}")
        here.client.stop([first])
        assert here.ended(waiting).ending is Ending.SUCCEEDED
        assert here.ended(named).ending is Ending.SUCCEEDED
        here.write_settings(HEAD, "gpus = 4")
        with pytest.raises(LaunchError, match=r"4 GPUs with 20 GiB in all are needed .*; there are 3"):
            here.submit("hang")
