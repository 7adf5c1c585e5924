"""What was said of queue, GPUs and settings holds for a job that may be split, whenever it was said."""

from __future__ import annotations

import pytest

from hitui.domain.jobs import JobRequest, Queued, Running, Shard
from hitui.domain.schedule import Schedule
from hitui.domain.waits import WaitKind
from hitui.errors import LaunchError
from hitui.supervisor.launches import Launches
from tests.integration.test_sharded_jobs import (
    QUESTIONS,
    all_ended,
    answers,
    here,
    jobs_of,
    settle,
    submit,
    succeeded,
)
from tests.integration.test_supervisor_commands import hitui
from tests.tools.control import HEAD, Control
from tests.tools.eventually import eventually
from tests.tools.plain_python import demo_runner

__all__ = ["here"]

OWN = '["true", "{output}", "{ids}"]'


def own_command(here: Control, command: str, config: str = "") -> None:
    (here.root / "hitui.toml").write_text(
        HEAD.replace("retries = 0", 'retries = 0\nshortest_shard = "0s"')
        + f"[runner.own]\ncommand = {command}\n"
        f'[[config]]\nname = "g/text_html"\nrunner = "own"\nmodality = "text"\nformat = "html"\n{config}\n'
    )


@pytest.mark.parametrize("limit", [1, 2])
def test_a_job_is_split_into_no_more_than_its_group_may_run(here: Control, limit: int) -> None:
    here.service.change_queue("limit", group="default", limit=limit)
    submit(here)
    jobs = all_ended(here)
    assert succeeded(jobs)
    assert len(jobs) == limit
    assert len(answers(here)) == QUESTIONS


def test_no_gpu_stays_idle_for_a_long_job_behind_that_takes_one(here: Control) -> None:
    name = "g/mix_html"
    mix = f'[[config]]\nname = "{name}"\nmodality = "mix"\nformat = "html"\nrunner = "demo"\n'
    settle(here, queue='join = "0s"', others=mix)
    here.service.submit([JobRequest("g/text_html", shards=3, ids=(1, 2, 3)), JobRequest(name)])
    jobs = all_ended(here)
    assert succeeded(jobs)
    assert [job.request.shard and job.request.shard.label for job in jobs] == ["1/2", None, "2/2"]
    assert len({uuid for job in jobs for uuid in job.gpus}) == 3


def test_what_is_away_takes_no_gpu_from_what_is_split_nor_from_what_is_behind_it(here: Control) -> None:
    away = 'modality = "mix"\nformat = "html"\nrunner = "away"\n'
    settle(
        here,
        queue='join = "0s"',
        others=demo_runner(here.root.parent, "away", 'cwd = "disk"\ngpus = 3')
        + f'[[config]]\nname = "g/wide"\n{away}[[config]]\nname = "g/one"\ngpus = 1\n{away}',
    )
    # With one GPU in use there are too few for the first, which would keep the others.
    busy = here.gpus / "gpus.json"
    busy.write_text(busy.read_text().replace('"utilization": 0', '"utilization": 99', 1))
    (here.root / "disk").mkdir()
    here.service.change_queue("pause")
    here.service.submit([JobRequest("g/wide"), JobRequest("g/text_html", shards=3), JobRequest("g/one")])
    (here.root / "disk").rename(here.root / "aside")
    here.service.change_queue("resume")
    eventually(lambda: sum(job.request.config == "g/text_html" for job in jobs_of(here)) == 2, "it is split")
    eventually(lambda: here.waits_for(1).startswith("its working folder: "), "the first says so")
    eventually(
        lambda: succeeded([job for job in jobs_of(here) if job.id not in (1, 3)]), "its shards are done"
    )
    eventually(lambda: here.waits_for(3).startswith("its working folder: "), "so does the other one")
    # A person can bring it back, so that is said before what it would wait for besides.
    all_of_them = JobRequest("g/text_html", gpus=("0", "1", "2"))
    last = here.service.submit([all_of_them], Schedule(priority=1))[0].id
    eventually(
        lambda: here.waits_for(last).startswith("20 GiB free on GPU 0, 1, 2"), "another keeps the GPUs"
    )
    kinds = {job.id: job.state.kind for job in here.client.jobs().jobs if isinstance(job.state, Queued)}
    assert kinds == {1: WaitKind.AWAY, 3: WaitKind.AWAY, last: WaitKind.GPUS}


