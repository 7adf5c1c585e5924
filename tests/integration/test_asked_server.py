"""A config whose model is behind a server, from the command to the answers: real processes, a real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.benchmark import harbours
from tests.tools.chat_server import Chat, ChatServer, chat_server
from tests.tools.eventually import eventually
from tests.tools.sandbox import Sandbox

TOML = """
[workspace]
results = ["result"]
questions = "questions.json"
data = "data"
[queue]
retries = 0
[runner.server]
engine = "openai"
base_url = "{url}"
model = "harbours/7b"
concurrency = 3
timeout = "1m"
patience = "2s"
{more}
[[config]]
name = "g/text_html"
modality = "text"
format = "html"
"""


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        yield made


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    harbours(tmp_path / "workspace")
    # Without any GPU.
    with Sandbox(tmp_path, tmp_path / "workspace", 0) as made:
        yield made


def counts(sandbox: Sandbox) -> tuple[int, int]:
    """Answered and pending tasks of the config."""
    (config,) = sandbox.json("ls")
    return config["done"], config["pending"]


def test_it_runs_without_a_gpu_and_several_are_asked_at_once(sandbox: Sandbox, server: ChatServer) -> None:
    together = threading.Barrier(3, timeout=60)
    server.act = lambda chat: together.wait() and None
    sandbox.settings(TOML.format(url=server.url, more='api_key_env = "HARBOUR_KEY"'))

    refused = sandbox.hitui("run", "g/text_html")
    assert refused.returncode != 0
    assert "[runner.server] api_key_env: the variable HARBOUR_KEY is not set where this was asked for" in (
        refused.stderr
    )

    ended = sandbox.hitui("run", "g/text_html", "--wait", env={"HARBOUR_KEY": "secret-123"})
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert counts(sandbox) == (6, 0)
    assert server.most == 3
    assert {chat.body["model"] for chat in server.chats} == {"harbours/7b"}
    assert {chat.headers["Authorization"] for chat in server.chats} == {"Bearer secret-123"}


def test_a_job_that_is_stopped_keeps_what_was_answered(sandbox: Sandbox, server: ChatServer) -> None:
    server.act = lambda chat: chat.hang() if chat.number == 1 else None
    sandbox.settings(TOML.format(url=server.url, more=""))
    assert sandbox.hitui("run", "g/text_html").returncode == 0
    eventually(lambda: counts(sandbox) == (5, 1), "five of six are answered")
    (job,) = sandbox.json("jobs")
    assert sandbox.hitui("stop", str(job["id"])).returncode == 0
    eventually(lambda: sandbox.json("jobs")[0]["state"] not in ("running", "stopping"), "it has ended")

    server.act = lambda chat: None
    assert sandbox.hitui("run", "g/text_html", "--wait").returncode == 0
    assert counts(sandbox) == (6, 0)
    assert sorted(server.asked) == [1, 1, 2, 3, 4, 5, 6]


def test_a_server_that_is_gone_fails_the_job_and_no_task(sandbox: Sandbox, server: ChatServer) -> None:
    def act(chat: Chat) -> object:
        return None if chat.number < 4 else chat.error(503, "no worker is left")

    server.act = act
    sandbox.settings(TOML.format(url=server.url, more=""))
    ended = sandbox.hitui("run", "g/text_html", "--wait")

    assert ended.returncode == 1
    (config,) = sandbox.json("ls")
    assert (config["done"], config["pending"], config["errors"]) == (3, 3, 0)
    (job,) = sandbox.json("jobs")
    log = sandbox.hitui("logs", str(job["id"])).stdout
    assert f"error: {server.url}: 503: no worker is left; asked " in log
