"""The other end of the supervisor's socket: what screen and commands ask it, and how it is started.

Where there is no runtime folder of the user's own the socket lies below one that everybody may write, and somebody
else may have laid his there first: the kernel is asked who listens.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hitui.adapters.events import read_tail
from hitui.adapters.processes import JOB_VARIABLE, alive, find_process
from hitui.domain.foremost import foremost
from hitui.domain.jobs import Job, JobRequest, JobsSnapshot, one_line
from hitui.domain.schedule import Schedule
from hitui.errors import SupervisorError
from hitui.paths import RuntimePaths
from hitui.supervisor import snapshots, wire
from hitui.supervisor.folders import private_folder
from hitui.supervisor.other_versions import as_spoken_here, of_another_version, other_code, passed_over
from hitui.supervisor.snapshots import SnapshotReader

if TYPE_CHECKING:
    from hitui.supervisor.store import Store

_Read = TypeVar("_Read")

START_SECONDS = 20.0
"""How long a supervisor may take to answer; a slow network disk loads Python slowly."""
ANSWER_SECONDS = 60.0
"""How long one request may take: reading the results of a config on a slow disk takes its time."""

LOOK_UP_SECONDS = 1.0
"""How late Ctrl-C may be minded by whoever waits for the supervisor's news."""


