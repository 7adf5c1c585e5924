"""Servers that are slow, away or refuse, options that cannot be meant, and runs that are stopped while they ask."""

from __future__ import annotations

import signal
import threading

import pytest
from hitui_runners.engines import json_server
from hitui_runners.engines.json_server import JsonServer, Refused
from hitui_runners.errors import EngineLost

from tests.runners.asked import RIGHT, answers, asking, error_lines, server
from tests.runners.conftest import Runner
from tests.tools.chat_server import Chat, ChatServer, chat_server
from tests.tools.eventually import eventually

__all__ = ["asking", "server"]


@pytest.mark.parametrize("way", ["hang", "trickle"])
def test_a_server_that_gives_no_whole_answer_in_time_costs_that_task(
    asking: Runner, server: ChatServer, way: str
) -> None:
    server.act = lambda chat: getattr(chat, way)() if chat.number == 1 else None
    ended = asking.run("--timeout", "1", "--ids", "1,2")

    assert ended.returncode == 0, ended.stderr
    assert answers(asking) == {1: "[ERROR] Server: no answer within 1 s", 2: "17"}
    assert len(server.chats) == 2


def test_a_server_that_is_not_there_is_one_line(asking: Runner, server: ChatServer) -> None:
    server.shutdown()
    server.server_close()
    ended = asking.run("--patience", "1")

    assert ended.returncode == 1
    (line,) = error_lines(ended.stderr)
    assert line.startswith(f"error: {server.url}: it cannot be reached: Connection refused; asked ")
    assert line.endswith("; nothing is lost, run again when it answers (an evaluation with --resume)")
    assert asking.journal == []


def test_a_server_that_starts_later_is_waited_for(asking: Runner, server: ChatServer) -> None:
    port = server.server_address[1]
    server.shutdown()
    server.server_close()
    process = asking.start()
    seen = b""
    assert process.stderr is not None
    while b"trying again" not in seen:
        seen += process.stderr.buffer.read1()
    with chat_server(port):
        assert process.wait(60) == 0
    assert answers(asking) == RIGHT


def test_a_server_that_goes_for_good_ends_the_run_and_loses_nothing(
    asking: Runner, server: ChatServer
) -> None:
    def act(chat: Chat) -> object:
        if chat.number < 4:
            return None
        asking.wait_for_results(3)
        if not server.over.is_set():
            server.over.set()
            server.shutdown()
            server.server_close()
        return chat.reset()

    server.act = act
    ended = asking.run("--concurrency", "2", "--patience", "2")

    assert ended.returncode == 1
    (line,) = error_lines(ended.stderr)
    assert line.startswith(f"error: {server.url}: it cannot be reached: Connection refused; asked ")
    assert answers(asking) == {1: "41", 2: "17", 3: "63"}
    assert sorted(asking.snapshot["processed_ids"]) == [1, 2, 3]
    with chat_server(server.server_address[1]) as again:
        assert asking.run("--resume").returncode == 0
        assert sorted(again.asked) == [4, 5, 6]
    assert answers(asking) == RIGHT


