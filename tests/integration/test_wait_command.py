"""`hitui run --wait`: what it says while its jobs crash, are paused, wait for their group or join another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Ending
from tests.tools.commands import begun, hitui, lines_until, listed, typed
from tests.tools.control import HEAD, Control, control
from tests.tools.plain_python import demo_runner

RETRIED = HEAD.replace("retries = 0", 'retries = 1\nretry_pause = "0s"')


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def test_a_wait_goes_on_with_the_job_that_takes_the_place_of_one_that_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control(tmp_path, monkeypatch) as here:
        here.write_settings(RETRIED)
        done = hitui(here, "run", "fail", "--wait")
        assert done.returncode == 1
        assert "\njob 1 goes on as job 2\n" in done.stdout
        assert done.stderr.startswith("hitui: g/fail: 6 of 6 tasks without an answer; job 2 failed: ")
        assert [(job["attempt"], job["replaces"]) for job in listed(here)] == [(1, None), (2, 1)]
        first, second = typed(here, "jobs").stdout.splitlines()[1:]
        assert "attempt 2, exit status 3" in second
        assert not re.search(r"  attempt", first)


def test_a_wait_says_that_its_job_was_paused_and_how_it_goes_on(here: Control) -> None:
    with begun(here, "run", "hang", "--wait") as process:
        lines_until(process, "job 1 running")
        typed(here, "pause", "1")
        lines = lines_until(process, "job 2 waits for")
        assert lines[-1] == "job 2 waits for someone to resume it: paused by hand; `hitui resume 2` does"
        assert "job 1 goes on as job 2" in lines
        typed(here, "resume", "2")
        lines_until(process, "job 2 running")
        typed(here, "stop", "2")
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert process.stderr.read() == (
            "hitui: g/hang: 6 of 6 tasks without an answer; job 2 stopped: on request\n"
        )


def test_a_wait_that_nobody_reads_any_more_claims_no_success(here: Control) -> None:
    with begun(here, "run", "hang", "--wait") as process:
        lines_until(process, "job 1 running")
        assert process.stdout is not None
        process.stdout.close()
        typed(here, "stop", "1")
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_group_that_was_stopped_because_its_jobs_died_says_so_wherever_one_looks(here: Control) -> None:
    typed(here, "run", "hang", "--gpus", "0")
    here.running(1)
    with begun(here, "run", "answer", "--gpus", "0", "--group", "eval", "--wait") as process:
        lines_until(process, "job 2 waits for")
        for job in (3, 4):
            typed(here, "run", "fail", "--gpus", "1", "--group", "eval")
            assert here.ended(job).ending is Ending.FAILED
        line = (
            "group eval is paused: #3 and #4 failed at their start: model.safetensors: no such file;"
            " `hitui queue resume eval` lets its jobs start"
        )
        assert lines_until(process, "job 2 waits for")[-1] == (
            "job 2 waits for group eval to be resumed: #3 and #4 failed at their start: model.safetensors:"
            " no such file; `hitui queue resume eval` does"
        )
        listing = typed(here, "queue").stdout.splitlines()
        assert listing[0] == line
        # Of each job only that, not why once more.
        assert listing[-1].endswith("waits for group eval to be resumed")
        assert typed(here, "jobs").stderr == f"hitui: {line}\n"
        assert typed(here, "run", "answer2", "--group", "eval").stderr == f"hitui: {line}\n"
        assert typed(here, "run", "answer3").stderr == ""
        typed(here, "stop", "1")
        typed(here, "queue", "resume", "eval")
        assert lines_until(process, "g/answer:")[-1] == "g/answer: 6 tasks answered"
        assert process.wait(60) == 0


def test_a_job_that_joined_another_is_followed_and_never_taken_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HITUI_DEMO_SECONDS", "0.02")
    monkeypatch.setenv("HITUI_DEMO_FAILURE_RATE", "0")
    with control(tmp_path, monkeypatch, questions=4, gpus=1) as here:
        text = HEAD + demo_runner(here.root.parent)
        for table_format in ("html", "csv"):
            text += f'[[config]]\nname = "g/{table_format}"\nmodality = "text"\nformat = "{table_format}"\n'
        (here.root / "hitui.toml").write_text(text)
        done = hitui(here, "run", "html", "csv", "--wait")
        assert done.returncode == 0, done.stderr
        assert "\njob 2 goes on as job 1\n" in done.stdout
        assert done.stdout.endswith("g/html: 4 tasks answered\ng/csv: 4 tasks answered\n")
        leader, joined = listed(here)
        assert (leader["configs"], joined["state"]) == (["g/html", "g/csv"], "joined")
        assert " g/html +1 " in typed(here, "jobs").stdout
        refused = typed(here, "stop", "2")
        assert (refused.returncode, refused.stderr) == (
            1,
            "hitui: job 2 joined job 1, which is on g/html too; name job 1 for all of it\n",
        )
        typed(here, "queue", "pause", "default")
        assert typed(here, "retry", "2") == (
            0,
            "job 3: g/csv, another try of job 2\n",
            "hitui: group default is paused: by hand; `hitui queue resume default` lets its jobs start\n",
        )


def test_what_was_started_elsewhere_is_waited_for_through_its_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with control(tmp_path, monkeypatch) as here:
        here.write_settings(RETRIED)
        assert typed(here, "wait").stdout == "no job runs or waits\n"
        failed = hitui(here, "wait", str(here.submit("fail")))
        assert failed.returncode == 1
        assert failed.stderr.startswith("hitui: g/fail: job 2 failed: ")
        # What had ended before it was asked about is told as it ended.
        assert typed(here, "wait", "1").stderr == failed.stderr
        assert typed(here, "wait", str(here.submit("answer"))).returncode == 0
        assert typed(here, "wait", "99").returncode == 3
        here.running(here.submit("hang"))
        with begun(here, "wait") as process:
            lines_until(process, "job 4 running")
            typed(here, "stop", "4")
            assert process.wait(60) == 1
        # Of those that failed before nobody asked.
        assert typed(here, "wait") == (0, "no job runs or waits\n", "")


def test_a_wait_for_jobs_that_nobody_reads_claims_no_success_either(here: Control) -> None:
    here.running(here.submit("hang"))
    with begun(here, "wait", "1") as process:
        lines_until(process, "job 1 running")
        assert process.stdout is not None
        process.stdout.close()
        typed(here, "stop", "1")
        assert process.wait(60) == 1