class SupervisorClient:
    """Asks one workspace's supervisor. Every call opens its own connection, so any thread may call."""

    def __init__(self, paths: RuntimePaths) -> None:
        self._paths = paths

    def answers(self) -> bool:
        """Whether a supervisor runs and can be reached."""
        try:
            self._connect(5.0).close()
        except OSError:
            return False
        return True

    def start(self, workspace: Path) -> int:
        """Makes sure that a supervisor runs, and returns its pid. Raises SupervisorError saying why not."""
        with contextlib.suppress(SupervisorError):
            return int(self.status()["pid"])
        private_folder(self._paths.state, "XDG_STATE_HOME")
        log = self._paths.supervisor_log
        try:
            with log.open("ab") as stderr:
                before = stderr.tell()
                process = subprocess.Popen(
                    [sys.executable, "-m", "hitui.supervisor", str(workspace)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    cwd="/",
                    env=_outside_of_jobs(),
                    start_new_session=True,
                )
        except OSError as error:
            raise SupervisorError(
                f"{error.filename or log}: the supervisor cannot be started: {error.strerror}"
            ) from error
        with process:
            assert process.stdout is not None
            said = _first_line(process.stdout.fileno(), START_SECONDS)
        word, _, rest = (said or "").partition(" ")
        if word == "ready":
            return int(rest)
        if word == "refused":
            raise SupervisorError(rest)
        if said is None:
            raise SupervisorError(f"the supervisor took too long to start; see {log}")
        last = one_line(_written_since(log, before))
        raise SupervisorError(f"the supervisor did not start{f': {last}' if last else ''}; see {log}")

    def status(self) -> dict[str, Any]:
        """`pid`, `version`, a digest of its `code`, `workspace` and how many jobs are `active`."""
        return self._ask({"do": "status"})

    def other_code(self) -> str | None:
        """What `other_code` says of the supervisor that runs, if one does."""
        try:
            status = self.status()
        except SupervisorError:
            return None
        return other_code(status["pid"], status.get("code", ""))

    def jobs(self, *, every: bool = False) -> JobsSnapshot:
        """The jobs: the active and the latest ended ones, or `every` one."""
        return _read_whole(self._ask_for_line({"do": "jobs", "all": every}))

    def foremost(self) -> dict[str, tuple[Job, ...]]:
        """Config → the job that is on it, or the shards that are, else the first that waits for it."""
        # A supervisor that was started before an upgrade sends all of them.
        answer = self._ask_for_line({"do": "jobs", "foremost": True})
        return foremost(_read_whole(answer).jobs)

    def submit(
        self,
        requests: Sequence[JobRequest],
        environment: Mapping[str, str],
        schedule: Schedule = Schedule(),  # noqa: B008 - a frozen value
    ) -> tuple[Job, ...]:
        """Queues all of the requests or none. Raises LaunchError or NoSuchName with the reason."""
        message = {
            "do": "submit",
            "requests": list(map(wire.request_to_wire, requests)),
            "environment": dict(environment),
            "schedule": wire.schedule_to_wire(schedule),
        }
        told = self._ask(message)["jobs"]
        self._check_taken(passed_over(message, told), told)
        return _read_jobs(told)

    def change_queue(self, verb: str, **what: object) -> tuple[Job, ...]:
        """What `QueueControl` can do: pause, resume, limit, assign, prioritize, move, retry.

        `retry` takes `force` too: answers may be mixed with those of other settings.
        Returns the jobs that were named, as they stand now. Raises LaunchError or NoSuchName.
        """
        told = self._ask({"do": verb, **what})["jobs"]
        if what.get("force") and not all(job["request"].get("force") for job in told):
            self._check_taken(["force"], told)
        return _read_jobs(told)

    def _check_taken(self, left_out: Sequence[str], told: Sequence[Mapping[str, Any]]) -> None:
        """Raises SupervisorError where a part of a wish was passed over; what was queued for it is taken back."""
        if left_out:
            self.stop([job["id"] for job in told])
            raise of_another_version(left_out[0])

    def stop(self, job_ids: Sequence[int]) -> tuple[Job, ...]:
        """Asks jobs to stop, and returns how they stand now. Raises NoSuchName."""
        return _read_jobs(self._ask({"do": "stop", "jobs": list(job_ids)})["jobs"])

    def shut_down(self) -> None:
        """Ends the supervisor; its jobs go on. Returns when it has ended; harmless where none runs.

        Raises SupervisorError where it does not take that, or takes too long.
        """
        try:
            pid = int(self._ask({"do": "shut_down"})["pid"])
        except SupervisorError:
            if self.answers():
                # One is there, and did not take it.
                raise
            return
        # It answers nobody for some time before its end, and whoever came then would be turned away.
        deadline = time.monotonic() + ANSWER_SECONDS
        process = find_process(pid)
        while process is not None and alive(process):
            if time.monotonic() > deadline:
                raise SupervisorError(f"the supervisor, pid {pid}, takes long to end; look at it with `ps`")
            time.sleep(0.02)

    def open_watch(self) -> Watch:
        """A stream of snapshots. Raises OSError when no supervisor answers."""
        connection = self._connect(5.0)
        try:
            connection.sendall(wire.encode({"do": "watch", "changes": True}))
        except BaseException:
            connection.close()
            raise
        connection.settimeout(None)
        return Watch(connection)

    def last_known(self, ended: int | None = 200) -> JobsSnapshot:
        """The jobs as the store holds them, for when no supervisor runs. Empty when there never was one.

        Raises SupervisorError when the store cannot be read.
        """
        known = self._read_store(lambda store: JobsSnapshot(store.jobs(ended), queue=store.queue()))
        return JobsSnapshot() if known is None else known

    def last_known_job(self, job_id: int) -> Job | None:
        """One job as the store holds it; None: there is no store. Raises NoSuchName, or SupervisorError when that
        cannot be read."""
        return self._read_store(lambda store: store.job(job_id))

    def last_known_configs(self) -> set[str]:
        """Of all jobs that were launched or have ended, as the store holds them. Raises SupervisorError when that cannot
        be read."""
        return self._read_store(lambda store: store.configs()) or set()

    def last_known_launched(
        self, configs: AbstractSet[str] | None, since: float | None, last: int | None
    ) -> tuple[Job, ...]:
        """What `StoreReading.launched` says. Raises SupervisorError when the store cannot be read."""
        return self._read_store(lambda store: store.launched(configs, since, last)) or ()

    def last_known_foremost(self) -> dict[str, tuple[Job, ...]]:
        """What `foremost` says, as the store holds it. Raises SupervisorError when that cannot be read."""
        return foremost(self._read_store(lambda store: store.foremost()) or ())

    def _read_store(self, read: Callable[[Store], _Read]) -> _Read | None:
        """What `read` finds in the store; None: there is none, or it was never filled."""
        try:
            status = self._paths.database.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SupervisorError(
                f"{self._paths.database}: the jobs cannot be read there: {error.strerror};"
                " set XDG_STATE_HOME to a local folder that is yours"
            ) from error
        if stat.S_ISREG(status.st_mode) and status.st_size == 0:
            # It was made and never filled, as a crash or a full disk leaves it; the next supervisor does.
            return None
        import sqlite3

        from hitui.supervisor.store import Store
        from hitui.supervisor.trouble import disk_trouble

        store = Store(self._paths.database, read_only=True)
        try:
            return read(store)
        except sqlite3.Error as error:
            raise SupervisorError(disk_trouble(self._paths.database, error)) from error
        finally:
            store.close()

    def check_store(self) -> None:
        """Raises SupervisorError when the store cannot be used or is damaged; harmless where there is none."""
        if not os.path.lexists(self._paths.database):
            return
        from hitui.supervisor.store import Store

        store = Store(self._paths.database, read_only=True)
        try:
            store.check()
        finally:
            store.close()

    def _connect(self, timeout: float) -> socket.socket:
        try:
            return _connected(self._paths.socket, timeout)
        except OSError:
            with contextlib.suppress(OSError):
                other = self._paths.socket_link.readlink()
                if other != self._paths.socket:
                    return _connected(other, timeout)
            raise

    def _ask(self, message: Mapping[str, object]) -> dict[str, Any]:
        with as_spoken_here():
            answer = wire.decode(self._ask_for_line(message))
        wire.raise_error(answer)
        return answer

    def _ask_for_line(self, message: Mapping[str, object]) -> bytes:
        try:
            with self._connect(ANSWER_SECONDS) as connection, connection.makefile("rb") as lines:
                connection.sendall(wire.encode(message))
                line = lines.readline()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise SupervisorError("no supervisor runs; start it with `hitui supervisor start`") from error
        except OSError as error:
            raise SupervisorError(f"the supervisor does not answer: {error}") from error
        if not line.endswith(b"\n"):
            raise SupervisorError(
                f"the supervisor ended while it was asked; see {self._paths.supervisor_log}"
            )
        return line


class Watch:
    """Snapshots as the supervisor sends them, until it ends or the watch is closed (from any thread).

    Raises SupervisorError for one that cannot be read."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __iter__(self) -> Iterator[JobsSnapshot]:
        reader = SnapshotReader()
        begun: list[bytes] = []
        # Closed also where whoever asks has heard enough before the supervisor ends.
        with contextlib.suppress(OSError), self._connection:
            while chunk := self._receive():
                *whole, rest = chunk.split(b"\n")
                for line in whole:
                    with as_spoken_here():
                        snapshot = reader.read(b"".join((*begun, line)))
                    yield snapshot
                    begun.clear()
                begun.append(rest)

    def _receive(self) -> bytes:
        """The next bytes; none: the supervisor ended."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        # A signal that comes between two waits is minded only after the second: none is for ever.
        while not poll.poll(LOOK_UP_SECONDS * 1000):
            pass
        return self._connection.recv(1 << 18)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _connected(place: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        with socket_address(place) as address:
            connection.connect(address)
        if peer_user(connection) != os.getuid():
            # It would be told the whole environment, and be believed what it says of jobs.
            raise PermissionError(errno.EPERM, "another user listens there", str(place))
    except BaseException:
        connection.close()
        raise
    return connection


def peer_user(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the kernel tells."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _read_whole(line: bytes) -> JobsSnapshot:
    with as_spoken_here():
        return snapshots.read_whole(line)


def _read_jobs(told: Sequence[Mapping[str, Any]]) -> tuple[Job, ...]:
    with as_spoken_here():
        return tuple(map(wire.job_from_wire, told))


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address for a socket at `path`, which the kernel wants no longer than 107 bytes."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _outside_of_jobs() -> dict[str, str]:
    """Our environment without what marks a process as part of a job: the supervisor is part of none."""
    return {name: value for name, value in os.environ.items() if name not in (JOB_VARIABLE, "HITUI_EVENTS")}


def _first_line(descriptor: int, timeout: float) -> str | None:
    """The first line of a pipe; empty when it was closed without one, None when `timeout` seconds passed."""
    deadline = time.monotonic() + timeout
    text = b""
    while b"\n" not in text:
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        chunk = os.read(descriptor, 4096)
        if not chunk:
            break
        text += chunk
    line, newline, _ = text.partition(b"\n")
    return line.decode("utf-8", "replace") if newline else ""


def _written_since(path: Path, offset: int) -> str:
    """The end of what stands behind `offset` bytes of a file; empty when it cannot be read."""
    try:
        return read_tail(path, max(0, min(4096, path.stat().st_size - offset)))
    except OSError:
        return ""
