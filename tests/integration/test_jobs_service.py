"""The jobs as a screen follows them, whatever answers at the supervisor's socket."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.adapters.own_code import code_at_first
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued
from hitui.domain.schedule import Schedule
from hitui.errors import LaunchError, NoSuchName, SupervisorError
from hitui.paths import RuntimePaths
from hitui.services import jobs
from hitui.services.jobs import JobsService
from hitui.settings import Settings
from hitui.supervisor import client, other_versions, snapshots, wire
from hitui.supervisor.client import SupervisorClient, socket_address
from hitui.supervisor.other_versions import other_code
from tests.tools.eventually import eventually

SNAPSHOT = JobsSnapshot(
    (Job(1, JobRequest("a"), 1.0, Queued("a GPU")),), 4711, supervisor_code=code_at_first()
)
LINE = wire.encode_told(snapshots.whole(SNAPSHOT))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimePaths]:
    runtime = tempfile.mkdtemp(prefix="hitui-test-")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    monkeypatch.setattr(jobs, "RETRY_SECONDS", 0.01)
    paths = RuntimePaths.of(tmp_path)
    paths.socket.parent.mkdir(parents=True)
    yield paths
    shutil.rmtree(runtime)


@contextmanager
def answering(paths: RuntimePaths) -> Iterator[socket.socket]:
    """What listens where a supervisor would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with socket_address(paths.socket) as address:
            listener.bind(address)
        listener.listen()
        listener.settimeout(30)
        yield listener


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace(b'"queued"', b'"dreaming"'),
        b"what is no JSON\n",
        json.dumps({"error": "SupervisorError", "message": "it does not know 'watch'"}).encode() + b"\n",
    ],
)
def test_a_line_that_cannot_be_read_does_not_end_the_following(paths: RuntimePaths, line: bytes) -> None:
    heard: list[JobsSnapshot] = []
    service = JobsService(Settings(paths.state), paths)
    with answering(paths) as listener:
        service.start(heard.append)
        for said in (line, LINE):
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4096).endswith(b"\n")
                connection.sendall(said)
                if said is LINE:
                    eventually(lambda: SNAPSHOT in heard)
        service.close()
    assert "jobs" not in {thread.name for thread in threading.enumerate()}


def said_of(code: str | None) -> str:
    """What a client hears of a supervisor of this code; None: it is from before supervisors said theirs."""
    return other_code(4711, "" if code is None else code) or ""


def test_a_supervisor_of_other_code_is_told_from_one_of_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_of(code_at_first()) == ""
    for code in (None, "0123456789ab"):
        assert "is of another version of hitui than this; end it with `hitui supervisor stop`" in said_of(
            code
        )
    # The files were replaced since this process began, and a supervisor was started from them.
    monkeypatch.setattr(other_versions, "code_now", lambda: "0123456789ab")
    assert said_of("0123456789ab").endswith("start this one again")


def test_who_follows_the_jobs_is_told_that_the_supervisor_is_of_other_code(paths: RuntimePaths) -> None:
    heard: list[JobsSnapshot] = []
    service = JobsService(Settings(paths.state), paths)
    with answering(paths) as listener:
        service.start(heard.append)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(wire.encode_told(snapshots.whole(replace(SNAPSHOT, supervisor_code=""))))
            eventually(lambda: heard)
            # A line of changes says nothing of it anew.
            connection.sendall(wire.encode({"supervisor_pid": 4711, "gone": [1]}))
            eventually(lambda: len(heard) == 2)
        service.close()
    assert {"another version" in snapshot.notice for snapshot in heard} == {True}


@pytest.mark.parametrize("wish", ["force", "after"])
def test_what_a_supervisor_of_another_version_passes_over_is_taken_back(
    paths: RuntimePaths, wish: str
) -> None:
    """One from before `--force` ran the job without it, and one from before the queue had an order ran it at once."""
    request = JobRequest("a", force=wish == "force")
    schedule = Schedule(after=(3,) if wish == "after" else ())
    told = wire.job_to_wire(Job(5, JobRequest("a"), 1.0, Queued()))
    asked: list[dict[str, object]] = []

    def answer() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                asked.append(json.loads(connection.recv(4096)))
                connection.sendall(wire.encode({"ok": True, "jobs": [told]}))

    with answering(paths) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(
            SupervisorError, match=f"does not know '{wish}'; end it with `hitui supervisor stop`"
        ):
            client.SupervisorClient(paths).submit([request], {}, schedule)
        thread.join()
    assert [message["do"] for message in asked] == ["submit", "stop"]
    assert asked[1]["jobs"] == [5]


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace(b'"queued"', b'"dreaming"'),
        LINE.replace(b'"queued"', b'"ended"').replace(b'"waits_for"', b'"ending":"evaporated","waits_for"'),
        b"what is no JSON\n",
    ],
)
def test_what_a_supervisor_says_that_only_another_version_understands_is_one_line(
    paths: RuntimePaths, line: bytes
) -> None:
    """Every command ended with a traceback."""

    def answer() -> None:
        for _ in range(3):
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4096)
                connection.sendall(line)

    asking = client.SupervisorClient(paths)
    with answering(paths) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        said = "speaks as another version of hitui does .*; end it with `hitui supervisor stop`"
        for ask in (asking.jobs, asking.foremost, lambda: list(asking.open_watch())):
            with pytest.raises(SupervisorError, match=said):
                ask()
        thread.join()


@pytest.mark.parametrize(("word", "starts"), [("queued", 2), ("succeeded", 0)])
def test_a_supervisor_is_started_for_jobs_that_have_not_ended_and_not_again_and_again(
    paths: RuntimePaths, monkeypatch: pytest.MonkeyPatch, word: str, starts: int
) -> None:
    state = Queued("a GPU") if word == "queued" else Ended(Ending.SUCCEEDED, 2.0)
    known = JobsSnapshot((Job(1, JobRequest("a"), 1.0, state),))
    looks: list[JobsSnapshot] = []
    often = threading.Event()

    def look(self: SupervisorClient, ended: int | None = None) -> JobsSnapshot:
        looks.append(known)
        if len(looks) == 6:
            often.set()
        return known

    started: list[Path] = []
    monkeypatch.setattr(SupervisorClient, "last_known", look)
    monkeypatch.setattr(SupervisorClient, "start", lambda self, root: started.append(root))
    monkeypatch.setattr(jobs, "REVIVE_SECONDS", (0.0, 0.0, 3600.0))
    service = JobsService(Settings(paths.state), paths)
    told: list[JobsSnapshot] = []
    service.start(told.append)
    assert often.wait(30)
    service.close()
    assert (len(started), told) == (starts, [known])


def test_what_is_refused_keeps_nothing_else_from_being_queued_once_and_in_its_order(
    paths: RuntimePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TOGETHER", 4)
    queued: list[str] = []

    def submit(
        self: JobsService,
        requests: Sequence[JobRequest],
        schedule: Schedule = Schedule(),  # noqa: B008
    ) -> tuple[Job, ...]:
        names = [request.config for request in requests]
        for name in names:
            if name in "ci":
                raise (LaunchError if name == "c" else NoSuchName)(f"{name}: not that")
        queued.extend(names)
        return tuple(Job(len(queued), request, 1.0, Queued()) for request in requests)

    monkeypatch.setattr(JobsService, "submit", submit)
    service = JobsService(Settings(paths.state), paths)
    made, refusals = service.submit_each([JobRequest(name) for name in "abcdefghij"])
    assert "".join(queued) == "".join(job.request.config for job in made) == "abdefghj"
    assert refusals == ("c: not that", "i: not that")
