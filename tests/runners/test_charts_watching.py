"""What is kept of a process that is minded."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hitui_runners.realhitbench.charts import watching


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
    read_end, write_end = os.pipe()
    ended = watching.mind(
        ["/bin/sh", "-c", f"read go < /dev/fd/{wait}; echo printed; echo result > /dev/fd/{write_end}"],
        job=b"",
        environment={},
        folder=str(tmp_path),
        result=read_end,
        handed=(write_end, wait),
        seconds=60,
        memory=2**30,
        processes=10,
        files=10,
        keep={"result": 100, "printed": 100, "complaints": 100},
        stop=threading.Event(),
    )
    os.close(go)
    assert (ended.status, ended.result, ended.printed, ended.overrun) == (0, b"result\n", b"printed\n", None)