@pytest.fixture
def hasty(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> JsonServer:
    """Asks `server`, and whoever else is made meanwhile does too, without long pauses."""
    monkeypatch.setattr(json_server, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(json_server, "PROBE_SECONDS", 0.2)
    return JsonServer(server.url, None, timeout=10, patience=60)


def ask(server: JsonServer, number: int) -> object:
    content = f"How many boats lie in Saltby? (No. {number - 1})"
    return server.post("/chat/completions", {"messages": [{"role": "user", "content": content}]})


@pytest.mark.parametrize("way", ["reset", "hang"])
def test_a_server_that_breaks_off_whatever_is_asked_is_gone(
    server: ChatServer, hasty: JsonServer, way: str
) -> None:
    server.act = lambda chat: chat.reset()
    server.act_on_models = lambda chat: getattr(chat, way)()
    with pytest.raises(EngineLost, match=r"it broke off: .*; asked 4 times"):
        ask(hasty, 1)


@pytest.mark.parametrize(("other", "raised"), [(1, EngineLost), (2, Refused)])
def test_what_it_answers_elsewhere_after_the_first_failure_shows_that_a_server_is_there(
    server: ChatServer, hasty: JsonServer, other: int, raised: type[Exception]
) -> None:
    def act(chat: Chat) -> object:
        if chat.number == 2:
            return None
        if server.asked.count(1) == other:
            ask(hasty, 2)
        return chat.reset()

    server.act = act
    server.act_on_models = lambda chat: chat.reset()
    with pytest.raises(raised, match="it broke off"):
        ask(hasty, 1)


def test_a_server_that_answers_others_and_goes_then_is_gone(server: ChatServer, hasty: JsonServer) -> None:
    asked = JsonServer(server.url, None, timeout=10, patience=1)

    def act(chat: Chat) -> object:
        if chat.number == 1 and server.asked.count(1) == 2:
            ask(asked, 2)
            server.shutdown()
            server.server_close()
        return None if chat.number == 2 else chat.error(503, "full")

    server.act = act
    with pytest.raises(EngineLost, match="it cannot be reached"):
        ask(asked, 1)


def test_a_server_that_is_busy_for_one_alone_costs_that_one(server: ChatServer, hasty: JsonServer) -> None:
    def act(chat: Chat) -> object:
        if chat.number == 2:
            return None
        if server.asked.count(1) == 1:
            return chat.error(503, "full")
        ask(hasty, 2)
        return chat.error(503, "full", Retry_After="3600")

    server.act = act
    with pytest.raises(Refused, match="503: full"):
        ask(hasty, 1)


def test_a_server_that_asks_for_too_much_patience_is_not_waited_for(
    asking: Runner, server: ChatServer
) -> None:
    server.act = lambda chat: chat.error(429, "quota used up", Retry_After="3600")
    ended = asking.run("--concurrency", "1")

    assert ended.returncode == 1
    (line,) = error_lines(ended.stderr)
    assert line == (
        f"error: {server.url}: 429: quota used up (it asks to wait 3600 s); asked once; nothing is lost, run again "
        "when it answers (an evaluation with --resume)"
    )
    assert (asking.journal, server.asked) == ([], [1])


@pytest.mark.parametrize("moment", ["0", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_a_busy_server_that_asks_for_no_pause_is_given_one(
    asking: Runner, server: ChatServer, moment: str
) -> None:
    server.act = lambda chat: chat.error(429, "slow down", Retry_After=moment)
    ended = asking.run("--concurrency", "1", "--patience", "1")

    assert ended.returncode == 1
    # After a pause of a third of a second at the least, and one of twice that.
    assert 2 <= len(server.chats) <= 3
    (line,) = error_lines(ended.stderr)
    assert f"429: slow down (it asks to wait 0 s); asked {len(server.chats)} times" in line


@pytest.mark.parametrize(
    ("status", "said"), [(401, "look at the key in the variable"), (404, "see --base-url")]
)
def test_what_holds_for_every_prompt_ends_the_run_at_once(
    asking: Runner, server: ChatServer, status: int, said: str
) -> None:
    server.act = lambda chat: chat.error(status, "wrong, says secret-123")
    asking.env["MY_KEY"] = "secret-123"
    ended = asking.run("--api-key-env", "MY_KEY", "--concurrency", "1")

    assert ended.returncode == 1
    (line,) = error_lines(ended.stderr)
    assert line.startswith(f"error: {server.url}: {status}: wrong, says …; ")
    assert said in line
    assert "secret" not in ended.stdout + ended.stderr
    assert [chat.headers["Authorization"] for chat in server.chats] == ["Bearer secret-123"]
    assert asking.journal == []


FEWER_TOKENS = (
    "max_tokens=9000 cannot be greater than max_model_len=8192. Please request fewer output tokens."
)


@pytest.mark.parametrize(
    ("told", "said", "status"),
    [
        (
            {"max_model_len": 8192},
            "its model has 8192 tokens for a prompt and its answer, and --max-new-tokens is 9000; set it to less",
            78,
        ),
        ({}, f"400: {FEWER_TOKENS}; set --max-new-tokens to less", 1),
    ],
    ids=["in its list", "to a prompt"],
)
def test_an_answer_that_may_be_longer_than_the_model_has_room_for_blames_no_prompt(
    asking: Runner, server: ChatServer, told: dict[str, int], said: str, status: int
) -> None:
    server.act_on_models = lambda chat: chat.json(200, {"data": [{"id": "harbour-7b", **told}]})
    server.act = lambda chat: chat.error(400, FEWER_TOKENS)
    ended = asking.run("--max-new-tokens", "9000", "--concurrency", "1")

    assert ended.returncode == status
    assert error_lines(ended.stderr) == [f"error: {server.url}: {said}"]
    assert asking.journal == []


def test_an_address_above_the_api_is_said_to_be_wrong_before_a_model_is_asked_for(
    asking: Runner, server: ChatServer
) -> None:
    server.act_on_models = lambda chat: chat.json(404, {"detail": "Not Found"})
    ended = asking.run()

    assert ended.returncode == 78
    assert error_lines(ended.stderr) == [
        f"error: {server.url}: it lists no models (404: Not Found); see --base-url, such as http://localhost:8000/v1, "
        "or name the model by --model"
    ]


def test_a_server_without_https_is_not_waited_for(asking: Runner, server: ChatServer) -> None:
    address = server.url.replace("http:", "https:")
    ended = asking.run("--base-url", address)

    assert ended.returncode == 1
    assert ended.stderr == f"error: {address}: it does not speak https; see --base-url\n"


def test_a_key_that_is_wanted_is_asked_for(asking: Runner, server: ChatServer) -> None:
    server.act_on_models = lambda chat: chat.json(401, {"error": "Unauthorized"})
    ended = asking.run()

    assert error_lines(ended.stderr) == [
        f"error: {server.url}: 401: Unauthorized; name the variable that holds the key by --api-key-env"
    ]


def test_a_key_that_is_not_there_is_one_line(asking: Runner) -> None:
    ended = asking.run("--api-key-env", "MY_KEY")

    assert ended.returncode == 78
    assert ended.stderr == (
        "error: --api-key-env: the variable MY_KEY is not set, or empty; set it to the server's key\n"
    )


@pytest.mark.parametrize("models", [[], ["a", "b"]])
def test_the_model_is_asked_for_where_the_server_has_not_one(
    asking: Runner, server: ChatServer, models: list[str]
) -> None:
    server.act_on_models = lambda chat: chat.json(200, {"data": [{"id": name} for name in models]})
    ended = asking.run()

    # One that lists none may have one later.
    assert ended.returncode == (78 if models else 1)
    listed = "it lists a, b" if models else "it lists none"
    assert error_lines(ended.stderr) == [f"error: {server.url}: name the model by --model; {listed}"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--timeout", "0"), "--timeout: seconds above 0 are expected"),
        (("--patience", "nan"), "--patience: seconds above 0 are expected"),
        (
            ("--base-url", "localhost:8000"),
            "--base-url: an address such as http://localhost:8000/v1 is expected",
        ),
        (("--base-url", "http://me:secret@host/v1"), "--base-url: it may hold no name and no password"),
        (("--base-url", "http://host/v 1"), "--base-url: 'http://host/v 1' holds characters that"),
        (("--base-url", "http://host:port/v1"), "--base-url: http://host:port/v1: "),
        (("--max-pixels", "5"), "--max-pixels: images cannot be scaled: install pillow in "),
    ],
)
def test_options_that_cannot_be_meant_are_one_line(
    asking: Runner, options: tuple[str, str], said: str
) -> None:
    ended = asking.run(*options)

    assert ended.returncode == 78
    assert ended.stderr.startswith(f"error: {said}")
    assert ended.stderr.count("\n") == 1


def test_a_number_of_prompts_at_once_that_cannot_be_meant_is_wrong_usage(asking: Runner) -> None:
    ended = asking.run("--concurrency", "0")

    assert ended.returncode == 2
    assert ended.stderr.endswith("error: argument --concurrency: a number from 1 on is expected, not '0'\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)]
)
def test_a_signal_stops_it_at_once_and_nothing_is_lost(
    asking: Runner, server: ChatServer, number: int, status: int
) -> None:
    server.act = lambda chat: chat.hang() if chat.number in (1, 3) else None
    process = asking.start("--concurrency", "3")
    asking.wait_for_results(4)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == status
    assert "Fatal" not in errors
    assert sorted(asking.snapshot["processed_ids"]) == [2, 4, 5, 6]
    assert asking.events[-1]["exit"] == status
    server.act = lambda chat: None
    asking.run("--resume")
    assert answers(asking) == RIGHT
    assert sorted(server.asked) == [1, 1, 2, 3, 3, 4, 5, 6]


def test_a_signal_while_it_waits_for_a_busy_server_stops_it(asking: Runner, server: ChatServer) -> None:
    server.act = lambda chat: chat.error(503, "starting", Retry_After="100")
    process = asking.start()
    eventually(lambda: len(server.chats) == 6)
    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 143
    assert asking.journal == []


def test_killed_it_loses_no_more_than_the_tasks_at_hand(asking: Runner, server: ChatServer) -> None:
    asking.benchmark.questions.clear()
    for number in range(1, 41):
        asking.benchmark.ask(number, "harbours", f"How many boats lie in Saltby? (No. {number - 1})", "63")
    given: list[int] = []
    done = threading.Event()

    def act(chat: Chat) -> None:
        done.wait(0.02)
        with server.lock:
            given.append(chat.number)

    server.act = act
    for _ in range(3):
        had = len(asking.journal)
        process = asking.start("--resume", "--concurrency", "4")
        asking.wait_for_results(had + 6)
        process.kill()
        process.wait()
    done.set()
    assert asking.run("--resume", "--concurrency", "4").returncode == 0

    assert answers(asking) == dict.fromkeys(range(1, 41), "63")
    # Each kill may cost those four that were asked then, and no answer that had been stored.
    assert 40 <= len(given) <= 40 + 3 * 4
