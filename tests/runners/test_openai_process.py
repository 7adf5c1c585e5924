"""The evaluation program with the openai engine, as real processes that ask a real HTTP server."""

from __future__ import annotations

import base64
import math
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.runners.conftest import PLAIN_PYTHON, Runner
from tests.tools.benchmark import png
from tests.tools.chat_server import Chat, ChatServer, chat_server
from tests.tools.eventually import eventually

RIGHT = {1: "41", 2: "17", 3: "63", 4: "8", 5: "41", 6: "17"}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        yield made


@pytest.fixture
def asking(runner: Runner, server: ChatServer) -> Runner:
    """A runner of the server, in a Python that has nothing but its standard library."""
    runner.python = PLAIN_PYTHON
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
        return None

    server.act = act
    assert asking.run().returncode == 0
    assert answers(asking) == {**RIGHT, 1: "in chunks", 2: "in parts"}


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


TOO_LONG = {
    9001: "This model's maximum context length is 8192 tokens. However, you requested 9999 tokens (9001 in the "
    "messages, 998 in the completion). Please reduce the length of the messages or completion.",
    9002: "You passed 9002 input tokens and requested 1024 output tokens. However, the model's context length is only "
    "8192 tokens",
    9003: "The decoder prompt (length 9003) is longer than the maximum model length of 8192.",
    9004: "The input (9004 tokens) is longer than the model's context length (8192 tokens).",
    9005: "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
    "9999 tokens: 9005 tokens from the input messages and 994 tokens for the completion.",
    9006: "maximum context length is 8192 tokens. However, your messages resulted in 9006 tokens.",
    9007: "request (9007 tokens) exceeds the available context size (8192 tokens), try increasing it",
    9008: "Input length (9008) exceeds model's maximum context length (8192).",
    9009: "Input length (9009 tokens) exceeds the maximum allowed length (8192 tokens).",
    9010: "Requested input length 9010 exceeds maximum input length 8192",
    9011: "This model's maximum context length is 8192 tokens. However, your request has 9011 input tokens plus 1024 "
    "'max_tokens'. Please reduce one or the other. (parameter=input_tokens, max_tokens, value=(9011, 1024))",
    9012: "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 8192 "
    "tokens and your request has 9012 input tokens (1024 > 8192 - 9012).",
}
"""How vLLM (0.6 to 0.33), SGLang, OpenAI and llama.cpp say that a prompt is too long, by how long it is."""


def test_a_prompt_that_is_too_long_is_a_text_too_large(asking: Runner, server: ChatServer) -> None:
    for number in TOO_LONG:
        asking.benchmark.ask(number, "harbours", f"How many boats lie in Saltby? (No. {number - 1})", "63")
    server.act = lambda chat: chat.error(400, TOO_LONG[chat.number]) if chat.number > 9000 else None
    assert asking.run("--ids", ",".join(map(str, (2, *TOO_LONG)))).returncode == 0

    assert answers(asking) == {
        2: "17",
        **{tokens: f"[ERROR] OOM: Text too large ({tokens} tokens)" for tokens in TOO_LONG},
    }


def test_what_a_server_says_of_its_limit_is_not_taken_for_the_length_of_the_prompt(
    asking: Runner, server: ChatServer
) -> None:
    said = {
        1: "This model's maximum context length is 8192 tokens. However, your prompt contains 99999 characters (more "
        "than 90112 characters, which is the upper bound for 8192 input tokens). Please reduce the length of the input "
        "prompt. (parameter=input_text, value=99999)",
        3: "This model's maximum context length is 8192 tokens. However, your prompt contains at least 8193 input "
        "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
        4: "Multimodal prompt is too long after expanding multimodal tokens.",
    }
    server.act = lambda chat: chat.error(400, said[chat.number]) if chat.number in said else None
    assert asking.run("--ids", "1,3,4", "--concurrency", "1").returncode == 0

    by_estimate = {chat.number: math.ceil(len(chat.text) / 2) for chat in server.chats}
    by_estimate[3] = 8193
    assert answers(asking) == {
        number: f"[ERROR] OOM: Text too large ({tokens} tokens)" for number, tokens in by_estimate.items()
    }


