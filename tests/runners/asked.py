"""The evaluation program with the openai engine, as real processes that ask a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runners.conftest import Runner
from tests.tools.chat_server import ChatServer, chat_server

RIGHT = {1: "41", 2: "17", 3: "63", 4: "8", 5: "41", 6: "17"}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        yield made


@pytest.fixture
def asking(runner: Runner, server: ChatServer) -> Runner:
    """A runner of the server, in a Python that has nothing but its standard library."""
    plain = runner.words

    def words(
        *options: object, engine: str = "openai", modality: str = "text", table: str = "html"
    ) -> list[str]:
        return plain("--base-url", server.url, *options, engine=engine, modality=modality, table=table)

    runner.words = words  # type: ignore[method-assign]
    return runner


def answers(runner: Runner) -> dict[int, str]:
    """The prediction of each task; fails where one stands twice."""
    found = {result["id"]: result["Prediction"] for result in runner.journal}
    assert len(found) == len(runner.journal)
    return found


def error_lines(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]
