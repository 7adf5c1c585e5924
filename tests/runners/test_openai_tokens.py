"""Tables on servers that count tokens, on those that do not, and on those that fail at it now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines import server_tokens
from hitui_runners.engines.base import Prompt, Reply, TaskFailed
from hitui_runners.engines.json_server import JsonServer
from hitui_runners.engines.openai import OpenAIEngine
from hitui_runners.engines.server_tokens import ServerTokens, token_starts

from tests.tools.benchmark import png
from tests.tools.chat_server import ChatServer, chat_server
from tests.tools.counting_server import (
    Act,
    as_letters,
    blind,
    count_with,
    llama,
    newer_llama,
    prompt_tokens,
    sglang,
    tokens,
    vllm,
)

ROWS = "".join(
    f"<tr><td>Harbour of Günther's Røros No. {n}</td><td>{n * 7919 % 100003}</td></tr>\n"
    if n < 350
    else f"<tr><td>{n**3}</td><td>{n * 1.0625}</td></tr>\n"
    for n in range(700)
)
"""Words at first, digits behind: tokens are far from evenly spread."""
TABLE = f"<table>\n<thead><tr><td>Harbour</td><td>Boats</td></tr></thead>\n{ROWS}</table>"
QUESTION = "How many boats lie in Saltby?"
LONG = Prompt(1, "A table follows.\n\n", TABLE, f"\n\nQuestion: {QUESTION}", QUESTION, table_format="html")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        yield made


@pytest.fixture
def loaded(server: ChatServer) -> Iterator[Callable[..., OpenAIEngine]]:
    engines: list[OpenAIEngine] = []

    def load(timeout: float = 60, key: str | None = None, address: str | None = None) -> OpenAIEngine:
        asked = JsonServer(address or server.url, key, timeout, 5)
        engine = OpenAIEngine(asked, None, 4, 100_000, 8, None)
        engine.load()
        engines.append(engine)
        return engine

    yield load
    for engine in engines:
        engine.close()


def with_budget(tokens: int, prompt: Prompt = LONG) -> Prompt:
    return replace(prompt, max_input_tokens=tokens)


def is_exact(reply: Reply, budget: int) -> bool:
    assert reply.input_tokens is not None
    return 0.99 * budget <= reply.input_tokens <= budget and "estimated" not in reply.recovery


@pytest.mark.parametrize("budget", [500, 2_000, 10_000])
@pytest.mark.parametrize(("form", "requests"), [(vllm, 5), (sglang, 5), (newer_llama, 6), (llama, 10)])
def test_a_table_is_cut_to_its_budget_where_the_server_counts(
    server: ChatServer, loaded: Callable[..., OpenAIEngine], form: Act, requests: int, budget: int
) -> None:
    count_with(server, form)
    reply = loaded().answer(with_budget(budget))

    assert is_exact(reply, budget)
    assert reply.recovery["max_input_tokens"] == budget
    uncut = reply.recovery["uncut_tokens"]
    assert isinstance(uncut, int)
    assert abs(uncut - prompt_tokens(LONG.before + TABLE + LONG.after)) <= 4
    text = server.chats[0].text
    assert text.endswith(LONG.after)
    assert "<thead><tr><td>Harbour</td><td>Boats</td></tr></thead>" in text
    assert "characters of the table are left out here]" in text
    assert TABLE[-100:] in text
    assert len(server.others) <= requests


def test_a_table_is_asked_about_once_for_all_questions_and_cut_alike(
    server: ChatServer, loaded: Callable[..., OpenAIEngine]
) -> None:
    count_with(server, vllm)
    engine = loaded()
    prompts = [
        replace(LONG, task_id=number, after=f"{LONG.after} (No. {number})", max_input_tokens=2_000)
        for number in range(1, 9)
    ]
    with ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(engine.answer, prompts))

    assert all(is_exact(reply, 2_000) for reply in replies)
    bodies = [other.body for other in server.others]
    assert sum(body.get("prompt") == TABLE for body in bodies) == 1
    # That, what its note has, and for each question what is around the table and the result.
    assert len(bodies) == 2 + 2 * len(prompts)
    assert len({chat.text.partition("Question: ")[0] for chat in server.chats}) == 1
    # A reply that does not tell how many it had says nothing against a count.
    server.prompt_tokens = lambda chat: 0
    reply = engine.answer(prompts[0])
    assert (reply.input_tokens, "estimated" in reply.recovery) == (None, False)


def test_a_prompt_that_surely_fits_is_not_counted(
    server: ChatServer, loaded: Callable[..., OpenAIEngine]
) -> None:
    count_with(server, vllm)
    short = replace(LONG, table=TABLE[:3_000])
    reply = loaded().answer(with_budget(3_600, short))

    assert reply.recovery == {}
    assert server.others == []


@pytest.mark.parametrize(("beyond", "is_whole"), [(-1, False), (0, True), (1, True), (3_000, True)])
def test_a_prompt_that_just_fits_stays_whole(
    server: ChatServer, loaded: Callable[..., OpenAIEngine], beyond: int, is_whole: bool
) -> None:
    count_with(server, vllm)
    exactly = prompt_tokens(LONG.before + TABLE + LONG.after)
    reply = loaded().answer(with_budget(exactly + beyond))

    assert reply.recovery.keys() == (set() if is_whole else {"max_input_tokens", "uncut_tokens"})
    assert (TABLE in server.chats[0].text) == is_whole
    assert reply.input_tokens is not None
    assert 0.99 * exactly < reply.input_tokens <= exactly + beyond


def test_what_is_around_a_table_may_alone_be_too_much(
    server: ChatServer, loaded: Callable[..., OpenAIEngine]
) -> None:
    count_with(server, vllm)
    around = prompt_tokens(LONG.before + LONG.after)
    with pytest.raises(TaskFailed, match=f"has {around} tokens without its table, more than the 20 allowed"):
        loaded().answer(with_budget(20))

    assert server.chats == []


def test_a_prompt_that_was_counted_and_is_too_large_all_the_same_says_its_count(
    server: ChatServer, loaded: Callable[..., OpenAIEngine]
) -> None:
    count_with(server, vllm)
    server.act = lambda chat: chat.error(400, "Context size has been exceeded.")
    with pytest.raises(TaskFailed) as failed:
        loaded().answer(with_budget(2_000))

    assert failed.value.message == f"OOM: Text too large ({prompt_tokens(server.chats[0].text)} tokens)"
    assert failed.value.recovery["max_input_tokens"] == 2_000


def with_picture(folder: Path, width: int = 400, height: int = 300) -> Prompt:
    picture = folder / f"{width}.png"
    picture.write_bytes(png(width, height))
    return replace(LONG, image=picture)


def test_a_picture_is_counted_once_where_the_server_counts_it(
    server: ChatServer, loaded: Callable[..., OpenAIEngine], tmp_path: Path
) -> None:
    count_with(server, vllm)
    engine, prompt = loaded(), with_picture(tmp_path)
    # One with as many pixels, and the same one with fewer, may have more tokens, or less.
    other, fewer = with_picture(tmp_path, 300, 400), replace(prompt, pixel_share=0.5)
    for asked, counted in ((prompt, 1), (prompt, 1), (other, 2), (fewer, 3), (prompt, 3)):
        assert is_exact(engine.answer(with_budget(2_000, asked)), 2_000)
        sent = [str(other.body.get("messages")) for other in server.others]
        assert sum("image_url" in messages for messages in sent) == counted


def test_a_picture_of_which_the_server_counts_the_marks_alone_is_estimated(
    server: ChatServer, loaded: Callable[..., OpenAIEngine], tmp_path: Path
) -> None:
    count_with(server, blind)
    engine = loaded()
    reply = engine.answer(with_budget(2_000, with_picture(tmp_path)))

    assert reply.recovery["estimated"] is True
    # So it is the picture alone that is more than was thought, and words are counted still.
    assert is_exact(engine.answer(with_budget(2_000)), 2_000)


@pytest.mark.parametrize("status", [400, 401, 404, 405, 422, 501])
def test_a_server_that_does_not_count_is_asked_once(
    server: ChatServer,
    loaded: Callable[..., OpenAIEngine],
    capsys: pytest.CaptureFixture[str],
    status: int,
) -> None:
    server.act_on_others = lambda chat: chat.error(status, "no such thing")
    engine = loaded()
    for _ in range(2):
        assert engine.answer(with_budget(2_000)).recovery["estimated"] is True

    assert len(server.others) == 1
    said = capsys.readouterr()
    line = f"{server.url} counts no tokens ({status}: no such thing): tables are cut by estimate"
    assert said.out.splitlines()[1:] == [line]
    assert said.err == ""


BROKEN: dict[str, Act] = {
    "hangs": lambda chat: chat.hang(),
    "breaks off": lambda chat: chat.reset(),
    "fails": lambda chat: chat.error(500, "oh dear"),
    "is busy": lambda chat: chat.error(503, "later", Retry_After="100"),
    "no JSON": lambda chat: chat.raw(200, b"<html>"),
    "a list": lambda chat: chat.json(200, [1]),
    "none": lambda chat: chat.json(200, {"count": 0, "tokens": []}),
    "no number": lambda chat: chat.json(200, {"count": "many"}),
    "nothing": lambda chat: chat.json(200, {}),
    "deep": lambda chat: chat.raw(200, b"[" * 100_000),
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_count_that_fails_costs_that_prompt_its_exactness_alone(
    server: ChatServer,
    loaded: Callable[..., OpenAIEngine],
    capsys: pytest.CaptureFixture[str],
    way: str,
) -> None:
    count_with(server, vllm)
    # The first of all, then one of a table, then one of a result.
    server.act_on_others = lambda chat: (BROKEN[way] if len(server.others) in (1, 3, 7) else vllm)(chat)
    engine = loaded(timeout=1 if way == "hangs" else 60)

    for _ in range(3):
        assert engine.answer(with_budget(2_000)).recovery["estimated"] is True
    assert is_exact(engine.answer(with_budget(2_000)), 2_000)
    assert "estimate" not in capsys.readouterr().err


def test_a_server_that_fails_at_it_again_and_again_is_not_asked_for_a_while(
    server: ChatServer, loaded: Callable[..., OpenAIEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    server.act_on_others = BROKEN["fails"]
    engine = loaded()
    for _ in range(5):
        assert engine.answer(with_budget(2_000)).recovery["estimated"] is True

    assert len(server.others) == 3
    assert capsys.readouterr().err == f"warning: {server.url}: oh dear; tables are cut by estimate\n"


def test_after_a_while_it_is_asked_again(
    server: ChatServer, loaded: Callable[..., OpenAIEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_tokens, "PAUSE_SECONDS", 0)
    server.act_on_others = BROKEN["fails"]
    engine = loaded()
    for _ in range(4):
        engine.answer(with_budget(2_000))
    count_with(server, vllm)

    assert is_exact(engine.answer(with_budget(2_000)), 2_000)


def test_a_server_that_is_away_is_asked_again_when_it_is_back() -> None:
    with chat_server() as gone:
        port = gone.server_address[1]
    asked = ServerTokens(JsonServer(gone.url, None, 60, 5))
    assert [asked.count("How many?") for _ in range(5)] == [None] * 5
    with chat_server(port) as back:
        count_with(back, vllm)
        assert asked.count("How many?") == prompt_tokens("How many?")


def test_a_text_that_is_sent_in_pieces_has_the_tokens_of_the_whole(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_with(server, vllm)
    asked = ServerTokens(JsonServer(server.url, None, 60, 5))
    assert asked.count("How many?") is not None
    text = "41 boats\n" * 30
    whole = asked.starts(text)
    assert whole is not None
    monkeypatch.setattr(server_tokens, "PIECE_CHARACTERS", 90)
    pieces = asked.starts(text)
    assert pieces is not None
    assert list(pieces) == list(whole)


def test_a_server_that_counts_too_few_is_not_believed_again(
    server: ChatServer, loaded: Callable[..., OpenAIEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    count_with(server, vllm)
    server.prompt_tokens = lambda chat: prompt_tokens(chat.text) + 40
    engine = loaded()
    assert engine.answer(with_budget(2_000)).recovery["estimated"] is True
    asked = len(server.others)
    again = engine.answer(with_budget(2_000))

    assert again.recovery["estimated"] is True
    assert len(server.others) == asked
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("; tables are cut by estimate")


def test_the_key_goes_along_and_the_path_is_that_above_the_api(
    server: ChatServer, loaded: Callable[..., OpenAIEngine]
) -> None:
    count_with(server, vllm)
    engine = loaded(key="secret-123", address=server.url.replace("/v1", "/mine/v1"))
    engine.answer(with_budget(2_000))

    assert {other.path for other in server.others} == {"/mine/tokenize"}
    assert {other.headers["Authorization"] for other in server.others} == {"Bearer secret-123"}
    assert {other.body["model"] for other in server.others} == {"harbour-7b"}


SPOKEN = "Günther: 12 boats\n日本"
TOKENS = [0, 1, 1, 2, 7, 8, 9, 10, 11, 17, 18, 18, 18, 19, 19, 19]
"""Where each begins; of a character that is spelled by its bytes they all do where it does."""


@pytest.mark.parametrize(
    ("pieces", "starts"),
    [
        ([as_letters(token) for token in tokens(SPOKEN)], TOKENS),
        ([list(token) for token in tokens(SPOKEN)], TOKENS),
        (
            ["▁Gün", "ther", ":", "▁1", "2▁", "boats", "<0x0A>", "日", "<0xE6>", "<0x9C>", "<0xAC>"],
            [0, 3, 7, 8, 10, 12, 17, 18, 19, 19, 19],
        ),
        # Of another text, and of one of which only their number is known.
        (["What", "ever", "this", "is"], [0, 5, 10, 15]),
        (4, [0, 5, 10, 15]),
    ],
    ids=["letters for bytes", "bytes", "SentencePiece", "others", "number"],
)
def test_where_tokens_begin_is_read_from_how_they_are_spelled(pieces: Any, starts: list[int]) -> None:
    assert list(token_starts(SPOKEN, pieces)) == starts