def test_the_ladder_is_climbed_with_what_the_server_has_said(asking: Runner, server: ChatServer) -> None:
    asking.benchmark.add_table("large", tuple((f"Harbour {n}", n, n / 4) for n in range(400)))
    asking.benchmark.ask(7, "large", "How many boats lie in Saltby? (No. 6)", "63")

    def act(chat: Chat) -> object:
        tokens = len(chat.text) // 4
        if tokens > 2500:
            return chat.error(400, f"The input ({tokens} tokens) is longer than the model's context length")
        return None

    server.act = act
    options = ("--resume", "--max-input-tokens", "20000")
    assert asking.run(*options).returncode == 0
    assert len(asking.journal) == 7
    assert asking.run(*options).returncode == 0

    (first, *tried) = [result for result in asking.journal if result["id"] == 7]
    assert first["Prediction"].startswith("[ERROR] OOM: Text too large (")
    assert [result["Recovery"]["rung"] for result in tried] == [4]
    assert tried[-1]["Prediction"] == "63"
    assert tried[-1]["Recovery"]["estimated"] is True
    last = server.chats[-1]
    assert "characters of the table are left out here" in last.text


PICTURE_TOO_LARGE = (
    "The decoder prompt contains a(n) image item with 20000 embedding tokens, which exceeds the pre-allocated encoder "
    "cache size 16384. Please reduce the input size or increase the encoder cache size by setting --limit-mm-per-prompt "
    "at startup."
)


def test_a_picture_that_is_too_large_loses_pixels(asking: Runner, server: ChatServer) -> None:
    asking.python = (sys.executable,)
    (asking.benchmark.data / "image" / "harbours.png").write_bytes(png(400, 300))
    sizes: list[bytes] = []

    def act(chat: Chat) -> object:
        data = base64.b64decode(chat.body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2])
        sizes.append(data[16:24])
        return chat.error(400, PICTURE_TOO_LARGE) if len(sizes) == 1 else None

    server.act = act
    assert asking.run("--recovery", "at-once", "--ids", "1", modality="image").returncode == 0

    failed, answered = asking.journal
    assert failed["Prediction"] == "[ERROR] OOM: Image too large ((400, 300))"
    assert answered["Prediction"] == "41"
    assert answered["Recovery"] == {"rung": 1, "pixel_share": 0.5, "max_pixels": 60000}
    width, height = int.from_bytes(sizes[1][:4], "big"), int.from_bytes(sizes[1][4:], "big")
    assert 59_000 < width * height <= 60_000


def test_without_pillow_no_picture_is_scaled_and_none_is_sent_for_a_smaller_one(
    asking: Runner, server: ChatServer
) -> None:
    server.act = lambda chat: chat.error(413, "too much")
    assert asking.run("--recovery", "at-once", "--ids", "1", modality="image").returncode == 0

    assert "[ERROR] Image cannot be scaled: install pillow in " in asking.journal[-1]["Prediction"]
    assert len(server.chats) == 1


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


@pytest.mark.parametrize(("status", "said"), [(401, "by --api-key-env"), (404, "see --base-url")])
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


def test_a_key_that_is_not_there_is_one_line(asking: Runner) -> None:
    ended = asking.run("--api-key-env", "MY_KEY")

    assert ended.returncode == 1
    assert ended.stderr == (
        "error: --api-key-env: the variable MY_KEY is not set, or empty; set it to the server's key\n"
    )


@pytest.mark.parametrize("models", [[], ["a", "b"]])
def test_the_model_is_asked_for_where_the_server_has_not_one(
    asking: Runner, server: ChatServer, models: list[str]
) -> None:
    server.act_on_models = lambda chat: chat.json(200, {"data": [{"id": name} for name in models]})
    ended = asking.run()

    assert ended.returncode == 1
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

    assert ended.returncode == 1
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
