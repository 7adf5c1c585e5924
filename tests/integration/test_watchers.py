"""What screens and listings hear of a supervisor's jobs, whole or as changes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Ended, JobsSnapshot
from hitui.errors import LaunchError
from hitui.supervisor import wire
from hitui.supervisor.client import socket_address
from hitui.supervisor.snapshots import read_whole
from tests.tools.commands import hitui
from tests.tools.control import Control, control
from tests.tools.eventually import eventually


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def _words(snapshot: JobsSnapshot) -> list[str]:
    return [job.word for job in snapshot.jobs]


def test_changes_add_up_to_what_the_supervisor_says_when_it_is_asked(here: Control) -> None:
    here.service.ensure_supervisor()
    watch = here.client.open_watch()
    heard = iter(watch)
    assert next(heard).jobs == ()
    first = here.submit("hang")
    here.submit("answer", gpus=("0", "1"))
    # What it waits for may change between the line and the answer; then another line follows.
    snapshot = next(
        snapshot
        for snapshot in heard
        if _words(snapshot) == ["running", "queued"]
        and getattr(snapshot.jobs[1].state, "waits_for", "")
        and snapshot == here.client.jobs()
    )
    here.client.stop([first])
    snapshot = next(snapshot for snapshot in heard if _words(snapshot) == ["stopped", "succeeded"])
    assert all(isinstance(job.state, Ended) for job in snapshot.jobs)
    assert snapshot == here.client.jobs()
    watch.close()


def test_a_watcher_from_before_an_upgrade_hears_everything_each_time(here: Control) -> None:
    here.service.ensure_supervisor()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        with socket_address(here.paths.socket) as address:
            connection.connect(address)
        connection.sendall(wire.encode({"do": "watch"}))
        with connection.makefile("rb") as lines:
            here.submit("hang")
            words = []
            for line in lines:
                # It asks for the list of jobs in every line, and for each of these values.
                jobs = wire.decode(line)["jobs"]
                assert all(
                    {"id", "request", "state", "detail", "log", "events", "task_count"} <= job.keys()
                    for job in jobs
                )
                words = _words(read_whole(line))
                if words == ["running"]:
                    break
            assert words == ["running"]


def test_a_listing_asks_for_one_job_of_each_config(here: Control) -> None:
    running = here.submit("hang", ids=(1,))
    here.told("hang", "main")
    waiting = here.submit("hang", ids=(2,))
    here.submit("hang", ids=(3,))
    other = here.submit("answer", gpus=("0", "1"))
    found = here.service.foremost_once()
    assert found == {"g/hang": (here.job(running),), "g/answer": found["g/answer"]}
    assert [job.id for job in found["g/answer"]] == [other]
    here.client.stop([running])
    here.ended(running)
    assert [job.id for job in here.service.foremost_once()["g/hang"]] == [waiting]
    here.client.shut_down()
    assert [job.id for job in here.service.foremost_once()["g/hang"]] == [waiting]


def test_a_file_whose_name_is_no_text_blinds_nobody(here: Control) -> None:
    first = here.submit("hang", gpus=("0",))
    here.running(first)
    waiting = here.submit("answer", gpus=("0",))
    broken = here.output("answer") / os.fsdecode(b"results_\xe9.json")
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("{")
    here.client.stop([first])
    eventually(lambda: "results_\udce9.json" in here.waits_for(waiting), "what it waits for names the file")
    for words in (("queue",), ("jobs",), ("why", str(waiting)), ("jobs", "--json")):
        done = hitui(here, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "g/answer" in done.stdout
    here.output("answer2").symlink_to(broken.parent)
    with pytest.raises(LaunchError, match="results_\udce9\\.json"):
        here.submit("answer2")
    watch = here.client.open_watch()
    assert next(iter(watch)) == here.client.jobs()
    watch.close()
