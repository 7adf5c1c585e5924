"""A supervisor starts where none runs, is the only one, and is found by its socket."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitui.adapters.executors.locks import try_lock
from hitui.adapters.processes import JOB_VARIABLE
from hitui.domain.jobs import Ending
from hitui.errors import SupervisorError
from hitui.supervisor import client, running
from tests.tools import many_supervisors
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    with control(tmp_path, monkeypatch) as made:
        yield made


def test_of_those_that_are_started_at_the_same_moment_one_is_the_supervisor(here: Control) -> None:
    """A hundred starts, ten at a time."""
    folder = Path(many_supervisors.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-m", "tests.tools.many_supervisors", str(here.root), "10", "10"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    rounds = json.loads(run.stdout)
    assert len(rounds) == 10
    winners = set()
    for said in rounds:
        assert len(said) == 10
        (line,) = set(said)
        assert re.fullmatch(r"ready \d+ 0", line)
        winners.add(line)
    assert len(winners) == 10
    assert not here.client.answers()


def test_a_second_supervisor_is_harmless(here: Control) -> None:
    first = here.service.ensure_supervisor()
    assert here.service.ensure_supervisor() == first
    here.paths.socket.unlink()
    # Nothing answers where the socket was; the one that holds the lock opens it anew.
    assert here.service.ensure_supervisor() == first
    assert here.paths.socket.stat().st_mode & 0o777 == 0o600
    assert here.paths.socket.parent.stat().st_mode & 0o777 == 0o700


def test_one_that_waits_for_another_takes_over_when_that_ends(here: Control) -> None:
    here.paths.state.mkdir(parents=True)
    other = try_lock(here.paths.supervisor_lock)
    assert other is not None
    here.paths.supervisor_lock.write_text(f"{os.getpid()}\n")
    waits = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: waits.set())
    try:
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(here.service.ensure_supervisor)
            # It asks the holder of the lock, which is this test, to open its socket anew.
            eventually(waits.is_set, "the second one waits")
            os.close(other)
            assert started.result() == here.supervisor().pid
    finally:
        signal.signal(signal.SIGHUP, before)


def test_who_does_not_answer_is_named_and_no_other_process_is_signalled_in_its_place(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a supervisor on another machine, which has the state folder too, the pid may be anybody's here."""
    monkeypatch.setattr(running, "PATIENCE_SECONDS", 0.1)
    here.paths.state.mkdir(parents=True)
    lock = try_lock(here.paths.supervisor_lock)
    assert lock is not None
    with subprocess.Popen(["sleep", "1000"]) as other:
        try:
            here.paths.supervisor_lock.write_text(f"{other.pid}\n")
            with pytest.raises(
                SupervisorError, match=r"\.lock: a supervisor on another machine, .* holds it; set"
            ):
                running._lock_or_reach(here.paths)
            assert other.poll() is None
        finally:
            other.kill()
    asked = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: asked.set())
    try:
        here.paths.supervisor_lock.write_text(f"{os.getpid()}\n")
        with pytest.raises(
            SupervisorError, match=f"does not answer; end process {os.getpid()}, the jobs go on"
        ):
            running._lock_or_reach(here.paths)
        assert asked.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
        os.close(lock)


def test_one_that_is_asked_to_open_its_socket_before_it_has_one_goes_on(here: Control) -> None:
    here.service.ensure_supervisor()
    here.client.shut_down()
    in_use = sqlite3.connect(here.paths.database, isolation_level=None)
    in_use.execute("PRAGMA locking_mode = EXCLUSIVE")
    in_use.execute("BEGIN EXCLUSIVE")
    here.paths.supervisor_lock.write_text("")
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(here.service.ensure_supervisor)
        pid = int(eventually(here.paths.supervisor_lock.read_text, "it holds the lock"))
        os.kill(pid, signal.SIGHUP)
        in_use.close()
        assert started.result() == pid


def test_a_stale_socket_is_replaced_by_one_that_is_no_part_of_the_job_that_starts_it(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = here.service.ensure_supervisor()
    kill(here.supervisor())
    assert here.paths.socket.exists()
    for name in (JOB_VARIABLE, "HITUI_EVENTS"):
        monkeypatch.setenv(name, "of a job")
    # Nor does it run what lies where the job does.
    (here.root / "sqlite3.py").write_text("raise SystemExit")
    monkeypatch.chdir(here.root)
    second = here.service.ensure_supervisor()
    assert second != first
    assert b"of a job" not in Path(f"/proc/{second}/environ").read_bytes()


def test_a_supervisor_that_cannot_start_says_why(here: Control) -> None:
    here.paths.state.mkdir(parents=True)
    database = sqlite3.connect(here.paths.database)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SupervisorError, match=r"state\.db: was written by a newer hitui \(version 99"):
        here.service.ensure_supervisor()


