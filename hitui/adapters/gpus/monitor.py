"""Reads GPUs in a thread of its own, so that a driver that hangs stops nobody else.

Two threads: the reader opens, reads and closes the source, and may be stuck in any of it for ever; the
publisher hands on what it read, and says so when the reader is stuck. Both are daemons: a stuck call
keeps neither `close` nor the end of the process waiting. The values of a stuck driver are its last ones,
which `taken_at` dates.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from hitui.adapters.gpus.base import GpuSource
from hitui.domain.gpus import GpuSnapshot

STUCK_AFTER_SECONDS = 5.0
"""A read that takes longer is reported; a sleeping driver may take seconds to wake."""
_SHORTEST_PUBLISH_SECONDS = 0.1


class GpuMonitor:
    """The newest reading of all GPUs, kept fresh by a thread."""

    def __init__(
        self,
        open_source: Callable[[], GpuSource],
        interval: float = 1.0,
        stuck_after: float = STUCK_AFTER_SECONDS,
    ) -> None:
        self._open_source = open_source
        self._interval = interval
        self._stuck_after = stuck_after
        self._changed = threading.Condition()
        self._snapshot = GpuSnapshot(taken_at=0.0, source="")
        self._reads = 0
        self._published = 0
        """How many of the reads were published, or passed over for a newer one."""
        self._asked_at: float | None = None
        """When the call that the reader is in was made, by the monotonic clock; None: it is in none."""
        self._closed = False
        self._publisher: threading.Thread | None = None

    def start(self, publish: Callable[[GpuSnapshot], None]) -> None:
        """Begins reading; `publish` gets every snapshot, from a thread. Once a monitor."""
        if self._publisher is not None:
            raise RuntimeError("this monitor was started before")
        self._publisher = threading.Thread(
            target=self._publish_all, args=(publish,), name="gpu-publisher", daemon=True
        )
        threading.Thread(target=self._read_all, name="gpu-reader", daemon=True).start()
        self._publisher.start()

    @property
    def latest(self) -> GpuSnapshot:
        """The newest snapshot; `taken_at` 0 before the first. Never waits for the driver."""
        with self._changed:
            return self._current()

    def read_once(self, timeout: float = STUCK_AFTER_SECONDS) -> GpuSnapshot:
        """One reading, for commands; after `timeout` seconds a snapshot that says that none came.

        Reads by a source of its own, so it needs no `start`.
        """
        once = GpuMonitor(self._open_source, self._interval, timeout)
        threading.Thread(target=once._read_all, args=(1,), name="gpu-reader", daemon=True).start()
        with once._changed:
            once._changed.wait_for(lambda: once._reads > 0, timeout)
            if once._reads:
                return once._snapshot
            return replace(once._snapshot, taken_at=time.time(), error=_no_answer(timeout))

    def close(self) -> None:
        """Ends both threads; a reader that is stuck ends when the driver lets it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._publisher is not None and self._publisher is not threading.current_thread():
            self._publisher.join(timeout=1.0)

    def _current(self) -> GpuSnapshot:
        """With the lock held: the snapshot, or what is to be said of a stuck reader."""
        if self._asked_at is None:
            return self._snapshot
        waited = time.monotonic() - self._asked_at
        if waited < self._stuck_after:
            return self._snapshot
        return replace(self._snapshot, error=_no_answer(waited))

    def _read_all(self, times: int | None = None) -> None:
        """The reader: one call into the source at a time, noted before and after."""
        source: GpuSource | None = None
        next_at = time.monotonic()
        while not self._closed and times != 0:
            self._asked_at = time.monotonic()
            snapshot: GpuSnapshot | None = None
            try:
                if source is None:
                    source = self._open_source()
                snapshot = source.read()
            except Exception as error:  # noqa: BLE001 - whatever a driver's binding raises, readings go on
                snapshot = GpuSnapshot(
                    time.time(), "", error=f"GPUs cannot be read: {type(error).__name__}: {error}"
                )
            with self._changed:
                self._asked_at = None
                self._snapshot = snapshot
                self._reads += 1
                self._changed.notify_all()
                times = None if times is None else times - 1
                # A late reading is not made up for: the next one comes an interval after it.
                next_at = max(next_at + self._interval, time.monotonic())
                if times != 0:
                    self._changed.wait_for(lambda: self._closed, next_at - time.monotonic())
        if source is not None:
            source.close()

    def _publish_all(self, publish: Callable[[GpuSnapshot], None]) -> None:
        """The publisher: each new snapshot once, and once an interval that the reader is stuck."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._reads > self._published, self._interval)
                if self._closed:
                    return
                snapshot = self._current()
                if self._reads == self._published and snapshot is self._snapshot:
                    continue
                self._published = self._reads
            publish(snapshot)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _SHORTEST_PUBLISH_SECONDS)


def _no_answer(seconds: float) -> str:
    return f"the driver has not answered for {seconds:.0f} s; if it stays so, see dmesg and nvidia-smi"
