"""What is remembered of jobs: with real runners and a real supervisor."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hitui import __version__
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.jobs import Ending, JobRequest
from hitui.domain.records import GpuUse, JobRecord
from hitui.errors import NoSuchName
from hitui.services.history import HistoryService
from hitui.settings import Settings
from hitui.supervisor.history import Historian
from hitui.supervisor.history_tables import HistoryTables, connect
from hitui.supervisor.rows import End
from tests.tools.commands import hitui, typed
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.git import git
from tests.tools.kept_jobs import DAY, Kept, kept, record
from tests.tools.plain_python import PLAIN_PYTHON

__all__ = ["kept"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def history(here: Control, *words: str) -> subprocess.CompletedProcess[str]:
    return hitui(here, "history", *words)


def listed(here: Control, *words: str) -> Any:
    run = history(here, *words, "--json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_job_is_remembered_with_what_it_ran_and_what_came_of_it(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(here.root, "init", "-q", "-b", "trunk")
    git(here.root, "commit", "-q", "--allow-empty", "-m", "first")
    commit = git(here.root, "rev-parse", "HEAD")
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv("HF_ENDPOINT", "https://ada:hunter2@example.org/x")
    monkeypatch.setenv("HF_TOKEN", "hf_hidden")
    # An environment may be longer than what a stream reads of a line unless it is told otherwise.
    monkeypatch.setenv("SHOPPING_LIST", "eggs" * 25_000)
    here.write_settings(runner_keys='env = { MODE = "fast", API_KEY = "hidden" }')
    job_id = here.submit("answer", gpus=("1",))
    found = record(here, job_id)
    assert found.command[0] == PLAIN_PYTHON[0]
    assert str(here.ledger) in found.command
    assert found.cwd == str(here.root)
    assert found.environment["HF_HOME"] == "/models"
    assert found.environment["HF_ENDPOINT"] == "https://…@example.org/x"
    assert found.environment["MODE"] == "fast"
    assert found.environment["CUDA_VISIBLE_DEVICES"].endswith("-000000000001")
    assert not {"HF_TOKEN", "API_KEY", "SHOPPING_LIST", "PATH"} & set(found.environment)
    assert found.versions == {"hitui": __version__}
    assert (found.commit, found.branch) == (commit, "trunk")
    assert [use.uuid for use in found.gpus] == [found.environment["CUDA_VISIBLE_DEVICES"]]
    assert (found.done, found.failed) == (6, 0)

    (entry,) = listed(here, "answer")
    assert (entry["id"], entry["config"], entry["state"]) == (job_id, "g/answer", "succeeded")
    assert entry["peak_memory"] > 1_000_000
    assert entry["command"] == list(found.command)
    text = history(here, str(job_id)).stdout
    assert f"{commit} on trunk; whether files differed from it is not known" in text
    assert "hidden" not in text
    assert "hunter2" not in text


def test_gpu_memory_is_remembered_by_its_most(here: Control) -> None:
    job_id = here.submit("hang", gpus=("0",))
    runner = here.told("hang", "main")
    uuid = here.running(job_id).gpus[0]
    claim = here.gpus / "claims" / f"{runner.pid}.json"
    beside = here.gpus / "claim"
    beside.write_text(
        json.dumps(
            {"pid": runner.pid, "start_time": runner.start_time, "memory": {uuid: 7 << 30}, "utilization": 90}
        )
    )
    beside.replace(claim)

    def peak() -> int | None:
        # Whoever ends the supervisor has it write what it saw.
        here.client.shut_down()
        seen = HistoryService(here.paths).job(job_id).record
        here.service.ensure_supervisor()
        return seen.gpus[0].peak_memory if seen is not None and seen.gpus else None

    assert eventually(peak, "the claim was seen") == 7 << 30
    claim.unlink()
    here.client.stop([job_id])
    use = record(here, job_id).gpus[0]
    assert (use.uuid, use.label, use.name, use.peak_memory) == (uuid, "0", "Simulated 80GB", 7 << 30)
    bins = HistoryService(here.paths).gpus()
    assert max(one.memory.highest for one in bins if one.uuid == uuid) == 7 << 30
    assert {one.uuid for one in bins} == {uuid, uuid[:-1] + "1"}


def test_what_several_supervisors_saw_of_a_job_is_put_together(kept: Kept) -> None:
    (job,) = kept.store.submit([JobRequest("a")], {})
    folder = kept.paths.job(job.id)
    folder.mkdir(parents=True)
    kept.store.start(job.id, ("GPU-0",), "boot", log=folder / "log", events=folder / "events", task_count=5)
    job = kept.store.begun(job.id, 7, kept.now)
    found: list[JobRecord] = []

    def supervise(used: int, *, to_the_end: bool = False) -> None:
        historian = Historian(kept.paths, lambda: Settings(kept.paths.state))
        historian.begun(job)
        gpu = Gpu(0, "GPU-0", "A", processes=(GpuProcess(7, used, "compute"),))
        historian.observe(GpuSnapshot(kept.now, "test", (gpu,)), [job])
        if to_the_end:
            historian.ended(job, found.append)
        historian.close()

    supervise(7)
    supervise(3)
    assert HistoryService(kept.paths).job(job.id).record.gpus == (GpuUse("GPU-0", "0", "A", 7),)
    (folder / "events").write_text('{"event": "end", "done": 5, "errors": 2, "exit": 0}\n')
    supervise(8, to_the_end=True)
    (record,) = found
    assert record == HistoryService(kept.paths).job(job.id).record
    assert record.gpus == (GpuUse("GPU-0", "0", "A", 8),)
    assert (record.done, record.failed) == (3, 2)
    with closing(sqlite3.connect(kept.paths.database)) as database, database:
        database.execute("DROP TABLE job_records")
    supervise(9, to_the_end=True)
    assert len(found) == 2


def test_what_a_killed_supervisor_did_not_take_down_the_next_one_does(here: Control) -> None:
    job_id = here.submit("hang")
    here.told("hang", "main")
    here.running(job_id)
    kill(here.supervisor())
    with closing(sqlite3.connect(here.paths.database)) as database, database:
        database.execute("DELETE FROM job_records")
    kill(here.told("hang", "main"))
    path = here.paths.job(job_id) / "runner.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "started": written["started"] - 3600}))
    here.service.ensure_supervisor()
    found = record(here, job_id)
    assert found.command[0] == PLAIN_PYTHON[0]
    assert found.commit is None


def test_a_job_of_a_hitui_without_records_gets_one_when_a_supervisor_starts(here: Control) -> None:
    job_id = here.submit("answer")
    record(here, job_id)
    here.client.shut_down()
    with closing(sqlite3.connect(here.paths.database)) as database, database:
        database.execute("DELETE FROM job_records")
    assert HistoryService(here.paths).job(job_id).record is None
    here.service.ensure_supervisor()
    assert record(here, job_id).done == 6


def test_nothing_ends_differently_because_the_history_cannot_be_written(here: Control) -> None:
    here.submit("answer")
    here.ended(1)
    with closing(sqlite3.connect(here.paths.database)) as database, database:
        database.execute("DROP TABLE job_records")
        database.execute("DROP TABLE gpu_history")
    second = here.submit("answer2")
    assert here.ended(second).ending is Ending.SUCCEEDED
    log = here.paths.supervisor_log
    eventually(lambda: "the history is not written now" in log.read_text(), "the log says so")
    assert here.client.answers()


def test_the_list_can_be_narrowed_and_what_is_not_there_is_said(here: Control) -> None:
    for mode in ("answer", "fail"):
        record(here, here.submit(mode))
    assert [entry["config"] for entry in listed(here)] == ["g/answer", "g/fail"]
    assert [entry["exit_status"] for entry in listed(here, "g/fail")] == [3]
    assert listed(here, "--since", "1d") == listed(here)
    assert [entry["config"] for entry in listed(here, "--last", "1")] == ["g/fail"]
    with closing(sqlite3.connect(here.paths.database)) as database, database:
        database.execute("UPDATE jobs SET ended = ended - ? WHERE id = 1", (2 * DAY,))
    assert [entry["config"] for entry in listed(here, "--since", "1d")] == ["g/fail"]
    # Of another day too it is told at what time of it.
    assert re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d$", history(here, "g/answer").stdout.rstrip())
    for words, status, line in (
        (("nothing",), 3, "hitui: nothing: no job was on a config of that name; known are g/answer, g/fail"),
        (("99",), 3, "hitui: no job 99; `hitui history` lists them"),
        (("9" * 30,), 3, f"hitui: no job {'9' * 30}; `hitui history` lists them"),
        (("--since", "7"), 2, "a time with its unit is expected"),
        (("--last", "0"), 2, "a number of jobs from 1 on is expected, not '0'"),
    ):
        run = history(here, *words)
        assert run.returncode == status
        assert line in run.stderr.splitlines()[-1]


def test_a_list_has_what_was_asked_for_and_no_more(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitui.supervisor.history_tables._AT_ONCE", 2)
    for config, days_ago in (("a/x", 9), ("a/y", 5), ("b/x", 4)):
        kept.end(config, days_ago, JobRecord(done=days_ago))
    joined = JobRequest("c/z", also=(JobRequest("c/x"), JobRequest("c/y")))
    requests = (joined, JobRequest("a/x", shards=2), JobRequest("a/y"))
    ended, running, _queued = (kept.store.submit([request], {})[0].id for request in requests)
    for job in (ended, running):
        folder = kept.paths.job(job)
        kept.store.start(job, (), "boot", log=folder / "log", events=folder / "events", task_count=1)
    kept.store.end(ended, End(Ending.FAILED, "why", at=kept.now - 3 * DAY))

    def listed(config: str | None = None, days: float | None = None, last: int | None = None) -> list[int]:
        since = None if days is None else kept.now - days * DAY
        return [entry.job.id for entry in HistoryService(kept.paths).jobs(config, since, last)]

    assert listed() == [1, 2, 3, ended, running]
    assert listed("x") == [1, 3, ended, running]
    assert (listed("a/x"), listed("y")) == ([1, running], [2, ended])
    assert listed(days=4.5) == [3, ended, running]
    assert listed("x", days=4.5) == [3, ended, running]
    assert (listed(last=2), listed("x", last=3), listed("y", 4.5, 9)) == (
        [ended, running],
        [3, ended, running],
        [ended],
    )
    records = [entry.record for entry in HistoryService(kept.paths).jobs()]
    assert [record.done if record else None for record in records] == [9, 5, 4, None, None]
    with pytest.raises(NoSuchName, match="known are a/x, a/y, b/x, c/x, c/y, c/z"):
        listed("w")


def test_the_jobs_that_succeeded_are_listed_with_how_many_of_their_tasks_failed(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write_settings()
    ended = Kept(here.root, here.paths)
    for config, done, failed in (("g/answer", 3, 0), ("g/fail", 0, 17), ("g/quit", 4, 1)):
        ended.end(config, 0, JobRecord(done=done, failed=failed))
    ended.end("g/hang", 0, JobRecord())
    ended.store.close()

    lines = [line.split() for line in typed(here, "jobs").stdout.splitlines()[1:]]
    assert [" ".join(words[4:]) for words in lines] == [
        "",
        "17 of 17 tasks failed",
        "1 of 5 tasks failed",
        "",
    ]
    objects = json.loads(typed(here, "jobs", "--json").stdout)
    assert [(job["done"], job["errors"]) for job in objects] == [(3, 0), (17, 17), (5, 1), (None, 0)]

    monkeypatch.setattr("hitui.commands.jobs.ENDED_JOBS", 2)
    assert [job["id"] for job in json.loads(typed(here, "jobs", "--json").stdout)] == [3, 4]
    assert [job["id"] for job in json.loads(typed(here, "jobs", "--json", "--all").stdout)] == [1, 2, 3, 4]


def test_all_that_is_on_record_of_a_job_is_printed(here: Control) -> None:
    ended = Kept(here.root, here.paths)
    uuids = ("GPU-a", "GPU-b")
    record = JobRecord(
        command=("python", "run it.py"),
        cwd="/there",
        environment={"HF_HOME": "/models"},
        versions={"hitui": "1.0", "torch": "2.0"},
        commit="",
        gpus=(GpuUse("GPU-a", "0", "A100", 3 << 30), GpuUse("GPU-b", "1", "A100", 2 << 30)),
        done=4,
        failed=1,
    )
    ended.end("g/answer", 0, record)
    (job,) = ended.store.submit([JobRequest("g/fail", also=(JobRequest("g/quit"),))], {})
    folder = here.paths.job(job.id)
    began = ended.now - 100
    ended.store.start(job.id, uuids, "boot", log=folder / "log", events=folder / "events", task_count=5)
    ended.store.begun(job.id, 77, began)
    (running,) = json.loads(typed(here, "history", "--last", "1", "--json").stdout)
    row = typed(here, "history").stdout.splitlines()[-1]
    assert row.split() == ["2", "g/fail", "+1", "running"]
    status, text, _ = typed(here, "history", "2")
    assert (status, "\nstarted  20" in text, "ended" in text) == (0, True, False)
    assert "record   none: it was not launched, or by a hitui that kept none\n" in text
    ended.store.end(job.id, End(Ending.FAILED, "killed", ended.now, 137, 9, 5 << 20))
    with closing(connect(here.paths.database)) as database:
        HistoryTables(database).put_record(job.id, record, complete=True)
    ended.store.close()
    (listed,) = json.loads(typed(here, "jobs", "--json").stdout)[1:]
    found = json.loads(typed(here, "history", str(job.id), "--json").stdout)

    times = {key: datetime.fromisoformat(found.pop(key)).timestamp() for key in ("started", "ended")}
    assert times == {"started": pytest.approx(began, abs=1), "ended": pytest.approx(ended.now, abs=1)}
    of_its_end = {
        "state": "failed",
        "exit_status": 137,
        "signal": 9,
        "reason": "killed",
        "peak_memory": 5 << 20,
    }
    assert found.pop("created") == running["created"]
    assert found == {
        "id": 2,
        "config": "g/fail",
        "configs": ["g/fail", "g/quit"],
        "attempt": 1,
        "replaces": None,
        "successor": None,
        "seconds": 100.0,
        "tasks": 5,
        "done": 4,
        "failed": 1,
        "gpus": [
            {"uuid": "GPU-a", "index": "0", "name": "A100", "peak_memory": 3 << 30},
            {"uuid": "GPU-b", "index": "1", "name": "A100", "peak_memory": 2 << 30},
        ],
        "command": ["python", "run it.py"],
        "cwd": "/there",
        "environment": {"HF_HOME": "/models"},
        "versions": {"hitui": "1.0", "torch": "2.0"},
        "commit": None,
        "branch": None,
        "log": str(folder / "log"),
        **of_its_end,
    }
    assert running["state"] == "running"
    unknown = ("ended", "seconds", "exit_status", "signal", "peak_memory", "done", "failed")
    assert {running[key] for key in unknown} == {None}
    assert [gpu["uuid"] for gpu in running["gpus"]] == list(uuids)
    assert {key: listed[key] for key in of_its_end} == of_its_end
    assert (listed["pid"], listed["done"], listed["errors"], listed["tasks"]) == (None, 5, 1, 5)

    status, text, _ = typed(here, "history", "2")
    lines = text.splitlines()
    assert status == 0
    assert [line for line in lines if not line.startswith(("created", "started", "ended"))] == [
        "job          2, attempt 1",
        "config       g/fail",
        "             g/quit",
        "state        failed",
        "reason       killed",
        "exit status  ended by signal 9",
        "took         100 s",
        "main memory  at most 5 MiB",
        "tasks        5",
        "done         4, failed 1",
        "GPU          0 A100 GPU-a, memory at most 3.0 GiB",
        "             1 A100 GPU-b, memory at most 2.0 GiB",
        "command      python 'run it.py'",
        "in           /there",
        "environment  HF_HOME=/models",
        "version      hitui 1.0",
        "             torch 2.0",
        "commit       the workspace is in no git repository, or nothing was committed",
        f"log          {folder / 'log'}",
    ]
    (row,) = [line.split() for line in typed(here, "history").stdout.splitlines() if "g/fail" in line]
    assert row[:10] == ["2", "g/fail", "+1", "failed", "4", "1", "100", "s", "5.0", "GiB"]
    assert row[-1] == "killed"
