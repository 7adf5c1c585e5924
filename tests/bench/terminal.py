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
from collections.abc import Callable, Sequence

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
        self.painted(marker, limit=limit)
        return time.perf_counter() - self.started

    def painted(self, *markers: bytes, limit: float = 30.0) -> bytes:
        """Reads until one of the markers is painted, and says which. Raises TimeoutError after `limit` seconds."""
        seen = b""
        end = time.perf_counter() + limit
        while time.perf_counter() < end:
            seen += self._read(0.5)
            for marker in markers:
                if marker in seen:
                    return marker
        raise TimeoutError(f"{markers} did not appear within {limit} s: {seen[-500:]!r}")

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def read_until(self, condition: Callable[[], object], limit: float = 30.0) -> None:
        """Takes what is painted until the condition holds. Raises TimeoutError after `limit` seconds."""
        end = time.perf_counter() + limit
        while not condition():
            if time.perf_counter() > end:
                raise TimeoutError(f"did not come about within {limit} s: {condition}")
            self._read(0.002)

    def _read(self, seconds: float) -> bytes:
        """What is painted next, empty when that is nothing for so long."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self._fd, 65536)
        except OSError as error:
            raise TimeoutError("the program has ended") from error

    def drain(self, seconds: float) -> int:
        """Reads what the program paints for so long; returns how many bytes that were."""
        end = time.perf_counter() + seconds
        count = 0
        while (left := end - time.perf_counter()) > 0:
            count += len(self._read(left))
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
