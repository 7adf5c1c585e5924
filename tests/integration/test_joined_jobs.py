"""Configs of one model that wait for the same kind of GPU run in one process, which loads it once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitui.domain.jobs import Ended, Ending, Job, JobRequest
from tests.tools.control import HEAD, Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.plain_python import demo_runner

CONFIGS = ("text_html", "text_csv", "mix_html")
QUESTIONS = 4


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0.02")
    monkeypatch.setenv("HITUI_DEMO_FAILURE_RATE", "0")
    with control(tmp_path, monkeypatch, questions=QUESTIONS, gpus=1) as made:
        settle(made)
        yield made


def settle(here: Control, queue: str = "", configs: tuple[str, ...] = CONFIGS) -> None:
    text = HEAD.replace("retries = 0", f"retries = 0\n{queue}") + demo_runner(here.root.parent)
    for name in configs:
        modality, table_format = name.split("_")[:2]
        text += f'[[config]]\nname = "g/{name}"\nmodality = "{modality}"\nformat = "{table_format}"\n'
    (here.root / "hitui.toml").write_text(text)
    here.connect()


def submit(here: Control, *names: str) -> list[Job]:
    return list(here.service.submit([JobRequest(f"g/{name}") for name in names]))


def all_ended(here: Control) -> list[Job]:
    def jobs() -> list[Job]:
        found = here.client.last_known(None).jobs
        return list(found) if all(isinstance(job.state, Ended) for job in found) else []

    return eventually(jobs, "every job has ended", 40)  # type: ignore[return-value]


def endings(jobs: list[Job]) -> list[Ending]:
    return [job.state.ending for job in jobs if isinstance(job.state, Ended)]


def events(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(job.events).read_text().splitlines()]


def test_three_gaps_on_one_gpu_are_one_load_and_each_is_answered(here: Control) -> None:
    submit(here, *CONFIGS)
    jobs = all_ended(here)
    assert endings(jobs) == [Ending.SUCCEEDED, Ending.JOINED, Ending.JOINED]
    leader, *joined = jobs
    assert leader.request.configs == tuple(f"g/{name}" for name in CONFIGS)
    assert leader.task_count == QUESTIONS * len(CONFIGS)
    assert [job.successor for job in joined] == [leader.id, leader.id]
    loads = [event for event in events(leader) if event["event"] == "phase" and event["phase"] == "loading"]
    assert len(loads) == 1
    for name in CONFIGS:
        assert sorted(here.answered(name)) == [1, 2, 3, 4]


def test_why_names_every_config_of_a_job(here: Control, capsys: pytest.CaptureFixture[str]) -> None:
    from hitui.cli import main

    submit(here, *CONFIGS)
    leader = all_ended(here)[0]
    names = [f"g/{name}" for name in CONFIGS]
    assert main(["-w", str(here.root), "why", str(leader.id)]) == 0
    assert capsys.readouterr().out.startswith(f"job {leader.id} ({', '.join(names)}): succeeded")
    assert main(["-w", str(here.root), "why", str(leader.id), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["configs"] == names


def test_who_waits_for_a_job_that_joined_waits_for_the_one_that_runs_it(here: Control) -> None:
    from tests.integration.test_supervisor_commands import hitui

    done = hitui(here, "run", *CONFIGS, "--wait")
    assert done.returncode == 0, done.stderr
    for name in CONFIGS:
        assert f"g/{name}: {QUESTIONS} tasks answered" in done.stdout
    assert endings(all_ended(here)).count(Ending.SUCCEEDED) == 1


def test_two_gpus_share_the_configs_out(here: Control, tmp_path: Path) -> None:
    gpus = json.loads((here.gpus / "gpus.json").read_text())
    second = {**gpus["gpus"][0], "index": 1, "uuid": gpus["gpus"][0]["uuid"][:-1] + "1"}
    (here.gpus / "gpus.json").write_text(json.dumps({**gpus, "gpus": [gpus["gpus"][0], second]}))
    names = ("text_html", "text_csv", "text_json", "mix_html", "mix_csv")
    settle(here, configs=names)
    submit(here, *names)
    jobs = all_ended(here)
    leaders = [
        job for job in jobs if not isinstance(job.state, Ended) or job.state.ending is Ending.SUCCEEDED
    ]
    assert [len(job.request.configs) for job in leaders] == [3, 2]
    assert len({job.gpus for job in leaders}) == 2
    assert sum(len(here.answered(name)) for name in names) == QUESTIONS * len(names)


def test_what_would_take_too_long_together_or_must_not_join_runs_alone(here: Control) -> None:
    settle(here, queue='join = "0s"')
    submit(here, *CONFIGS)
    assert endings(all_ended(here)) == [Ending.SUCCEEDED] * 3


def test_a_killed_runner_of_several_loses_nothing_and_its_successor_answers_the_rest(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(here, queue='retry_pause = "100ms"')
    text = (here.root / "hitui.toml").read_text().replace("retries = 0", "retries = 2")
    (here.root / "hitui.toml").write_text(text)
    submit(here, *CONFIGS)
    eventually(lambda: (here.output("text_csv") / "results.jsonl").exists(), "the second config has begun")
    running = here.client.last_known(None).jobs[0]
    kill(next(process for process in here.leftovers() if process != here.launcher(running.id)))
    jobs = all_ended(here)
    assert jobs[-1].request.configs == running.request.configs
    for name in CONFIGS:
        assert sorted(here.answered(name)) == [1, 2, 3, 4]


def test_only_who_asks_for_very_tasks_tries_those_again_that_nothing_lighter_is_left_for(
    here: Control,
) -> None:
    def arguments(job: Job) -> list[str]:
        argv: list[str] = json.loads((here.paths.job(job.id) / "spec.json").read_text())["argv"]
        return argv

    (named,) = here.service.submit([JobRequest("g/text_html", ids=(1, 2))])
    (pending,) = here.service.submit([JobRequest("g/text_csv")])
    jobs = all_ended(here)
    # They load the same, and still do not join: what one insists on the other must not do.
    assert endings(jobs) == [Ending.SUCCEEDED] * 2
    assert "--retry-exhausted" in arguments(named)
    assert "--retry-exhausted" not in arguments(pending)
