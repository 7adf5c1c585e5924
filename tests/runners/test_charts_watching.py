"""What is kept of a process that is minded."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts import watching

from tests.runners.charts import descriptors, running
from tests.tools.eventually import eventually


def minded(
    folder: Path,
    script: str,
    job: bytes,
    result: int,
    handed: list[int],
    *,
    processes: int = 10,
    tell: Callable[[int], None] = lambda group: None,
) -> watching.Ended:
    """How a script of the shell ended, within limits that it need not break."""
    return watching.mind(
        ["/bin/sh", "-c", script],
        job=job,
        environment={"PATH": os.environ["PATH"]},
        folder=str(folder),
        result=result,
        handed=handed,
        seconds=60,
        memory=2**30,
        processes=processes,
        files=10,
        keep={"result": 100, "printed": 100, "complaints": 100},
        stop=threading.Event(),
        tell=tell,
    )


def test_what_is_written_just_before_the_end_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wait, go = os.pipe()
    looks = 0

    def has_ended(pid: int) -> bool:
        """Lets it write and end only when it is asked after, and has been found idle before."""
        nonlocal looks
        looks += 1
        if looks == 4:
            os.write(go, b"\n")
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return looks >= 4

    monkeypatch.setattr(watching, "_has_ended", has_ended)
    before = descriptors()
    read_end, write_end = os.pipe()
    script = f"read go < /dev/fd/{wait}; echo printed; echo result > /dev/fd/{write_end}"
    told: list[int] = []
    ended = minded(tmp_path, script, b"", read_end, [write_end, os.dup(wait)], tell=told.append)
    # Which group is to be killed should this process be, and that none is any more: its number may be another's.
    assert (len(told), told[0] > 0, told[-1]) == (2, True, 0)
    # Of thousands of programs none leaves any.
    assert descriptors() <= before
    os.close(go)
    os.close(wait)
    assert (ended.status, ended.result, ended.printed, ended.overrun) == (0, b"result\n", b"printed\n", None)


def test_what_was_said_before_a_limit_was_broken_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go, said = (tmp_path / name for name in ("asked", "go", "said"))

    def overrun(*_: int) -> str | None:
        """Breaks the limit as soon as something was said, which nobody has read then."""
        if not asked.exists():
            return None
        go.touch()
        eventually(said.exists, "it has said something")
        return "processes"

    monkeypatch.setattr(watching, "_overrun", overrun)
    read_end, write_end = os.pipe()
    script = f"""
        echo > /dev/fd/{write_end}
        read job
        touch {asked}
        until [ -e {go} ]; do :; done
        echo said > /dev/fd/{write_end}
        touch {said}
        read more
    """
    ended = minded(tmp_path, script, b"job\n", read_end, [write_end])
    assert (ended.result, ended.overrun) == (b"\nsaid\n", "processes")


def test_more_processes_than_allowed_end_it_with_all_of_them(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    word = f"1000.{uuid.uuid4().int}"
    # Those that build walls are no part of what is allowed.
    script = f"for one in 1 2 3 4; do sleep {word} & done; wait"
    ended = minded(tmp_path, script, b"", read_end, [write_end], processes=0)
    assert ended.overrun == "processes"
    eventually(lambda: not running(word))


def test_what_cannot_be_started_leaves_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    read_end, write_end = os.pipe()
    with pytest.raises(FileNotFoundError):
        minded(tmp_path / "absent", "", b"", read_end, [write_end])
    assert descriptors() <= before
