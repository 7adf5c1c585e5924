"""A program in a pseudo-terminal of its own: when a text appears, and what processor time it uses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Sequence

import psutil


class TerminalProgram:
    """Starts `argv` in a pseudo-terminal of `columns` by `rows`; use as a context manager."""

    def __init__(self, argv: Sequence[str], env: dict[str, str], columns: int = 200, rows: int = 50) -> None:
        self.started = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(env, TERM="xterm-256color", COLUMNS=str(columns), LINES=str(rows))
            os.execvp(argv[0], list(argv))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __enter__(self) -> TerminalProgram:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def seconds_until(self, marker: bytes, limit: float = 30.0) -> float:
        """Seconds from the start until `marker` is on the terminal. Raises TimeoutError after `limit`."""
        seen = b""
        while time.perf_counter() - self.started < limit:
            if select.select([self._fd], [], [], 0.5)[0]:
                try:
                    seen += os.read(self._fd, 65536)
                except OSError as error:
                    raise TimeoutError(f"ended without showing {marker!r}: {seen[-500:]!r}") from error
                if marker in seen:
                    return time.perf_counter() - self.started
        raise TimeoutError(f"{marker!r} did not appear within {limit} s: {seen[-500:]!r}")

    def drain(self, seconds: float) -> int:
        """Reads what the program paints for so long; returns how many bytes that were."""
        end = time.perf_counter() + seconds
        count = 0
        while (left := end - time.perf_counter()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                count += len(os.read(self._fd, 65536))
        return count

    def cpu_percent(self, settle: float, seconds: float) -> tuple[float, float, int]:
        """Percent of one core over `seconds` after `settle` seconds, memory in MiB, bytes painted."""
        self.drain(settle)
        process = psutil.Process(self.pid)
        before = process.cpu_times()
        painted = self.drain(seconds)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return 100 * used / seconds, process.memory_info().rss / 2**20, painted
