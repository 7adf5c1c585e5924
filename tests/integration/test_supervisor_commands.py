"""run, rerun, stop, jobs and supervisor as a user types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hitui as hitui_package
from hitui.adapters.executors.locks import try_lock
from hitui.domain.jobs import Ended, Ending
from tests.tools.commands import hitui, listed, typed
from tests.tools.control import HEAD, Control, control, kill
from tests.tools.eventually import eventually


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def test_run_and_wait_ends_well_when_everything_has_an_answer(here: Control) -> None:
    done = hitui(here, "run", "answer", "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("job 1: g/answer, 6 tasks\n")
    assert done.stdout.endswith("job 1 succeeded\ng/answer: 6 tasks answered\n")
    again = hitui(here, "rerun", "g/answer", "--wait")
    assert (again.returncode, again.stdout) == (0, "g/answer: nothing is pending\n")


def test_a_runner_that_claims_success_without_answers_fails_the_wait(here: Control) -> None:
    done = hitui(here, "run", "quit", "--wait")
    assert done.returncode == 1
    assert done.stderr == "hitui: g/quit: 6 of 6 tasks without an answer; job 1 succeeded\n"


def test_of_several_the_one_that_fails_is_named(here: Control) -> None:
    done = hitui(here, "run", "fail", "answer", "requeue", "--wait")
    assert done.returncode == 1
    assert done.stderr == (
        "hitui: g/fail: 6 of 6 tasks without an answer;"
        " job 1 failed: exit status 3: model.safetensors: no such file\n"
    )
    assert "g/answer: 6 tasks answered" in done.stdout
    assert "g/requeue: 6 tasks answered" in done.stdout


def test_ids_and_gpus(here: Control) -> None:
    assert hitui(here, "run", "answer", "--ids", "3,1", "--gpus", "0,1", "--wait").returncode == 0
    assert sorted(here.answered("answer")) == [1, 3]
    assert here.entries()[0]["gpus"] == [f"GPU-7e570000-0000-4000-8000-{n:012d}" for n in (0, 1)]
    job = listed(here)[0]
    assert (job["tasks"], job["state"], job["exit_status"]) == (2, "succeeded", 0)
    assert len(job["gpus"]) == 2
    again = typed(here, "run", "answer", "--ids", "1,2,3", "--hold").stdout
    assert again.startswith("job 2: g/answer, 1 task (of those named 2 done)")
    nothing = typed(here, "run", "answer", "--ids", "1,3", "--hold").stdout
    assert nothing == "g/answer: nothing of those named is pending, 4 of the others\n"
    nothing = typed(here, "rerun", "answer", "--class", "text_too_large").stdout
    assert nothing == "g/answer: nothing has the error text_too_large, 4 pending otherwise\n"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("run", "answers"), 3, "answers: no such config; did you mean g/answer?"),
        (("run", "answer", "--ids", "9,x"), 1, "g/answer: no task 9, x in the question list"),
        (("run", "answer", "--gpus", "5", "--wait"), 1, "g/answer: no GPU 5; there are 0, 1"),
        (("run", "answer", "--executor", "moon"), 1, "no executor 'moon'; there are: local"),
        (("rerun",), 2, "rerun: name configs, or give --all"),
        (("logs", "7"), 3, "no job 7"),
        (("logs", "#7"), 3, "no job 7"),
        (("logs", "answers"), 3, "answers: no such config; did you mean g/answer?"),
        (("logs", "answer"), 3, "g/answer: there was no job on it yet; `hitui run g/answer` starts one"),
        (("stop", "7"), 3, "no job 7"),
    ],
)
def test_what_cannot_be_is_one_line(here: Control, words: tuple[str, ...], status: int, line: str) -> None:
    done = hitui(here, *words)
    assert done.returncode == status
    assert done.stderr.startswith(f"hitui: {line}")
    assert done.stderr.count("\n") == 1


def test_a_list_of_no_gpus_is_wrong_usage(here: Control) -> None:
    done = hitui(here, "run", "answer", "--gpus", ",")
    assert done.returncode == 2
    assert "a list such as 0,1 is expected" in done.stderr


def test_control_c_leaves_the_job_running(here: Control) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hitui", "-w", str(here.root), "run", "hang", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if line.startswith("job 1 running"):
                break
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert said == "job 1 goes on: `hitui logs 1 -f` follows it, `hitui stop 1` ends it\n"
    assert here.running(1)
    stopped = hitui(here, "stop", "1")
    assert stopped.returncode == 0
    assert here.ended(1).ending is Ending.STOPPED


def test_a_wait_goes_on_when_the_supervisor_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control(tmp_path, monkeypatch, seconds=0.3) as here:
        process = subprocess.Popen(
            [sys.executable, "-m", "hitui", "-w", str(here.root), "run", "answer", "--wait"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                if line.startswith("job 1 running"):
                    break
            os.kill(here.supervisor().pid, signal.SIGKILL)
            rest = process.stdout.read()
        assert process.returncode == 0
        assert rest.endswith("g/answer: 6 tasks answered\n")


def test_jobs_says_what_runs_and_what_waits(here: Control) -> None:
    assert hitui(here, "jobs").stdout == "no jobs; `hitui run CONFIG` starts one\n"
    hitui(here, "run", "hang", "--gpus", "1")
    hitui(here, "run", "answer", "--gpus", "1")
    here.running(1)
    here.waits_for(2)
    running, waiting = listed(here)
    assert running["pid"] == here.running(1).pid
    assert waiting["waits_for"] == "20 GiB free on GPU 1: GPU 1 is held by job 1"
    lines = hitui(here, "jobs").stdout.splitlines()
    assert lines[1].split()[:4] == ["1", "g/hang", "running", "1"]
    assert re.search(r" \d\d:\d\d +\d+ s\b", lines[1]), "since when, and for how long"
    assert lines[2].endswith("waits for 20 GiB free on GPU 1: GPU 1 is held by job 1")


def test_jobs_revives_the_supervisor_that_running_jobs_need(here: Control) -> None:
    here.running(here.submit("hang"))
    os.kill(here.supervisor().pid, signal.SIGKILL)
    os.kill(here.running(1).pid, signal.SIGKILL)
    eventually(lambda: listed(here)[0]["state"] == "failed")


def test_what_runs_is_seen_and_ended_while_the_settings_are_broken(here: Control) -> None:
    here.running(here.submit("hang"))
    settings = here.root / "hitui.toml"
    settings.write_text("[gpus\n")
    line = f"hitui: {settings}: is not valid TOML"
    for words in (["jobs"], ["queue"], ["logs", "1"], ["history"], ["supervisor", "status"], ["pause", "1"]):
        done = hitui(here, *words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(line)
        assert done.stderr.count("\n") == 1
    here.ended(1)
    assert hitui(here, "stop", "2").stdout.startswith("job 2: g/hang, ")
    assert here.ended(2).ending is Ending.STOPPED
    refused = hitui(here, "run", "hang")
    assert (refused.returncode, refused.stdout) == (1, "")


def test_jobs_and_logs_are_shown_although_no_supervisor_can_be_started(here: Control) -> None:
    here.running(here.submit("hang"))
    kill(here.supervisor())
    # Something else stands in the place of its folder of sockets.
    aside = here.paths.runtime.with_name("aside")
    here.paths.runtime.rename(aside)
    here.paths.runtime.touch()
    done, log = hitui(here, "jobs"), hitui(here, "logs", "1")
    here.paths.runtime.unlink()
    aside.rename(here.paths.runtime)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split()[:3] == ["1", "g/hang", "running"]
    assert done.stderr.startswith(f"hitui: {here.paths.runtime}: ")
    assert len(done.stderr.splitlines()) == 1
    assert (log.returncode, log.stderr) == (0, "")
    assert hitui(here, "jobs").returncode == 0


def test_a_rerun_of_all_says_why_there_is_none(here: Control) -> None:
    (here.root / "hitui.toml").write_text(
        HEAD + '[[config]]\nname = "g/answer"\nmodality = "text"\nformat = "html"\n'
    )
    done = hitui(here, "rerun", "--all")
    assert done.returncode == 1
    assert done.stderr == (
        "hitui: no config has a runner; add a [runner.NAME] to hitui.toml and name it as [workspace] runner,"
        " or as the config's own\n"
    )


def test_a_rerun_leaves_out_what_counts_lines_and_has_all_of_them(here: Control) -> None:
    (here.root / "hitui.toml").write_text(
        HEAD + '[runner.lines]\ncommand = ["true"]\nmin_free = "0B"\n'
        '[[config]]\nname = "g/whole"\nkind = "line_count"\nrunner = "lines"\ntotal = 2\n'
        '[[config]]\nname = "g/open"\nkind = "line_count"\nrunner = "lines"\ntotal = 3\n'
    )
    for name in ("whole", "open"):
        here.output(name).mkdir(parents=True)
        (here.output(name) / "answers.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    assert hitui(here, "rerun", "whole").stdout == "g/whole: nothing is pending\n"
    done = typed(here, "rerun", "--all", "--hold")
    held = "held: `hitui resume 1` lets it start"
    assert done == (0, f"g/whole: nothing is pending\njob 1: g/open, {held}\n", "")
    # What waits already is no reason to fail.
    assert typed(here, "rerun", "--all") == (0, "g/whole: nothing is pending\n", "")


def test_doctor_looks_at_the_store_of_jobs(here: Control) -> None:
    assert "job store" not in hitui(here, "doctor").stdout
    here.ended(here.submit("fail"))
    here.client.shut_down()
    assert f"ok    job store: {here.paths.database}\n" in hitui(here, "doctor").stdout
    good = here.paths.database.read_bytes()
    database = sqlite3.connect(here.paths.database)
    (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'").fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    content = bytearray(good)
    content[(page - 1) * size : page * size] = bytes(size)
    here.paths.database.write_bytes(content)
    sick = hitui(here, "doctor")
    assert sick.returncode == 1
    line = f"FAIL  job store: {here.paths.database}: the jobs cannot be kept there: it is damaged: "
    (said,) = [each for each in sick.stdout.splitlines() if each.startswith(line)]
    assert said.endswith(" -> move it away to begin anew")
    here.paths.database.unlink()
    os.mkfifo(here.paths.database)
    assert (
        f"FAIL  job store: {here.paths.database}: is no file -> move it away" in hitui(here, "doctor").stdout
    )
    here.paths.database.unlink()
    here.paths.database.write_bytes(good)


def test_doctor_tells_a_supervisor_of_another_state_folder_and_one_that_is_out_of_reach(
    here: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.service.ensure_supervisor()
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        assert "warn  supervisor: the one that runs has another state folder" in hitui(here, "doctor").stdout
    assert "ok    supervisor: runs\n" in hitui(here, "doctor").stdout
    here.client.shut_down()
    # As one in another container, whose socket is not to be seen here.
    lock = try_lock(here.paths.supervisor_lock)
    assert lock is not None
    assert "warn  supervisor: one runs that does not answer: " in hitui(here, "doctor").stdout
    os.close(lock)


def test_a_supervisor_of_other_code_is_told_of(here: Control, tmp_path: Path) -> None:
    """As after an upgrade beneath it, which need not change the number of the version."""
    pid = here.service.ensure_supervisor()
    beside = tmp_path / "other"
    shutil.copytree(Path(hitui_package.__file__).parent, beside / "hitui")
    line = f"the supervisor, pid {pid}, is of another version of hitui than this"
    for change in "", "# Nothing.\n":
        with (beside / "hitui" / "paths.py").open("a") as file:
            file.write(change)
        told = [
            subprocess.run(
                [sys.executable, "-m", "hitui", "-w", str(here.root), *words],
                cwd=beside,
                capture_output=True,
                text=True,
            )
            for words in (("supervisor", "status"), ("supervisor", "start"), ("doctor",))
        ]
        assert [line in run.stdout + run.stderr for run in told] == [bool(change)] * 3


def test_supervisor_start_status_stop(here: Control) -> None:
    status = hitui(here, "supervisor", "status")
    assert (status.returncode, status.stderr) == (1, "hitui: no supervisor runs\n")
    assert hitui(here, "supervisor", "start").stdout == hitui(here, "supervisor", "start").stdout
    assert f"pid {here.supervisor().pid}" in hitui(here, "supervisor", "status").stdout
    here.running(here.submit("hang"))
    assert "jobs that go on or wait: 1" in hitui(here, "supervisor", "stop").stdout
    assert not isinstance(here.job(1).state, Ended)
    assert hitui(here, "supervisor", "stop").returncode == 0


def test_results_that_cannot_be_read_are_refused_by_what_is_wrong_and_hold_up_no_others(
    here: Control,
) -> None:
    results = here.output("answer") / "results.json"
    results.parent.mkdir(parents=True)
    results.write_text('{"results": [{"id": 1,')
    for words in (["rerun", "answer"], ["run", "answer"], ["run", "answer", "--ids", "1"]):
        refused = hitui(here, *words)
        assert refused.returncode == 1
        assert refused.stderr.startswith("hitui: g/answer: result/g/answer/results.json: ")
        assert len(refused.stderr.splitlines()) == 1
    whole = hitui(here, "verify", "answer")
    assert "results.json" in whole.stdout
    assert "question list" not in whole.stdout
    mixed = hitui(here, "rerun", "--all")
    assert mixed.returncode == 1
    assert mixed.stderr.startswith("hitui: g/answer: result/g/answer/results.json: ")
    assert "job 1: g/answer2, 6 tasks" in mixed.stdout
    assert all(job["config"] != "g/answer" for job in listed(here))
    here.service.stop([job["id"] for job in listed(here) if job["ended"] is None])


def test_a_wait_for_what_has_all_its_answers_fails_where_another_config_was_refused(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.tools.control.CONFIGS", ("answer", "answer2"))
    here.write_settings()
    results = here.output("answer") / "results.json"
    results.parent.mkdir(parents=True)
    results.write_text('{"results": [{"id": 1,')
    waited = typed(here, "rerun", "--all", "--wait")
    assert here.answered("answer2") == [1, 2, 3, 4, 5, 6]
    [refusal] = waited.stderr.splitlines()
    assert refusal.startswith("hitui: g/answer: result/g/answer/results.json: ")
    assert waited.returncode == 1


def test_a_queued_job_waits_for_results_that_can_be_read(here: Control) -> None:
    results = here.output("answer") / "results.json"
    results.parent.mkdir(parents=True)
    others = [here.submit("hang"), here.submit("stubborn")]
    for other in others:
        here.running(other)
    job = here.submit("answer")
    # A supervisor that has read them before would go on with what it knows.
    kill(here.supervisor())
    results.write_text('{"results": [{"id": 1,')
    here.service.ensure_supervisor()
    here.service.stop(others)
    eventually(lambda: "results.json" in here.waits_for(job), "it waits for its results")
    results.write_text(json.dumps({"results": [{"id": 1, "Prediction": "[Final Answer]: 1"}]}))
    assert here.ended(job).ending is Ending.SUCCEEDED
    assert sorted(here.answered("answer")) == [2, 3, 4, 5, 6]


def test_one_file_that_cannot_be_read_beside_others_keeps_its_config_from_running(here: Control) -> None:
    folder = here.output("answer")
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(
        json.dumps({"results": [{"id": 1, "Prediction": "[Final Answer]: 1"}]})
    )
    torn = folder / "checkpoint.json"
    torn.write_text('{"results": [{"id": 2, "Prediction": "an answer that a rerun must not give again')
    refused = hitui(here, "rerun", "answer", "--wait")
    assert refused.returncode == 1
    assert refused.stderr.startswith("hitui: g/answer: result/g/answer/checkpoint.json: ")
    assert not (folder / "results.jsonl").exists()
    torn.rename(here.root / "put-away.json")
    assert hitui(here, "rerun", "answer", "--wait").returncode == 0
    assert sorted(here.answered("answer")) == [2, 3, 4, 5, 6]


def test_what_is_wrong_with_results_that_count_is_said_before_they_are_run(here: Control) -> None:
    results = here.output("answer") / "results.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps({"results": [5, {"id": 1, "Prediction": "[Final Answer]: 1"}]}))
    done = hitui(here, "rerun", "answer", "--wait")
    assert done.returncode == 0
    assert done.stderr.startswith("hitui: g/answer: result/g/answer/results.json: ")


def test_with_an_empty_question_list_nothing_runs(here: Control) -> None:
    (here.root / "questions.json").write_text('{"queries": []}')
    done = hitui(here, "rerun", "answer", "--wait")
    assert (done.returncode, done.stdout) == (1, "")
    line = f"hitui: g/answer: there is no question list to say what is pending; {here.root}/questions.json gives none"
    assert done.stderr.startswith(line)
    assert listed(here) == []
