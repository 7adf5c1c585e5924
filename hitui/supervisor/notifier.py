"""Sends notices of jobs to where `[notify]` says, in threads of its own: nothing waits for them or fails with them.

Each address has a thread and a line of its own, so that one that is out of reach holds up no other. What comes
about at one time goes as one message; what cannot be sent is tried again a few times and then told to the
supervisor's log. What is not sent when the supervisor is killed is lost.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from hitui.adapters.notify import INSTALL, installed, send
from hitui.domain.notices import Notice, NoticeKind, message_of
from hitui.settings import Settings
from hitui.supervisor.trouble import note, note_error

GATHER_SECONDS = 1.0
"""How long a message waits for what comes about at the same time."""
RETRY_PAUSES = (5.0, 30.0, 120.0)
"""Seconds before each further try."""
MOST_WAITING = 500
"""Notices that wait for one address; the oldest are dropped."""
CLOSE_SECONDS = 3.0
"""How long the end of the supervisor waits for the last messages, all together."""

NOT_INSTALLED = f"[notify] in hitui.toml needs apprise, which is not installed: {INSTALL}"


class Notifier:
    """One workspace's notices. Its methods may be called from any thread."""

    def __init__(
        self,
        workspace: str,
        settings: Callable[[], Settings],
        pauses: tuple[float, ...] = RETRY_PAUSES,
        gather: float = GATHER_SECONDS,
    ) -> None:
        self._workspace = workspace
        self._settings = settings
        self._pauses = pauses
        self._gather = gather
        self._lock = threading.Lock()
        self._addresses: dict[str, _Address] = {}
        self._said = False
        self._closed = False

    def check(self) -> None:
        """Says in the log, once, if notices are wanted and cannot be sent."""
        try:
            if self._settings().notify.urls:
                self._can_send()
        except Exception:  # noqa: BLE001 - nothing about notices may end the supervisor
            note_error()

    def wants(self, kind: NoticeKind) -> bool:
        """Whether notices of this kind are asked for and can be sent. Reads files."""
        wanted = self._settings().notify
        return kind.value in wanted.on and bool(wanted.urls) and self._can_send()

    def tell(self, notice: Notice) -> None:
        """Sends it, if the settings ask for notices of its kind. Reads files, and waits for nothing else."""
        if not self.wants(notice.kind):
            return
        with self._lock:
            if self._closed:
                return
            for url in self._settings().notify.urls:
                if url not in self._addresses:
                    self._addresses[url] = _Address(url, self._workspace, self._pauses, self._gather)
                self._addresses[url].add(notice)

    def close(self) -> None:
        """Ends; what waits is tried once more."""
        with self._lock:
            self._closed = True
            addresses = list(self._addresses.values())
        for address in addresses:
            address.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for address in addresses:
            address.join(max(0.0, deadline - time.monotonic()))

    def _can_send(self) -> bool:
        if installed():
            return True
        if not self._said:
            self._said = True
            note(NOT_INSTALLED)
        return False


class _Address:
    """One address, its thread, and what waits for it."""

    def __init__(self, url: str, workspace: str, pauses: tuple[float, ...], gather: float) -> None:
        self._url = url
        self._workspace = workspace
        self._pauses = pauses
        self._gather = gather
        self._waiting: deque[Notice] = deque(maxlen=MOST_WAITING)
        self._news = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def add(self, notice: Notice) -> None:
        self._waiting.append(notice)
        self._news.set()

    def close(self) -> None:
        self._closed.set()
        self._news.set()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            self._closed.wait(self._gather)
            notices = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if notices:
                self._send(notices)
            if self._closed.is_set() and not self._waiting:
                return

    def _send(self, notices: list[Notice]) -> None:
        title, body = message_of(self._workspace, notices)
        for pause in (*self._pauses, None):
            trouble = send(self._url, title, body)
            if not trouble:
                return
            if pause is None or self._closed.wait(pause):
                break
        note(f"not sent: {trouble}: {'; '.join(body.splitlines())}")
