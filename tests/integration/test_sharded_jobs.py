"""One config on several GPUs: a job that may be split runs as shards, and their results read as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.configs import ConfigCondition
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Running
from hitui.domain.schedule import Schedule
from hitui.errors import LaunchError
from hitui.settings import load_settings
from tests.integration.test_supervisor_commands import hitui
from tests.tools.benchmark import harbours
from tests.tools.control import HEAD, Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.plain_python import demo_runner

TABLES = 6
QUESTIONS = 12


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0.02")
    monkeypatch.setenv("HITUI_DEMO_FAILURE_RATE", "0")
    with control(tmp_path, monkeypatch, gpus=3) as made:
        benchmark = harbours(made.root, 0)
        for table in range(TABLES):
            benchmark.add_table(f"table{table}")
        for number in range(QUESTIONS):
            benchmark.ask(
                number + 1, f"table{number % TABLES}", f"Which is the harbour of boat {number}?", "1"
            )
        settle(made)
        yield made


def settle(here: Control, runner: str = "", queue: str = "", others: str = "") -> None:
    (here.root / "hitui.toml").write_text(
        HEAD.replace("retries = 0", f'retries = 2\nretry_pause = "100ms"\nshortest_shard = "0s"\n{queue}')
        + demo_runner(here.root.parent, keys=runner)
        + '[[config]]\nname = "g/text_html"\nrunner = "demo"\nmodality = "text"\nformat = "html"\n'
        + others
    )
    here.connect()


def submit(here: Control, shards: int | None = 3, **wishes: object) -> int:
    return here.service.submit([JobRequest("g/text_html", shards=shards, **wishes)])[0].id  # type: ignore[arg-type]


def jobs_of(here: Control) -> list[Job]:
    return list(here.client.last_known(None).jobs)


def all_ended(here: Control) -> list[Job]:
    def jobs() -> list[Job]:
        found = jobs_of(here)
        return found if all(isinstance(job.state, Ended) for job in found) else []

    return eventually(jobs, "every job has ended", 40)  # type: ignore[return-value]


def running(here: Control, count: int) -> list[Job]:
    """The jobs that run, once they are so many."""

    def jobs() -> list[Job]:
        found = [job for job in jobs_of(here) if isinstance(job.state, Running)]
        return found if len(found) == count else []

    return eventually(jobs, f"{count} shards run")  # type: ignore[return-value]


def succeeded(jobs: list[Job]) -> bool:
    return all(isinstance(job.state, Ended) and job.state.ending is Ending.SUCCEEDED for job in jobs)


def answers(here: Control) -> dict[int, list[str]]:
    """Id → what each result of it says, over all folders of the config."""
    found: dict[int, list[str]] = {}
    for journal in sorted((here.root / "result" / "g").glob("text_html*/results.jsonl")):
        for line in journal.read_text().splitlines():
            result = json.loads(line)
            found.setdefault(result["id"], []).append(result["Prediction"])
    return found


def whole(here: Control) -> bool:
    from hitui.adapters.checkpoints.catalogue import Catalogue

    catalogue = Catalogue(load_settings(here.root, here.root / "hitui.toml"))
    (config,) = (config for config in catalogue.configs if config.name == "g/text_html")
    return catalogue.read(config).state.condition is ConfigCondition.WHOLE


def test_a_config_runs_on_all_free_gpus_by_table_and_reads_as_one(here: Control) -> None:
    first = submit(here)
    jobs = all_ended(here)
    assert succeeded(jobs)
    assert len(jobs) == 3
    assert len({job.gpus for job in jobs}) == 3
    shards = [job.request.shard for job in jobs]
    assert [shard and (shard.split, shard.number, shard.count) for shard in shards] == [
        (first, number, 3) for number in range(3)
    ]
    tables = [{(task - 1) % TABLES for task in shard.ids} for shard in shards if shard is not None]  # type: ignore[operator]
    assert sorted(table for each in tables for table in each) == list(range(TABLES))
    assert {task: len(said) for task, said in answers(here).items()} == dict.fromkeys(
        range(1, QUESTIONS + 1), 1
    )
    names = sorted(path.name for path in (here.root / "result" / "g").iterdir())
    assert names == ["text_html_shard0", "text_html_shard1", "text_html_shard2"]
    assert whole(here)


def test_results_do_not_depend_on_how_many_gpus_there_were(here: Control) -> None:
    submit(here, shards=None)
    alone = all_ended(here)
    assert [job.request.shard for job in alone] == [None]
    by_one = answers(here)
    for path in (here.root / "result" / "g").glob("*/*"):
        path.unlink()
    submit(here, shards=8)
    assert len(all_ended(here)) == 1 + 3
    assert answers(here) == by_one


def test_settings_say_into_how_many_and_a_config_more_than_its_runner(here: Control) -> None:
    settle(here, runner="shards = 3")
    submit(here, shards=None)
    assert len(all_ended(here)) == 3
    text = (here.root / "hitui.toml").read_text().replace("[[config]]", "[[config]]\nshards = 2")
    (here.root / "hitui.toml").write_text(text)
    for path in (here.root / "result" / "g").glob("*/*"):
        path.unlink()
    submit(here, shards=None)
    assert len(all_ended(here)) == 3 + 2


def test_what_takes_no_time_is_not_split_unless_someone_asks_for_it(here: Control) -> None:
    settle(here, runner="shards = 3", queue='join = "0s"')
    text = (here.root / "hitui.toml").read_text().replace('shortest_shard = "0s"', 'shortest_shard = "1h"')
    (here.root / "hitui.toml").write_text(text)
    submit(here, shards=None, ids=(1, 2))
    assert len(all_ended(here)) == 1
    submit(here, shards=2)
    assert len(all_ended(here)) == 3


def test_named_gpus_are_shared_out_among_the_shards(here: Control) -> None:
    submit(here, shards=2, gpus=("0", "1", "2"))
    jobs = all_ended(here)
    assert [len(job.gpus) for job in jobs] == [1, 2]
    assert len({uuid for job in jobs for uuid in job.gpus}) == 3
    assert len(answers(here)) == QUESTIONS


def test_only_what_is_pending_is_split_anew(here: Control) -> None:
    submit(here, shards=3)
    all_ended(here)
    journal = here.root / "result" / "g" / "text_html_shard1" / "results.jsonl"
    lost = {json.loads(line)["id"] for line in journal.read_text().splitlines()}
    for path in journal.parent.iterdir():
        path.unlink()
    submit(here, shards=2)
    jobs = all_ended(here)[3:]
    assert {task for job in jobs if job.request.shard is not None for task in job.request.shard.ids} == lost
    assert all(len(said) == 1 for said in answers(here).values())
    assert whole(here)


def test_a_shard_that_is_killed_is_tried_again_alone_and_loses_nothing(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0.3")
    here.connect()
    submit(here)
    running(here, 3)
    second = jobs_of(here)[1]
    (runner,) = [process for process in here.leftovers() if process.pid == second.state.pid]  # type: ignore[union-attr]
    journal = here.root / "result" / "g" / "text_html_shard1" / "results.jsonl"
    eventually(lambda: journal.exists() and journal.read_text(), "it has answered something")
    kill(runner)
    jobs = all_ended(here)
    assert len(jobs) == 4
    assert jobs[3].replaces == second.id
    assert jobs[3].request == second.request
    assert succeeded([jobs[0], jobs[2], jobs[3]])
    assert all(len(said) == 1 for said in answers(here).values())
    assert whole(here)


def test_who_waits_for_the_job_waits_for_all_of_its_shards(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(
        here, others='[[config]]\nname = "g/mix_html"\nmodality = "mix"\nformat = "html"\nrunner = "demo"\n'
    )
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0.3")
    first = submit(here)
    eventually(lambda: len(jobs_of(here)) == 3, "it was split")
    (later,) = here.service.submit([JobRequest("g/mix_html")], Schedule(after_success=(first,)))
    assert later.schedule.after_success == (first, first + 1, first + 2)
    here.service.stop([first + 2])
    ended = here.ended(later.id)
    assert ended.ending is Ending.NOT_STARTED
    assert f"it needed job {first + 2}" in ended.reason


def test_a_whole_job_and_shards_of_another_split_keep_off_each_other(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0.3")
    here.connect()
    first = submit(here, shards=2)
    running(here, 2)
    with pytest.raises(LaunchError, match=f"job {first} is already on it"):
        submit(here)
    other = submit(here, shards=2, ids=(1, 2))
    assert here.waits_for(other) == f"job {first}: it is on the same config"
    jobs = all_ended(here)
    assert succeeded(jobs)
    assert all(len(said) == 1 for said in answers(here).values())


def test_gpus_are_shared_with_what_waits_behind(here: Control) -> None:
    name = "g/mix_html"
    settle(
        here,
        queue='join = "0s"',
        others=f'[[config]]\nname = "{name}"\nmodality = "mix"\nformat = "html"\nrunner = "demo"\n',
    )
    here.service.submit([JobRequest("g/text_html", shards=3), JobRequest(name)])
    jobs = all_ended(here)
    assert succeeded(jobs)
    assert len({uuid for job in jobs for uuid in job.gpus}) == 3
    # Both take about as long: of three GPUs the one ahead has two, and the other starts at once.
    assert [job.request.shard and job.request.shard.label for job in jobs] == ["1/2", None, "2/2"]


def test_a_command_of_ones_own_runs_in_shards_if_it_takes_ids_and_output(here: Control) -> None:
    settle(here)
    (here.root / "hitui.toml").write_text("")
    here.write_settings(HEAD.replace("retries = 0", "retries = 0\n"))
    here.service.submit([JobRequest("g/answer", shards=3)])
    jobs = all_ended(here)
    assert succeeded(jobs)
    assert len(jobs) == 3
    folders = sorted(path.name for path in (here.root / "result" / "g").iterdir())
    assert folders == ["answer_shard0", "answer_shard1", "answer_shard2"]


def test_a_command_that_cannot_be_told_its_tasks_is_not_split(here: Control) -> None:
    settle(here)
    (here.root / "hitui.toml").write_text(
        HEAD + '[runner.own]\ncommand = ["true", "{output}"]\n'
        '[[config]]\nname = "g/text_html"\nrunner = "own"\nmodality = "text"\nformat = "html"\n'
    )
    here.connect()
    with pytest.raises(LaunchError, match=r"\[runner.own\] command: shards need \{ids\} or \{ids_file\}"):
        submit(here)


def test_who_waits_at_the_command_line_sees_all_of_it_through(here: Control) -> None:
    done = hitui(here, "run", "text_html", "--shards", "3", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"g/text_html: {QUESTIONS} tasks answered") == 1
    assert "job 1 was split: job 2 runs shard 2/3\njob 1 was split: job 3 runs shard 3/3" in done.stdout
    merged = hitui(here, "merge", "text_html")
    assert merged.returncode == 0, merged.stderr
    assert f"{QUESTIONS} " in merged.stdout


def test_a_listing_tells_the_shards_of_a_config_as_one(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "60")
    here.connect()
    submit(here)
    shards = running(here, 3)
    (row,) = json.loads(hitui(here, "ls", "--json").stdout)
    assert (row["state"], row["job"]) == ("running", 1)
    assert sorted(row["gpus"]) == sorted(uuid for job in shards for uuid in job.gpus)
    assert "running #1 #2 #3" in hitui(here, "ls").stdout
