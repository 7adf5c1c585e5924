"""hitui's commands in processes of their own, forked from one that has started Python and imported hitui already.

A command takes a tenth of a second and does its work in a few milliseconds of it; the tests give some six hundred.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READ_AT_THE_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ")
"""Variables that begin so are read when a program starts. Where a test has others, Python starts anew."""


def run_hitui(
    *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end, without input.

    `env` is its whole environment, by default that of this process. `timeout` is in seconds; raises
    `subprocess.TimeoutExpired`, and the command is killed.
    """
    env = dict(os.environ if env is None else env)
    ready = _ready()
    if _read_at_the_start(env) != ready.environment:
        command = [sys.executable, "-m", "hitui", *words]
        return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    return ready.run(list(words), env, cwd or Path.cwd(), timeout)


class ReadyPython:
    """A process that forks itself for each command. It ends with this one, however that ends."""

    def __init__(self) -> None:
        self.environment = _read_at_the_start(os.environ)
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.tools.ready_python", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                # As a command has them: Python asks at its start whether they can be sought in.
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def run(
        self, words: list[str], env: dict[str, str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        deadline = time.monotonic() + timeout
        request = json.dumps({"words": words, "env": env, "cwd": str(cwd)}).encode()
        said, replies = socket.socketpair()
        output, errors = os.pipe(), os.pipe()
        with said, os.fdopen(output[0], "rb") as out, os.fdopen(errors[0], "rb") as err:
            with replies, os.fdopen(output[1], "wb") as its_out, os.fdopen(errors[1], "wb") as its_err:
                descriptors = [its_out.fileno(), its_err.fileno(), replies.fileno()]
                socket.send_fds(self._requests, [request], descriptors)
            pid = int(said.recv(100))
            try:
                printed = _read_all([out.fileno(), err.fileno()], deadline)
                said.settimeout(max(0.1, deadline - time.monotonic()))
                status = int(said.recv(100))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout) from None
        return subprocess.CompletedProcess(words, status, *printed)

    def close(self) -> None:
        self._requests.close()
        self._process.communicate()


@functools.cache
def _ready() -> ReadyPython:
    ready = ReadyPython()
    atexit.register(ready.close)
    return ready


def _read_at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(READ_AT_THE_START)}


def _read_all(descriptors: list[int], deadline: float) -> list[str]:
    """What comes from each until all their writers are gone."""
    read = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                read[key.fd] += piece
                if not piece:
                    selector.unregister(key.fd)
    return [text.decode() for text in read.values()]


def serve(requests: socket.socket) -> list[str] | None:
    """Forks a process for each request.

    Returns in each of these, with the words of its command, and in this one, with None, when nobody asks any more.
    """
    # Who waits for a command and tells how it ended is a process too, and nobody waits for that one.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            return None
        if os.fork() == 0:
            requests.close()
            return _command(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _command(request: dict[str, Any], out: int, err: int, replies: int) -> list[str]:
    """Forks the command, in which it returns; this process says its pid, waits for it, says its status and ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        os.write(replies, b"%d" % pid)
        os.close(out)
        os.close(err)
        _, status = os.waitpid(pid, 0)
        os.write(replies, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(replies)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    words: list[str] = request["words"]
    return words


def main() -> int:
    from hitui.cli import COMMANDS
    from hitui.cli import main as hitui

    for verb in COMMANDS:
        importlib.import_module(f"hitui.commands.{verb}")
    words = serve(socket.socket(fileno=int(sys.argv[1])))
    return 0 if words is None else hitui(words)


if __name__ == "__main__":
    sys.exit(main())
