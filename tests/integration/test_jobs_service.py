"""The jobs as a screen follows them, whatever answers at the supervisor's socket."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.domain.jobs import Job, JobRequest, JobsSnapshot, Queued
from hitui.paths import RuntimePaths
from hitui.services import jobs
from hitui.services.jobs import JobsService
from hitui.settings import Settings
from hitui.supervisor import snapshots, wire
from hitui.supervisor.client import socket_address
from tests.tools.eventually import eventually

SNAPSHOT = JobsSnapshot((Job(1, JobRequest("a"), 1.0, Queued("a GPU")),), 4711)
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
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with socket_address(paths.socket) as address:
            listener.bind(address)
        listener.listen()
        listener.settimeout(30)
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