def test_a_slow_start_is_not_blamed_on_what_the_log_says_of_an_earlier_one(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.paths.state.mkdir(parents=True)
    here.paths.supervisor_log.write_text("trouble of yesterday\n")
    monkeypatch.setattr(client, "START_SECONDS", 0.0)
    with pytest.raises(
        SupervisorError, match=r"^the supervisor took too long to start; see .*supervisor\.log$"
    ):
        here.service.ensure_supervisor()
    eventually(here.client.answers, "it is there in the end")


def test_a_socket_may_lie_deeper_than_the_kernel_can_name(
    here: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    here.connect()
    assert len(str(here.paths.socket)) > 107
    assert here.ended(here.submit("answer")).ending is Ending.SUCCEEDED


def test_a_runtime_folder_that_someone_laid_there_is_refused(
    here: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "laid").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "laid" / "hitui").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "laid"))
    here.connect()
    with pytest.raises(SupervisorError, match="is not a folder of yours; set XDG_RUNTIME_DIR"):
        here.service.ensure_supervisor()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "hitui").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "linked"))
    here.connect()
    here.paths.state.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(SupervisorError, match="is not a folder of yours; set XDG_STATE_HOME"):
        here.service.ensure_supervisor()


def test_it_is_found_from_where_another_runtime_folder_is_named_or_none(
    here: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cron, `su` and containers know nothing of a login's."""
    first = here.service.ensure_supervisor()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for named in (str(tmp_path / "another"), None):
        if named is None:
            monkeypatch.delenv("XDG_RUNTIME_DIR")
        else:
            monkeypatch.setenv("XDG_RUNTIME_DIR", named)
        here.connect()
        assert here.service.ensure_supervisor() == first
        assert here.ended(here.submit("answer")).ending is Ending.SUCCEEDED
    here.client.shut_down()
    assert not here.client.answers()
    assert not os.path.lexists(here.paths.socket_link)


def test_it_is_reached_and_starts_where_the_runtime_folder_is_not_there(
    here: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a login is made at the first one and removed with the last one."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    logins = tmp_path / "logins"
    logins.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(logins / "ours"))
    here.connect()
    first = here.service.ensure_supervisor()
    assert here.paths.socket.exists()
    shutil.rmtree(logins)
    # Nobody can make anything below a file.
    logins.touch()
    assert not here.client.answers()
    assert here.service.ensure_supervisor() == first
    assert here.paths.socket_link.readlink().is_relative_to(tmp_path / f"hitui-{os.getuid()}")
    here.client.shut_down()
    assert here.ended(here.submit("answer")).ending is Ending.SUCCEEDED
    assert here.service.ensure_supervisor() != first


def test_one_with_another_state_folder_leaves_the_socket_to_the_one_that_listens(
    here: Control, tmp_path: Path
) -> None:
    """Two of one workspace, neither of which knew of the other's jobs, ran a config twice."""
    first = here.service.ensure_supervisor()
    # As a unit or cron does, which ask nobody whether one runs.
    command = [sys.executable, "-m", "hitui.supervisor", str(here.root)]
    other = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "another")}
    started = subprocess.run(command, env=other, capture_output=True, text=True, check=False, timeout=30)
    assert (
        f"process {first} listens there, a supervisor of this workspace with another state" in started.stdout
    )
    assert here.client.status()["pid"] == first


def test_who_listens_and_is_another_user_is_told_nothing(
    here: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder of temporary files anybody may be the first to make the one that the socket lies in."""
    here.paths.runtime.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, monkeypatch.context() as patch:
        with client.socket_address(here.paths.socket) as address:
            listener.bind(address)
        listener.listen()
        patch.setattr(os, "getuid", lambda: os.geteuid() + 1)
        assert not here.client.answers()
        with pytest.raises(SupervisorError, match="another user listens there"):
            here.client.status()
        with pytest.raises(PermissionError):
            here.client.open_watch()
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1) == b""
    here.paths.socket.unlink()


def test_what_runs_write_is_open_to_whom_the_user_opens_files_and_state_to_nobody(here: Control) -> None:
    before = os.umask(0o002)
    try:
        job = here.submit("answer")
    finally:
        os.umask(before)
    here.ended(job)
    output = here.output("answer")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [output, *output.iterdir()]}
    assert modes == {"answer": 0o775, "results.jsonl": 0o664}
    assert here.paths.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("words", [[], ["--help"], ["--foreground"], ["workspace"], ["--quiet", "/"]])
def test_a_supervisor_that_is_told_no_folder_says_what_it_wants(words: list[str]) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "hitui.supervisor", *words], capture_output=True, text=True, check=False
    )
    assert started.returncode == 2
    assert started.stderr.startswith("usage: ")
    assert len(started.stderr.splitlines()) == 1
