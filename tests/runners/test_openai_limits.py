"""Prompts and pictures that are too large for the server's model."""

from __future__ import annotations

import base64
import io
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Prompt, TaskFailed
from hitui_runners.engines.json_server import JsonServer
from hitui_runners.engines.openai import OpenAIEngine
from hitui_runners.engines.sent_pictures import SentPicture

from tests.runners.asked import answers, asking, server
from tests.runners.conftest import Runner
from tests.tools.benchmark import png
from tests.tools.chat_server import Chat, ChatServer

__all__ = ["asking", "server"]

QUESTION = "How many boats lie in Saltby? (No. 0)"
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


@pytest.mark.parametrize(
    "room",
    [{"max_model_len": 2000}, {"meta": {"n_ctx": 2000, "n_ctx_train": 131072}}],
    ids=["vLLM", "llama.cpp"],
)
def test_where_the_model_has_little_room_the_ladder_begins_there(
    asking: Runner, server: ChatServer, room: dict[str, object]
) -> None:
    asking.benchmark.add_table("large", tuple((f"Harbour {n}", n, n / 4) for n in range(400)))
    asking.benchmark.ask(7, "large", "How many boats lie in Saltby? (No. 6)", "63")
    server.act_on_models = lambda chat: chat.json(200, {"data": [{"id": "harbour-7b", **room}]})

    def act(chat: Chat) -> object:
        # So many that even its first estimate is too low.
        if len(chat.text) < 2000:
            return None
        return chat.error(
            400,
            "This model's maximum context length is 2000 tokens. However, your prompt contains at least 2001 input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
            "prompt. (parameter=input_tokens, value=2001)",
        )

    server.act = act
    ended = asking.run(
        "--recovery", "at-once", "--ids", "2,7", "--max-new-tokens", "400", "--concurrency", "1"
    )
    assert ended.returncode == 0, ended.stderr

    assert "; it has 2000 tokens for a prompt and its answer" in ended.stdout
    tried = [result for result in asking.journal if result["id"] == 7]
    budgets = [result.get("Recovery", {}).get("max_input_tokens") for result in tried]
    assert budgets == [None, 1600, 800]
    assert tried[-1]["Prediction"] == "63"


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


def test_a_picture_on_its_side_is_upright_and_not_squeezed_when_it_is_made_smaller(tmp_path: Path) -> None:
    from PIL import Image

    turned = Image.Exif()
    turned[0x0112] = 6
    path = tmp_path / "harbours.png"
    Image.new("RGB", (400, 300)).save(path, exif=turned)
    picture = SentPicture(path)
    picture.scale(30_000, {})

    part: dict[str, Any] = picture.part()
    with Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))) as sent:
        assert sent.size == (150, 200)


def test_beside_a_table_that_is_far_larger_a_picture_keeps_its_pixels(
    asking: Runner, server: ChatServer
) -> None:
    asking.benchmark.add_table("large", tuple((f"Harbour {n}", n, n / 4) for n in range(400)))
    asking.benchmark.ask(7, "large", "How many boats lie in Saltby? (No. 6)", "63")
    server.act = lambda chat: chat.error(400, TOO_LONG[9011]) if len(chat.text) > 6000 else None
    options = ("--recovery", "at-once", "--ids", "7", "--max-input-tokens", "6000")
    assert asking.run(*options, modality="mix").returncode == 0

    assert [result["Prediction"] for result in asking.journal] == [
        *["[ERROR] OOM: Text too large (9011 tokens)"] * 2,
        "63",
    ]
    assert asking.journal[-1]["Recovery"].items() >= {"rung": 3, "max_input_tokens": 3000}.items()
    assert "max_pixels" not in asking.journal[-1]["Recovery"]


@pytest.mark.parametrize(
    ("cells", "refusal", "said"),
    [
        (275, (413, {"detail": "too much"}), "OOM: Image too large ((400, 300))"),
        (275, (400, {"error": PICTURE_TOO_LARGE}), "OOM: Image too large ((400, 300))"),
        (275, (400, {"error": "CUDA out of memory"}), "OOM: Text too large (1630 tokens)"),
        (9, (400, {"error": "CUDA out of memory"}), "OOM: Image too large ((400, 300))"),
        (
            275,
            (400, {"error": {"message": "try increasing the context size", "n_prompt_tokens": 9013}}),
            "OOM: Text too large (9013 tokens)",
        ),
    ],
    ids=["its bytes", "itself", "larger table", "smaller table", "counted"],
)
def test_of_picture_and_table_the_one_that_the_server_names_is_too_large_else_the_larger(
    server: ChatServer, tmp_path: Path, cells: int, refusal: tuple[int, object], said: str
) -> None:
    picture = tmp_path / "harbours.png"
    picture.write_bytes(png(400, 300))
    engine = OpenAIEngine(JsonServer(server.url, None, 60, 5), "harbour-7b", 1, 100_000, 8, None)
    server.act = lambda chat: chat.json(*refusal)
    with pytest.raises(TaskFailed) as caught:
        engine.answer(Prompt(1, "", "<td>41</td>" * cells, "", "", image=picture))
    assert caught.value.message == said


def test_of_one_that_has_so_many_tokens_at_the_least_as_much_is_left_out(
    server: ChatServer, tmp_path: Path
) -> None:
    picture = tmp_path / "harbours.png"
    picture.write_bytes(png(400, 300))
    engine = OpenAIEngine(JsonServer(server.url, None, 60, 5), "harbour-7b", 1, 100_000, 8, None)
    refusal = "This model's maximum context length is 8192 tokens. However, your prompt contains at least 9001 input tokens"
    server.act = lambda chat: chat.error(400, refusal) if len(chat.text) > 6000 else None
    prompt = Prompt(1, "", "<td>41</td>" * 800, QUESTION, QUESTION, image=picture)
    with pytest.raises(TaskFailed, match=r"Text too large \(9001 tokens\)"):
        engine.answer(prompt)

    # A token is about a character then, and the picture has its own.
    engine.answer(replace(prompt, max_input_tokens=2_000))
    assert 1_500 < len(server.chats[-1].text) < 2_000


@pytest.mark.parametrize(("most", "sent"), [(None, 60_000), (30_000, 15_000), (500_000, 60_000)])
def test_a_share_of_a_picture_is_one_of_what_would_be_sent(
    server: ChatServer, tmp_path: Path, most: int | None, sent: int
) -> None:
    picture = tmp_path / "harbours.png"
    picture.write_bytes(png(400, 300))
    engine = OpenAIEngine(JsonServer(server.url, None, 60, 5), "harbour-7b", 1, 100_000, 8, most)
    reply = engine.answer(Prompt(1, "", "", QUESTION, QUESTION, image=picture, pixel_share=0.5))
    assert reply.recovery == {"max_pixels": sent}


def test_without_pillow_no_picture_is_scaled_and_none_is_sent_for_a_smaller_one(
    asking: Runner, server: ChatServer
) -> None:
    server.act = lambda chat: chat.error(413, "too much")
    assert asking.run("--recovery", "at-once", "--ids", "1", modality="image").returncode == 0

    assert "[ERROR] Image cannot be scaled: install pillow in " in asking.journal[-1]["Prediction"]
    assert len(server.chats) == 1
