"""hitui's commands as a user types them."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import Any, NamedTuple

from hitui.cli import main
from tests.tools.control import Control
from tests.tools.ready_python import run_hitui


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def hitui(here: Control, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end, in a process of its own."""
    return run_hitui("-w", str(here.root), *words)


def typed(here: Control, *words: str) -> Done:
    """The same in this process, which saves starting Python."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(["-w", str(here.root), *words])
        except SystemExit as end:
            status = int(end.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def listed(here: Control, *words: str) -> list[dict[str, Any]]:
    """What `hitui jobs --json` prints."""
    found: list[dict[str, Any]] = json.loads(typed(here, "jobs", "--json", *words).stdout)
    return found


@contextlib.contextmanager
def begun(here: Control, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs, its output line by line; killed at the end if it still runs."""
    process = subprocess.Popen(
        _command(here, words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], start: str) -> list[str]:
    """The lines of a command's output up to the first one that starts so. Fails the test where none comes."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(start):
            return lines
    raise AssertionError(f"no line starts with {start!r}: {lines}")


def shown_on_a_terminal(here: Control, *words: str, columns: int = 0) -> bytes:
    """What a command sends to a terminal of so many columns."""
    parent, child = pty.openpty()
    if columns:
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(_command(here, words), stdout=child, stdin=subprocess.DEVNULL)
    os.close(child)
    shown = b""
    # A pseudo-terminal whose other end is closed answers with an error, not with the end of a file.
    with contextlib.suppress(OSError):
        while chunk := os.read(parent, 4096):
            shown += chunk
    os.close(parent)
    assert process.wait(60) == 0
    return shown


def _command(here: Control, words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "hitui", "-w", str(here.root), *words]
