"""`hitui why`: each GPU has its line, and what else a job waits for."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hitui.adapters.executors.locks import lock_gpus
from hitui.cli import main
from hitui.commands.why import _locked, as_object
from hitui.commands.why import lines as lines_of
from hitui.domain.configs import Config
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running, Shard
from hitui.domain.schedule import Queue, Schedule
from hitui.domain.waits import WaitKind
from hitui.services.placing import standing_of
from hitui.services.why import LastFailure, Situation, last_failure, why_config, why_job, why_request
from hitui.settings import GpuSettings, RunnerSettings, Settings
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually

GIB = 2**30


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch, gpus=4) as made:
        yield made


def why(here: Control, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["-w", str(here.root), "why", *words]) == 0
    return capsys.readouterr().out.splitlines()


def describe_gpu(here: Control, index: int, **values: Any) -> None:
    file = here.gpus / "gpus.json"
    described = json.loads(file.read_text())
    described["gpus"][index].update(values)
    beside = file.with_name("new")
    beside.write_text(json.dumps(described))
    beside.replace(file)


def test_a_waiting_job_is_told_gpu_by_gpu(here: Control, capsys: pytest.CaptureFixture[str]) -> None:
    settings = here.root / "hitui.toml"
    settings.write_text(settings.read_text().replace('hold = "0s"', 'hold = "0s"\nexclude = [3]'))
    describe_gpu(here, 1, memory_used=68 * GIB)
    describe_gpu(here, 2, utilization=97)
    first = here.submit("hang", gpus=("0",))
    here.running(first)
    waiting = here.submit("answer")
    here.waits_for(waiting)
    told = [
        f"  GPU 0 is held by job {first}",
        "  GPU 1 has 12 GiB free of the 20 GiB it needs",
        "  GPU 2 is 97% busy",
        "  GPU 3 is excluded",
    ]
    head = f"job {waiting} (g/answer): queued, waits for 20 GiB free on one GPU"
    assert why(here, capsys, "g/answer") == [head, *told]
    assert why(here, capsys, f"#{waiting}") == [head, *told]
    assert why(here, capsys, "answer2") == ["g/answer2: would wait for 20 GiB free on one GPU", *told]
    assert why(here, capsys, str(first)) == [f"job {first} (g/hang): running on GPU 0"]


def test_a_config_without_a_job_says_where_it_would_start(
    here: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    describe_gpu(here, 1, memory_used=68 * GIB)
    lines = why(here, capsys, "answer")
    assert lines[:3] == [
        "g/answer: would start now on GPU 0",
        "  GPU 0 is free",
        "  GPU 1 has 12 GiB free of the 20 GiB it needs",
    ]
    told = json.loads("\n".join(why(here, capsys, "answer", "--json")))
    assert (told["starts"], told["job"], told["state"]) == (True, None, None)
    assert told["needs"] == {"memory": 20 * GIB, "gpus": 1, "share": False}
    assert [gpu["free_for_it"] for gpu in told["gpus"]] == [True, False, True, True]


def test_the_queue_comes_before_the_gpus(here: Control, capsys: pytest.CaptureFixture[str]) -> None:
    here.service.change_queue("pause", reason="maintenance")
    waiting = here.submit("answer")
    paused = here.waits_for(waiting)
    assert "maintenance" in paused
    assert why(here, capsys, str(waiting))[0] == f"job {waiting} (g/answer): queued, waits for {paused}"
    assert why(here, capsys, "answer2")[0] == f"g/answer2: would wait for {paused}"


def test_nothing_pending_and_unknown_names(here: Control, capsys: pytest.CaptureFixture[str]) -> None:
    ended = here.submit("answer")
    here.ended(ended)
    assert why(here, capsys, "answer") == ["g/answer: would not start: nothing is pending"]
    assert why(here, capsys, str(ended)) == [f"job {ended} (g/answer): succeeded"]
    assert main(["-w", str(here.root), "why", "77"]) == 3
    assert "no job 77" in capsys.readouterr().err
    assert main(["-w", str(here.root), "why", "nothing-of-that-name"]) == 3


def test_a_gpu_that_another_hitui_holds_says_so(
    here: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Control(tmp_path / "other", 6, 0.02)
    job = other.submit("hang", gpus=("2",))
    try:
        other.running(job)
        assert "  GPU 2 is locked by your hitui in workspace" in why(here, capsys, "answer")
        assert main(["-w", str(here.root), "gpus"]) == 0
        assert "locked by your hitui in workspace" in capsys.readouterr().out.splitlines()[4]
        assert main(["-w", str(here.root), "gpus", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["gpus"]
        assert [gpu["free_for_jobs"] for gpu in told] == [True, True, False, True]
        pid = other.supervisor().pid
        assert told[2]["lock"] == {
            "pid": pid,
            "user": pwd.getpwuid(os.getuid()).pw_name,
            "workspace": str(other.root),
        }
        # A job that takes all that is free keeps nothing of what is not.
        waiting = here.submit("answer", gpus=("1", "2"))
        eventually(lambda: here.waits_for(waiting).endswith("GPU 2 is locked by your hitui in workspace"))
        kill(other.supervisor())
        assert "  GPU 2 is locked by another hitui" in why(here, capsys, "answer")
    finally:
        other.service.ensure_supervisor()
        other.client.stop([job])
        other.ended(job)
        other.client.shut_down()


def test_a_lock_on_what_a_job_of_ours_held_is_no_longer_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Job(1, JobRequest("g/a"), 0.0, Ended(Ending.SUCCEEDED, 0.0, gpus=("GPU-0",)))
    runs = Job(2, JobRequest("g/b"), 0.0, Running(("GPU-1",), 1, 0.0))
    jobs = JobsSnapshot((ended, runs), 1)
    gpus = GpuSnapshot(0.0, "test", tuple(Gpu(number, f"GPU-{number}", "test") for number in range(3)))
    home = tmp_path / "locks"
    monkeypatch.setenv("HITUI_GPU_LOCKS", str(home))
    held, _ = lock_gpus(home, ("GPU-0", "GPU-1"))
    assert _locked(jobs, gpus) == {"GPU-0"}
    for descriptor in held:
        os.close(descriptor)
    # Where locks cannot be read this is said, and the rest is told all the same.
    (home / "GPU-2.lock").symlink_to("GPU-2.lock")
    assert _locked(jobs, gpus) == set()
    assert capsys.readouterr().err.startswith(f"hitui: {home / 'GPU-2.lock'}: GPUs cannot be locked: ")


def test_the_hold_time_is_said_of_what_is_free(here: Control, capsys: pytest.CaptureFixture[str]) -> None:
    settings = here.root / "hitui.toml"
    settings.write_text(settings.read_text().replace('hold = "0s"', 'hold = "5m"'))
    lines = why(here, capsys, "answer")
    assert lines[:2] == ["g/answer: would start now on GPU 0, if it stays free for 300 s", "  GPU 0 is free"]
    waiting = here.submit("answer")
    here.waits_for(waiting)
    assert why(here, capsys, str(waiting))[1] == "  GPU 0 is free, and must stay so for 300 s"
    told = why(here, capsys, "answer2")
    assert told[:2] == [
        "g/answer2: would start now on GPU 1, if it stays free for 300 s",
        f"  GPU 0 is kept for job {waiting}",
    ]


def test_a_pause_is_told_also_of_a_job_that_waits_for_a_time(
    here: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = Schedule(not_before=time.time() + 3600)
    waiting = here.service.submit([JobRequest("g/answer")], schedule)[0].id
    here.waits_for(waiting)
    here.service.change_queue("pause")
    head = why(here, capsys, str(waiting))[0]
    assert ": it starts then, and for the queue to be resumed" in head


def test_a_job_of_several_configs_is_on_each_of_them() -> None:
    request = JobRequest("g/one", also=(JobRequest("g/two"),))
    jobs = JobsSnapshot((Job(4, request, 0.0, Running((), 1, 0.0)),))
    assert standing_of(jobs).busy == {"g/one": jobs.jobs, "g/two": jobs.jobs}


def test_a_job_on_a_shard_says_which() -> None:
    second = Job(5, JobRequest("g/one", shard=Shard(4, 1, 2, (7,))), 0.0, Running(("u0",), 1, 0.0))
    gpus = GpuSnapshot(0.0, "none", ())
    why = why_job(Situation(Settings(Path("made-up")), JobsSnapshot((second,)), {}, gpus), second)
    assert lines_of(why) == ["job 5 (g/one 2/2): running on GPU u0"]


def test_what_is_through_says_how_and_only_what_runs_is_said_to_start() -> None:
    request = JobRequest("g/one", also=(JobRequest("g/two"),))
    runs = Job(4, request, 0.0, Running((), 1, 0.0))
    waits = Job(5, JobRequest("g/one"), 0.0, Queued("its turn"))
    failed = Job(6, JobRequest("g/one"), 0.0, Ended(Ending.FAILED, 0.0, "exit status 1"))
    gpus = GpuSnapshot(0.0, "none", ())
    now = Situation(Settings(Path("made-up")), JobsSnapshot((runs, waits, failed), 1), {}, gpus)
    told = [why_job(now, job) for job in now.jobs.jobs]
    assert [lines_of(why) for why in told] == [
        ["job 4 (g/one, g/two): running"],
        ["job 5 (g/one): queued, waits for its turn"],
        ["job 6 (g/one): failed: exit status 1"],
    ]
    assert [as_object(why)["starts"] for why in told] == [True, False, False]


def test_a_config_that_needs_no_gpu_has_no_line_on_one_unless_it_is_asked_for() -> None:
    gpus = GpuSnapshot(0.0, "test", (Gpu(0, "GPU-0", "test", 80 * GIB, 0, 80 * GIB, 0),))
    asks = RunnerSettings(engine="openai")
    settings = Settings(Path("made-up"), gpus=GpuSettings(hold="0s"), runners={"client": asks})
    config = Config("g/a", "x", (), "", runner="client")
    now = Situation(settings, JobsSnapshot((), 1), {"g/a": config}, gpus)
    alone = why_request(now, JobRequest("g/a"), None)
    assert lines_of(alone) == ["g/a: would start now, on no GPU"]
    asked = why_request(now, JobRequest("g/a", gpus=("0",)), None)
    assert lines_of(asked) == ["g/a: would start now on GPU 0", "  GPU 0 is free"]
    refused = why_request(now, JobRequest("g/a"), "nothing is pending")
    paused = why_request(
        replace(now, jobs=JobsSnapshot((), 1, Queue(paused="by hand"))), JobRequest("g/a"), None
    )
    assert [why.starts for why in (alone, asked, refused, paused)] == [True, True, False, False]


def test_of_a_config_in_shards_each_is_told_and_of_many_the_rest_is_counted() -> None:
    def snapshot(count: int, running: int) -> Situation:
        jobs = tuple(
            Job(
                10 + number,
                JobRequest("g/a", shard=Shard(10, number, count, (number,))),
                0.0,
                Running((f"GPU-{number}",), 1, 0.0)
                if number < running
                else Queued("20 GiB free on one GPU: GPU 0 is held by job 10", WaitKind.GPUS),
            )
            for number in range(count)
        )
        through = Job(8, JobRequest("g/a", shard=Shard(10, 0, count, (99,))), 0.0, Ended(Ending.LOST, 0.0))
        other = Job(9, JobRequest("g/b", shard=Shard(9, 0, 2, (1,))), 0.0, Running((), 2, 0.0))
        gpus = GpuSnapshot(0.0, "test", (Gpu(0, "GPU-0", "test", 80 * GIB, 0, 80 * GIB, 0),))
        return Situation(
            Settings(Path("made-up")),
            JobsSnapshot((through, other, *jobs), 1),
            {"g/a": Config("g/a", "x", (), "")},
            gpus,
        )

    few = why_config(snapshot(3, 1), "g/a")
    assert few is not None
    assert lines_of(few) == [
        "g/a: 3 shards",
        "  job 10 (1/3): running on GPU 0",
        "  job 11 (2/3): queued, waits for 20 GiB free on one GPU",
        "  job 12 (3/3): queued, waits for 20 GiB free on one GPU",
        "  GPU 0 is held by job 10",
    ]
    some = snapshot(3, 1)
    backwards = JobsSnapshot(some.jobs.jobs[::-1], 1)
    assert why_config(replace(some, jobs=backwards), "g/a") == few
    told = as_object(few)
    assert (told["job"], [each["state"] for each in told["shards"]]) == (10, ["running", "queued", "queued"])
    many = why_config(snapshot(12, 9), "g/a")
    assert many is not None
    assert lines_of(many)[-3:] == [
        "  job 16 (7/12): running on GPU GPU-6",
        "  and 2 more running, 3 more queued",
        "  GPU 0 is held by job 10",
    ]
    assert all(len(line) < 80 for line in lines_of(many))
    assert why_config(snapshot(0, 0), "g/a") is None
    some = snapshot(3, 0)
    gpus = replace(
        some.gpus, gpus=(*some.gpus.gpus, replace(some.gpus.gpus[0], index=1, uuid="GPU-1", utilization=99))
    )
    named = [
        replace(job, request=replace(job.request, gpus=(own,)))
        for job, own in zip(some.jobs.jobs[2:], ("0", "1", "1"), strict=True)
    ]
    told_of = why_config(replace(some, gpus=gpus, jobs=JobsSnapshot(tuple(named), 1)), "g/a")
    assert told_of is not None
    assert [gpu.label for gpu in told_of.gpus] == ["0", "1"]


def test_only_a_last_job_that_a_person_has_to_mend_is_told_of_a_config_without_one() -> None:
    def ended(number: int, status: int, reason: str, *others: str) -> Job:
        how = Ended(Ending.FAILED if status else Ending.SUCCEEDED, float(number), reason, exit_status=status)
        also = tuple(JobRequest(other) for other in others)
        return Job(number, JobRequest("g/one", also=also), 0.0, how)

    refused = ended(3, 2, "exit status 2: error: resume refused: x was 1, now 2", "g/two")
    setup = ended(4, 78, "exit status 78: no such model folder")
    crash = ended(5, 1, "exit status 1: resume")
    jobs = (setup, ended(1, 0, ""), refused)
    assert last_failure(JobsSnapshot(jobs), "g/one") == LastFailure(4, "exit status 78: no such model folder")
    assert last_failure(JobsSnapshot(jobs), "g/two") == LastFailure(
        3,
        "exit status 2: error: resume refused: x was 1, now 2",
        "`hitui rerun g/two --force` mixes the answers",
    )
    assert last_failure(JobsSnapshot((*jobs, crash)), "g/one") is None
    # Neither what runs elsewhere nor what went on in another job says anything of it.
    elsewhere = Job(6, JobRequest("g/four"), 0.0, Running((), 1, 0.0))
    joined = Job(7, JobRequest("g/one"), 0.0, Ended(Ending.JOINED, 7.0))
    assert last_failure(JobsSnapshot((*jobs, elsewhere, joined)), "g/one") == LastFailure(
        4, "exit status 78: no such model folder"
    )
    assert last_failure(JobsSnapshot(jobs), "g/three") is None
    now = Situation(Settings(Path("made-up")), JobsSnapshot(jobs), {}, GpuSnapshot(0.0, "none", ()))
    one, two, three = (why_request(now, JobRequest(f"g/{name}"), None) for name in ("one", "two", "three"))
    assert lines_of(one)[1:] == ["  its last job (4) failed: exit status 78: no such model folder"]
    assert lines_of(two)[1:] == [
        "  its last job (3) failed: exit status 2: error: resume refused: x was 1, now 2",
        "  `hitui rerun g/two --force` mixes the answers",
    ]
    assert as_object(two)["last_failure"]["job"] == 3
    assert as_object(three)["last_failure"] is None


def test_of_two_jobs_that_wait_only_the_later_finds_gpus_kept_for_the_other() -> None:
    first, second = (Job(number, JobRequest("g/a"), 0.0, Queued()) for number in (4, 5))
    gpus = GpuSnapshot(0.0, "test", (Gpu(0, "GPU-0", "test", 80 * GIB, 0, 80 * GIB, 0),))
    settings = Settings(
        Path("made-up"), gpus=GpuSettings(hold="0s"), runners={"own": RunnerSettings(command=["true"])}
    )
    configs = {"g/a": Config("g/a", "x", (), "", runner="own")}
    now = Situation(settings, JobsSnapshot((first, second), 1), configs, gpus)
    assert [why_job(now, job).gpus[0].reason for job in (first, second)] == ["is free", "is kept for job 4"]


def test_without_a_supervisor_a_queued_job_says_how_to_go_on(
    here: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    here.service.change_queue("pause")
    waiting = here.submit("answer")
    here.client.shut_down()
    head = why(here, capsys, str(waiting))[0]
    assert head.endswith("no supervisor runs to start it; start one with `hitui supervisor start`")
