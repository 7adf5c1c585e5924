"""Who is who in /proc, and that a signal reaches nobody else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hitui.adapters.processes import JOB_VARIABLE, Process, alive, children, find_process, members, send
from tests.tools.eventually import eventually

LEADERLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
"""Its first thread ends, and another goes on."""


@contextmanager
def running(*argv: str, **environment: str) -> Iterator[Process]:
    """A program in a session of its own, all of which is killed at the end."""
    with subprocess.Popen(argv, env=environment, start_new_session=True) as child:
        try:
            found = find_process(child.pid)
            assert found is not None
            yield found
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def test_a_signal_reaches_this_process_and_no_other_with_its_pid() -> None:
    with running("sleep", "1000") as process:
        other = Process(process.pid, process.start_time + 1)
        assert (alive(process), alive(other)) == (True, False)
        assert not send(other, signal.SIGKILL)
        assert alive(process)
        assert send(process, signal.SIGTERM)
        eventually(lambda: not alive(process))
        assert not send(process, signal.SIGTERM)


def test_a_job_has_what_is_marked_what_descends_from_it_and_what_is_in_its_session(tmp_path: Path) -> None:
    marker = f"{tmp_path}:1"
    longer = {JOB_VARIABLE: f"{marker}2"}
    with running("sh", "-c", "sleep 1000 & wait") as shell, running("sleep", "1000", **longer) as marked:
        [child] = eventually(lambda: children(shell.pid))
        helper = find_process(child)
        assert helper is not None
        assert members(longer[JOB_VARIABLE]) == {marked}
        assert members(marker) == set()
        assert members(marker, [shell]) == {helper}
        assert members(marker, [Process(shell.pid, shell.start_time + 1)]) == set()
        assert members(marker, [], [shell.pid]) == {shell, helper}


def test_a_program_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a) R (b"
    shutil.copy(shutil.which("sleep") or "", path)
    with running(str(path), "1000") as process:
        assert process in members("", [], [process.pid])
        assert process.pid in children(os.getpid())


def test_a_process_lives_as_long_as_one_of_its_threads() -> None:
    with running(sys.executable, "-c", LEADERLESS) as process:
        stat = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: ") Z " in stat.read_text())
        assert alive(process)
