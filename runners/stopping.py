"""Signals that ask a run to stop, turned into an exception at a safe point.

SIGTERM and SIGINT: drop the task at hand, flush, exit with 143 or 130. SIGUSR1: the same with 75, "put me back
in the queue". A second signal of these kills at once, by the system's own default. A call into native code that
never returns is interrupted by that second signal only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_STATUSES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 75}


def stop_with_stdin() -> None:
    """From now on the end of stdin asks to stop as SIGTERM does: it comes even when who held the other end was killed."""
    main = threading.main_thread().ident
    assert main is not None

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                continue
        signal.pthread_kill(main, signal.SIGTERM)

    # A daemon: it is not waited for, and holds nothing that an end would need.
    threading.Thread(target=wait, name="stdin", daemon=True).start()


class Stopped(BaseException):
    """A signal asked the run to stop. No `Exception`, so that no library swallows it."""

    def __init__(self, exit_status: int) -> None:
        super().__init__(exit_status)
        self.exit_status = exit_status


class StopSignals:
    """Raises `Stopped` in the main thread when a signal comes, except inside `held()`."""

    def __init__(self) -> None:
        self._exit_status: int | None = None
        self._holds = 0

    def install(self) -> None:
        """Takes over the signals. Only the main thread of a process may do it."""
        for number in EXIT_STATUSES:
            signal.signal(number, self._receive)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What runs inside is not interrupted; a signal that came meanwhile raises at its end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        self.check()

    def check(self) -> None:
        """Raises `Stopped` if a signal has come: libraries can swallow the first one."""
        if self._exit_status is not None and not self._holds:
            raise Stopped(self._exit_status)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._exit_status = EXIT_STATUSES[signal.Signals(number)]
        for every in EXIT_STATUSES:
            signal.signal(every, signal.SIG_DFL)
        self.check()
