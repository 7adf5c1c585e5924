"""The queue as a user types it: order, groups, limits, pauses, times, and jobs that wait for others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.processes import find_process
from hitui.domain.jobs import Ending
from tests.tools.commands import listed, shown_on_a_terminal, typed
from tests.tools.control import Control, control, environment_of
from tests.tools.eventually import eventually
from tests.tools.ready_python import run_hitui


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def waiting(here: Control) -> Control:
    """Jobs 1 to 4 are queued and held."""
    for config in ("answer", "answer2", "answer3", "quit"):
        assert typed(here, "run", config, "--hold").returncode == 0
    return here


def queue(here: Control) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(typed(here, "queue", "--json").stdout)
    return found


def order(here: Control) -> list[int]:
    return [job["id"] for job in queue(here)["queued"]]


def test_what_is_said_of_a_job_is_printed_and_kept(here: Control) -> None:
    assert typed(here, "run", "hang").stdout == "job 1: g/hang, 6 tasks\n"
    day = f"{time.localtime().tm_year + 1}-06-30"
    words = ["--priority", "5", "--group", "eval", "--after", "1", "--at", f"{day} 08:00", "--hold"]
    here.running(1)
    done = typed(here, "rerun", "answer", *words)
    assert done.stdout == (
        f"job 2: g/answer, 6 tasks, priority 5, group eval, not before {day} 08:00, after job 1,"
        " held: `hitui resume 2` lets it start\n"
    )
    first, second = listed(here)
    said = ("group", "priority", "attempt", "replaces", "after", "after_success", "not_before", "held")
    assert [first[key] for key in said] == ["default", 0, 1, None, [], [], None, ""]
    assert [second[key] for key in said[:6]] == ["eval", 5, 1, None, [1], []]
    assert second["not_before"].startswith(f"{day}T08:00:00")
    assert second["held"] == "as --hold asked"


def test_the_listing_has_what_runs_on_top_and_then_the_order(waiting: Control) -> None:
    typed(waiting, "run", "hang", "--gpus", "1", "--group", "big")
    waiting.running(5)
    assert typed(waiting, "queue", "priority", "3", "7").stdout == "job 3: g/answer3, priority 7\n"
    moved = typed(waiting, "queue", "group", "2", "3", "eval").stdout
    assert moved == "job 2: g/answer2, group eval\njob 3: g/answer3, group eval\n"
    done = typed(waiting, "queue", "limit", "eval", "2")
    assert done.stdout == "group eval: at most 2 run at a time\n"
    waiting.waits_for(4)
    lines = typed(waiting, "queue").stdout.splitlines()
    assert lines[0] == "group eval: at most 2 run at a time, running: 0, waiting: 2"
    assert lines[1].split() == ["job", "config", "state", "GPU", "priority", "group"]
    assert [line.split()[0] for line in lines[2:]] == ["5", "3", "1", "2", "4"]
    assert lines[2].split() == ["5", "g/hang", "running", "1", "0", "big"]
    assert lines[3].split()[:5] == ["3", "g/answer3", "queued", "7", "eval"]
    assert lines[3].endswith("waits for someone to resume it: as --hold asked")
    known = queue(waiting)
    assert [job["id"] for job in known["running"]] == [5]
    assert known["groups"] == [
        {"name": "big", "limit": None, "paused": "", "running": 1, "queued": 0},
        {"name": "default", "limit": None, "paused": "", "running": 0, "queued": 2},
        {"name": "eval", "limit": 2, "paused": "", "running": 0, "queued": 2},
    ]


def test_jobs_are_moved_by_hand(waiting: Control) -> None:
    for words, after in (
        (["4", "first"], [4, 1, 2, 3]),
        (["4", "down"], [1, 4, 2, 3]),
        (["3", "up"], [1, 4, 3, 2]),
        (["1", "last"], [4, 3, 2, 1]),
        (["2", "before", "4"], [2, 4, 3, 1]),
        (["2", "up"], [2, 4, 3, 1]),
        (["1", "down"], [2, 4, 3, 1]),
    ):
        done = typed(waiting, "queue", "move", *words)
        assert done.stdout == f"job {words[0]} is number {after.index(int(words[0])) + 1} of 4 in the queue\n"
        assert order(waiting) == after
    done = typed(waiting, "queue", "move", "4", "before", "4")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("job 4 cannot go before itself")
    assert order(waiting) == [2, 4, 3, 1]


def test_a_move_changes_a_priority_no_further_than_the_order_needs(waiting: Control) -> None:
    typed(waiting, "queue", "priority", "1", "2", "9")
    typed(waiting, "queue", "priority", "3", "5")
    assert order(waiting) == [1, 2, 3, 4]
    # Between 9 and 5 there is room for what 9 was, and between 5 and 0 for what 5 was.
    assert "priority" not in typed(waiting, "queue", "move", "1", "down").stdout
    assert typed(waiting, "queue", "move", "4", "up").stdout.endswith(", now of priority 5\n")
    assert typed(waiting, "queue", "move", "2", "last").stdout.endswith(", now of priority 5\n")
    assert order(waiting) == [1, 4, 3, 2]
    assert [job["priority"] for job in queue(waiting)["queued"]] == [9, 5, 5, 5]


def test_a_group_has_a_limit_and_pauses_of_its_own(here: Control) -> None:
    typed(here, "queue", "limit", "eval", "1")
    done = typed(here, "queue", "pause", "eval")
    assert done.stdout == "group eval is paused; jobs that wait: 0, that run on: 0\n"
    done = typed(here, "run", "hang", "stubborn", "--group", "eval")
    line = "group eval is paused: by hand; `hitui queue resume eval` lets its jobs start"
    assert done.stderr == f"hitui: {line}\n"
    typed(here, "run", "answer", "--wait")
    here.waits_for(2)
    assert typed(here, "queue").stdout.splitlines()[0] == line
    assert typed(here, "jobs").stderr == f"hitui: {line}\n"
    # With what keeps its jobs from starting still.
    typed(here, "queue", "pause")
    still = "the queue is paused: by hand; `hitui queue resume` lets its jobs start\n"
    assert typed(here, "queue", "resume", "eval").stdout == f"group eval goes on\n{still}"
    assert typed(here, "queue", "resume").stdout == "the queue goes on\n"
    assert typed(here, "queue", "resume").stdout == "the queue was not paused\n"
    here.running(1)
    eventually(lambda: here.waits_for(2) == "a place in group eval: 1 of 1 run")
    done = typed(here, "queue", "limit", "eval", "none")
    assert done.stdout == "group eval: as many as find GPUs run at a time\n"
    here.running(2)
    typed(here, "queue", "pause", "eval")
    # What has ended is not listed, a pause is no limit, and a group that has one is listed without any job.
    assert [job["id"] for job in queue(here)["running"]] == [1, 2]
    typed(here, "queue", "limit", "idle", "1")
    assert typed(here, "queue").stdout.splitlines()[1].startswith("group idle: at most 1 run at a time")
    assert [group["name"] for group in queue(here)["groups"]] == ["eval", "idle"]
    typed(here, "queue", "resume", "eval")
    assert typed(here, "queue", "resume", "eval").stdout == "group eval was not paused\n"


def test_the_whole_queue_is_paused_and_resumed(here: Control) -> None:
    typed(here, "run", "hang")
    here.running(1)
    assert typed(here, "queue", "pause").stdout == "the queue is paused; jobs that wait: 0, that run on: 1\n"
    done = typed(here, "run", "answer")
    assert done.stderr == "hitui: the queue is paused: by hand; `hitui queue resume` lets its jobs start\n"
    eventually(lambda: here.waits_for(2) == "the queue to be resumed: paused by hand")
    assert queue(here)["queued"][0]["waits_kind"] == "queue paused"
    assert typed(here, "queue", "resume").stdout == "the queue goes on\n"
    assert here.ended(2).ending is Ending.SUCCEEDED
    here.running(1)


def test_a_paused_job_gives_its_gpu_back_and_goes_on_when_it_is_resumed(here: Control) -> None:
    typed(here, "run", "hang", "--gpus", "0")
    gpus = here.running(1).gpus
    done = typed(here, "pause", "1")
    assert done.stdout == (
        "job 1: g/hang, stopping; then it is queued again, held; `hitui resume 1` lets it go on\n"
    )
    assert here.ended(1).ending is Ending.STOPPED
    typed(here, "run", "answer", "--gpus", "0", "--wait")
    held, other = listed(here)[1:]
    assert (held["replaces"], held["held"], held["state"], held["attempt"]) == (
        1,
        "paused by hand",
        "queued",
        1,
    )
    assert (other["state"], tuple(other["gpus"])) == ("succeeded", gpus)
    # By its first number too.
    done = typed(here, "resume", "1")
    assert done.stdout == "job 1 went on as job 2\njob 2: g/hang, queued\n"
    here.running(2)


def test_a_job_can_be_resumed_while_it_still_stops(here: Control) -> None:
    typed(here, "run", "hang")
    here.running(1)
    typed(here, "pause", "1")
    assert typed(here, "resume", "1").returncode == 0
    here.running(2)
    # Who stops it by its first number means what goes on of it.
    done = typed(here, "stop", "1")
    assert done.stdout.startswith("job 1 went on as job 2\njob 2: g/hang, stopp")
    assert here.ended(2).ending is Ending.STOPPED


def test_jobs_wait_for_others_and_for_their_success(here: Control) -> None:
    typed(here, "run", "hang")
    here.running(1)
    typed(here, "run", "answer", "--after", "1")
    typed(here, "run", "answer2", "--after-success", "1")
    typed(here, "run", "answer3", "--after-success", "2")
    assert here.waits_for(3) == "job 1: to succeed"
    typed(here, "stop", "1")
    assert here.ended(2).ending is Ending.SUCCEEDED
    assert here.ended(3).ending is Ending.NOT_STARTED
    assert here.ended(4).ending is Ending.SUCCEEDED
    done = typed(here, "run", "answer2", "--after-success", "1,2")
    assert (done.returncode, done.stderr) == (
        1,
        "hitui: job 1 ended as stopped: nothing can follow its success\n",
    )
    assert typed(here, "run", "answer2", "--after", "1,77").returncode == 3


def test_what_follows_a_job_follows_the_one_that_took_its_place(here: Control) -> None:
    typed(here, "run", "hang")
    here.running(1)
    typed(here, "run", "answer", "--after", "1")
    typed(here, "pause", "1")
    here.ended(1)
    # Asked for before and after it was paused.
    assert typed(here, "run", "answer2", "--after", "1").stdout.endswith(", after job 3\n")
    assert [(job["id"], job["after"]) for job in listed(here)] == [(1, []), (2, [3]), (3, []), (4, [3])]


def test_a_job_waits_for_a_process_of_anyone(here: Control) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as other:
        done = typed(here, "run", "answer", "--when-gone", str(other.pid))
        assert done.stdout == f"job 1: g/answer, 6 tasks, after process {other.pid}\n"
        assert here.waits_for(1) == f"process {other.pid}: to end"
        assert listed(here)[0]["after_processes"] == [other.pid]
        other.kill()
    assert here.ended(1).ending is Ending.SUCCEEDED
    assert find_process(other.pid) is None
    done = typed(here, "run", "answer2", "--when-gone", f"{os.getpid()},{other.pid}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"hitui: --when-gone: no process {other.pid} runs (any more);")
    assert len(listed(here)) == 1


def test_a_job_waits_for_its_time_and_starts_at_once_when_it_is_resumed(here: Control) -> None:
    typed(here, "run", "answer", "--at", "+3h")
    assert here.waits_for(1).endswith(": it starts then")
    assert typed(here, "resume", "1").stdout == "job 1: g/answer, queued\n"
    assert here.ended(1).ending is Ending.SUCCEEDED
    typed(here, "run", "answer2", "--at", "+1s")
    assert here.ended(2).ending is Ending.SUCCEEDED


def test_a_retry_runs_what_is_pending_in_the_environment_that_the_job_had(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_CACHE", "there")
    typed(here, "run", "hang", "--priority", "3", "--group", "eval")
    here.running(1)
    refused = typed(here, "retry", "1")
    assert (refused.returncode, refused.stderr) == (1, "hitui: job 1 has not ended: it is running\n")
    typed(here, "stop", "1")
    here.ended(1)
    monkeypatch.setenv("MODEL_CACHE", "elsewhere")
    typed(here, "run", "stubborn")
    here.running(2)
    done = typed(here, "retry", "2", "1")
    # What can be tried again is, whatever the others are.
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "job 3: g/hang, another try of job 1\n",
        "hitui: job 2 has not ended: it is running\n",
    )
    process = find_process(here.running(3).pid)
    assert process is not None
    assert environment_of(process)["MODEL_CACHE"] == "there"
    again = listed(here)[2]
    assert (again["priority"], again["group"], again["attempt"]) == (3, "eval", 1)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["run", "answer", "--group", "two words"], 2, "a group's name is one word"),
        (["run", "answer", "--group", ""], 2, "a group's name is one word"),
        (["run", "answer", "--group", "a\x1b[2Jb"], 2, "not 'a\\x1b[2Jb'"),
        (["run", "answer", "--group", "x" * 65], 2, "of at most 64 characters"),
        (["queue", "pause", "a:b"], 2, "a group's name is one word"),
        (["run", "answer", "--priority", "high"], 2, "1000000 is expected, not 'high'"),
        (["run", "answer", "--priority", "9" * 5000], 2, "a whole number from -1000000 to 1000000"),
        (["run", "answer", "--after", "1,"], 2, "the number of a job is expected, not ''"),
        (["run", "answer", "--after", "7"], 3, "no job 7"),
        (["run", "answer", "--after-success", "7"], 3, "no job 7"),
        (["run", "answer", "--at", "soon"], 2, "a time such as 22:00"),
        (["run", "answer", "--at", "2020-01-31 08:00"], 2, "2020-01-31 08:00 has passed"),
        (["run", "answer", "--when-gone", "0"], 2, "the pid of a process is expected, not '0'"),
        (["run", "answer", "--when-gone", "9223372036854775807"], 1, "no process 9223372036854775807"),
        (["pause", "7"], 3, "no job 7"),
        (["resume", "99999999999999999999"], 2, "the number of a job is expected"),
        (["retry", "7"], 3, "no job 7"),
        (["queue", "limit", "eval", "0"], 2, "a number from 1 to 1000000, or none, is expected, not '0'"),
        (["queue", "move", "7", "first"], 3, "no job 7"),
        (["queue", "move", "7", "before"], 2, "a second JOB is expected behind `before`"),
        (["queue", "move", "7", "up", "8"], 2, "a second JOB is expected behind `before`"),
        (["queue", "priority", "7", "1"], 3, "no job 7"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(
    here: Control, words: list[str], status: int, said: str
) -> None:
    done = typed(here, *words)
    assert done.returncode == status
    assert said in done.stderr.splitlines()[-1]
    assert "\x1b" not in done.stderr
    assert listed(here) == []


def test_only_what_waits_can_be_put_elsewhere(here: Control) -> None:
    typed(here, "run", "hang")
    here.running(1)
    for words in (["move", "1", "first"], ["priority", "1", "3"], ["group", "1", "eval"]):
        done = typed(here, "queue", *words)
        assert (done.returncode, done.stderr) == (1, "hitui: job 1 is no longer queued: it is running\n")
    typed(here, "stop", "1")
    here.ended(1)
    done = typed(here, "pause", "1")
    assert (done.returncode, done.stderr) == (1, "hitui: job 1 has ended: stopped\n")


def test_the_workspace_may_be_named_behind_the_action_too(here: Control) -> None:
    elsewhere = run_hitui("queue", "pause", "-w", str(here.root), cwd=Path("/"))
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert queue(here)["paused"] == "paused by hand"
    assert typed(here, "queue").stdout == (
        "the queue is paused: by hand; `hitui queue resume` lets its jobs start\n"
        "nothing runs and nothing is queued; `hitui run CONFIG` starts a job\n"
    )


@pytest.mark.parametrize("verb", ["queue", "jobs"])
def test_a_listing_fits_a_terminal_of_80_columns(here: Control, verb: str) -> None:
    settings = (here.root / "hitui.toml").read_text()
    name = "qwen3vl_local_a100_default_truncate_once_more_pic/mix_markdown"
    (here.root / "hitui.toml").write_text(
        settings + f'[[config]]\nname = "{name}"\nrunner = "hang"\nmodality = "text"\nformat = "html"\n'
    )
    typed(here, "run", name, "--group", "a-group-of-a-long-name", "--hold")
    typed(here, "run", "answer", "--hold")
    here.waits_for(2)
    lines = shown_on_a_terminal(here, verb, columns=80).decode().replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 80
    assert "_pic/mix_markdown" in lines[1]
    assert lines[-1].strip().endswith("waits for someone to resume it: as --hold asked")
    # To a pipe each job is one line.
    assert name in typed(here, verb).stdout.splitlines()[1]
    assert len(typed(here, verb).stdout.splitlines()) == 3
