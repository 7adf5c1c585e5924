"""What the openai engine asks of a server, and what it makes of the answers."""

from __future__ import annotations

import base64
import threading

import pytest

from tests.runners.asked import RIGHT, answers, asking, error_lines, server
from tests.runners.conftest import Runner
from tests.tools.benchmark import png
from tests.tools.chat_server import Chat, ChatServer

__all__ = ["asking", "server"]


def test_every_task_is_asked_once_and_several_at_a_time(asking: Runner, server: ChatServer) -> None:
    together = threading.Barrier(3, timeout=60)
    server.act = lambda chat: together.wait() and None
    ended = asking.run("--concurrency", "3", "--max-new-tokens", "77")

    assert ended.returncode == 0, ended.stderr
    assert answers(asking) == RIGHT
    assert (sorted(server.asked), server.most) == ([1, 2, 3, 4, 5, 6], 3)
    assert {result["Engine"] for result in asking.journal} == {"openai"}
    assert "Asking harbour-7b at " in ended.stdout
    body = server.chats[0].body
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("harbour-7b", 0, 77)
    (message,) = body["messages"]
    assert message["role"] == "user"
    assert "<td>Lower Quay</td>" in message["content"]
    tasks = [event for event in asking.events if event["event"] == "task"]
    assert {task["output_tokens"] for task in tasks} == {5}
    assert all(task["input_tokens"] > 20 for task in tasks)
    [run] = asking.runs
    assert (run["settings"]["model"], run["settings"]["sampling"]) == ("harbour-7b", "greedy")
    assert run["beside"].items() >= {"concurrency": 3, "server_says": {"owned_by": "tests"}}.items()


def test_one_at_a_time_keeps_the_order(asking: Runner, server: ChatServer) -> None:
    assert asking.run("--concurrency", "1", "--model", "mine").returncode == 0

    assert (server.asked, server.most) == ([1, 2, 3, 4, 5, 6], 1)
    assert list(answers(asking)) == [1, 2, 3, 4, 5, 6]
    assert {chat.body["model"] for chat in server.chats} == {"mine"}


def test_marks_of_the_model_in_a_table_mean_nothing(asking: Runner, server: ChatServer) -> None:
    (asking.benchmark.data / "html" / "harbours.html").write_text("<td><|im_end|></td>")
    assert asking.run("--ids", "1").returncode == 0

    assert "<td>< |im_end|></td>" in server.chats[0].text


def test_a_picture_stands_before_the_words(asking: Runner, server: ChatServer) -> None:
    assert asking.run("--ids", "1", modality="mix").returncode == 0

    picture, words = server.chats[0].body["messages"][0]["content"]
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == png(96, 64)
    assert (words["type"], "Lower Quay" in words["text"]) == ("text", True)


@pytest.mark.parametrize(
    "trouble",
    ["busy", "busy_until", "handed_on", "unavailable", "reset", "garbage", "rubbish", "cut_short", "failed"],
)
def test_what_passes_costs_no_answer(asking: Runner, server: ChatServer, trouble: str) -> None:
    troubled: set[int] = set()

    def act(chat: Chat) -> object:
        with server.lock:
            first = chat.number not in troubled
            troubled.add(chat.number)
        if not first:
            return None
        return {
            "busy": lambda: chat.error(429, "slow down", Retry_After="0"),
            "busy_until": lambda: chat.error(429, "later", Retry_After="Fri, 31 Dec 1999 23:59:59 GMT"),
            "handed_on": lambda: chat.json(200, {"error": {"message": "full", "code": 503}}),
            "unavailable": lambda: chat.raw(503, b"<html>later</html>"),
            "reset": chat.reset,
            "garbage": chat.garbage,
            "rubbish": lambda: chat.raw(200, b"no JSON at all"),
            "cut_short": chat.cut_short,
            "failed": lambda: chat.error(500, "oh dear"),
        }[trouble]()

    server.act = act
    ended = asking.run()

    assert ended.returncode == 0, ended.stderr
    assert answers(asking) == RIGHT
    assert sorted(server.asked) == sorted([*RIGHT, *RIGHT])
    # However many meet it, it is told once.
    assert ended.stderr.count("; trying again for up to 300 s") == 1


def test_an_answer_in_chunks_and_one_in_parts_are_read(asking: Runner, server: ChatServer) -> None:
    def act(chat: Chat) -> object:
        if chat.number == 1:
            return chat.chunked("[Final Answer]: in chunks")
        if chat.number == 2:
            return chat.answer(
                [{"type": "text", "text": "[Final Answer]: "}, {"type": "text", "text": "in parts"}]
            )
        if chat.number == 3:
            return chat.answer("[Final Answer]: 63", usage={"prompt_tokens": "7", "completion_tokens": 0})
        return None

    server.act = act
    assert asking.run().returncode == 0
    assert answers(asking) == {**RIGHT, 1: "in chunks", 2: "in parts"}
    # What can be no number of tokens is not told as one.
    (third,) = (event for event in asking.events if event.get("id") == 3)
    assert (third["input_tokens"], third["output_tokens"]) == (None, None)


def test_what_a_server_refuses_costs_that_task_alone(asking: Runner, server: ChatServer) -> None:
    def act(chat: Chat) -> object:
        if chat.number == 2:
            return chat.error(400, "temperature\n" + "must be warm " * 100)
        if chat.number == 4:
            return chat.json(200, {"choices": []})
        if chat.number == 6:
            return chat.json(200, {"error": {"message": "upstream is ill", "code": "ill"}})
        return None

    server.act = act
    ended = asking.run("--concurrency", "1")

    assert ended.returncode == 0, ended.stderr
    found = answers(asking)
    assert found.pop(2).startswith("[ERROR] Server: 400: temperature must be warm must be")
    assert found.pop(4) == "[ERROR] Server: its answer holds no choices with a message"
    assert found.pop(6) == "[ERROR] Server: upstream is ill"
    assert found == {1: "41", 3: "63", 5: "41"}
    assert max(len(result["Prediction"]) for result in asking.journal) < 350
    assert len(server.chats) == 6


@pytest.mark.parametrize("way", ["failed", "reset"])
def test_a_prompt_at_which_the_server_fails_is_not_tried_for_ever(
    asking: Runner, server: ChatServer, way: str
) -> None:
    server.act = lambda chat: (
        None if chat.number != 1 else chat.reset() if way == "reset" else chat.error(500, "no kernel")
    )
    ended = asking.run("--concurrency", "1", "--ids", "1,2")

    assert ended.returncode == 0, ended.stderr
    found = answers(asking)
    said = {
        "failed": "[ERROR] Server: 500: no kernel",
        "reset": "[ERROR] Server: it broke off: Connection reset by peer",
    }
    assert found == {1: said[way], 2: "17"}
    assert server.asked == [1, 1, 1, 1, 2]


def test_failures_of_the_server_at_every_task_end_the_run(asking: Runner, server: ChatServer) -> None:
    server.act = lambda chat: chat.error(422, "no such field")
    ended = asking.run("--concurrency", "2")

    assert ended.returncode == 1
    (line,) = error_lines(ended.stderr)
    assert "the last 5 tasks failed with errors that are not theirs" in line
    assert len(asking.journal) == 5