def test_what_waits_for_gpus_outlives_settings_that_would_refuse_it(here: Control) -> None:
    wide = '[[config]]\nname = "g/wide"\nrunner = "wide"\nmodality = "mix"\nformat = "html"\n'
    runner = demo_runner(here.root.parent, "wide", "gpus = 3")
    settle(here, others=runner + wide)
    busy = here.gpus / "gpus.json"
    idle = busy.read_text()
    busy.write_text(idle.replace('"utilization": 0', '"utilization": 99', 1))
    job = here.service.submit([JobRequest("g/wide")])[0].id
    eventually(lambda: here.waits_for(job).startswith("20 GiB free on 3 GPUs"), "it waits for GPUs")
    settle(here, others=f'{runner}env = {{CUDA_VISIBLE_DEVICES = "1"}}\n{wide}')
    eventually(lambda: here.waits_for(job).startswith("a mended hitui.toml: "), "it says what is wrong")
    settle(here, others=runner + wide)
    busy.write_text(idle)
    assert succeeded(all_ended(here))


def test_what_waits_for_its_question_list_is_not_split_before_that_is_back(here: Control) -> None:
    here.service.change_queue("pause")
    job = submit(here)
    (here.root / "questions.json").rename(here.root / "aside")
    here.service.change_queue("resume")
    eventually(lambda: here.waits_for(job).startswith("its question list: "), "it says so")
    assert [each.request.shard for each in jobs_of(here)] == [None]


def test_named_gpus_are_too_few_for_shards_that_take_several_each(here: Control) -> None:
    settle(here, runner="gpus = 2\nshards = 2")
    submit(here, shards=None, gpus=("0", "1", "2"))
    (job,) = all_ended(here)
    assert (len(job.gpus), job.request.shard) == (3, None)


def test_what_cannot_be_told_its_tasks_is_not_split_by_settings_that_changed_meanwhile(here: Control) -> None:
    own_command(here, '["true", "{output}"]')
    here.service.change_queue("pause")
    submit(here, shards=None)
    own_command(here, '["true", "{output}"]', "shards = 3")
    here.service.change_queue("resume")
    (job,) = all_ended(here)
    assert succeeded([job])
    assert job.request.shard is None


def test_what_lost_its_runner_meanwhile_waits_for_it_by_name(here: Control) -> None:
    here.service.change_queue("pause")
    job = submit(here, shards=3)
    (here.root / "result" / "g" / "text_html").mkdir(parents=True)
    (here.root / "result" / "g" / "text_html" / "results.jsonl").touch()
    (here.root / "hitui.toml").write_text(HEAD)
    here.service.change_queue("resume")
    eventually(lambda: "no runner is named for it" in here.waits_for(job), "it says so")


def test_a_shard_whose_command_can_no_longer_be_told_its_tasks_does_not_run_all_of_them(
    here: Control,
) -> None:
    own_command(here, OWN)
    launches = Launches(here.root)
    request = JobRequest("g/text_html", shard=Shard(1, 0, 2, (1, 2)))
    told = launches.command(request, (1, 2), here.root / "ids.json", (), {"PATH": "/usr/bin:/bin"})
    assert told.argv[1:] == (str(here.output("text_html_shard0")), "1,2")
    own_command(here, '["true", "{output}"]')
    with pytest.raises(LaunchError, match=r"\[runner.own\] command: shards need \{ids\} or \{ids_file\}"):
        launches.command(request, (1, 2), here.root / "ids.json", (), {"PATH": "/usr/bin:/bin"})
    assert jobs_of(here) == []


def test_the_number_of_a_launch_is_that_of_its_first_shard_and_the_others_are_named(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "60")
    here.connect()
    first = submit(here)
    eventually(lambda: sum(isinstance(job.state, Running) for job in jobs_of(here)) == 3, "three shards run")
    stopped = hitui(here, "stop", str(first)).stdout.splitlines()
    assert stopped == [
        "job 1 is shard 1/3 alone; the others stay as they are: jobs 2, 3",
        "job 1: g/text_html 1/3, stopping",
    ]
    here.ended(first)
    # Whoever names another shard knows of it.
    assert hitui(here, "stop", "2").stdout == "job 2: g/text_html 2/3, stopping\n"
