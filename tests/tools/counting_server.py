"""What a chat server says of its tokens, in the forms of vLLM, SGLang and llama.cpp, by an uneven tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.tools.chat_server import Chat, ChatServer

TOKEN = re.compile(r" ?[A-Za-z]{1,5}|\d|[ \t]{1,8}|\n+|[^\sA-Za-z\d]", re.ASCII)
"""Words of few letters with their space, digits one by one, marks one by one; of other letters each byte."""
TEMPLATE = ("<|user|>", "\n", "<|end|>", "\n", "<|assistant|>", "\n")
PICTURE_TOKENS = 300
"""As many as a picture takes, whatever its size."""

SHOWN = (*range(33, 127), *range(161, 173), *range(174, 256))
LETTERS = [chr(byte) for byte in range(256)]
"""Of the bytes, one each; those that cannot be seen have others."""
for number, byte in enumerate(byte for byte in range(256) if byte not in SHOWN):
    LETTERS[byte] = chr(256 + number)

Act = Callable[[Chat], object]


def tokens(text: str) -> list[bytes]:
    """How each token of a text is spelled."""
    found: list[bytes] = []
    for piece in TOKEN.findall(text):
        encoded = piece.encode()
        found += [encoded] if piece.isascii() else [encoded[n : n + 1] for n in range(len(encoded))]
    return found


def prompt_tokens(content: Any, pictures: int = PICTURE_TOKENS) -> int:
    """Of a chat with this content; `pictures`: of each picture."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    return len(TEMPLATE) + len(tokens(text)) + pictures * sum(part["type"] == "image_url" for part in parts)


def as_letters(token: bytes) -> str:
    """As tokenizers of GPT-2's kind spell it."""
    return "".join(map(LETTERS.__getitem__, token))


def vllm(chat: Chat) -> object:
    """POST /tokenize, beside /v1."""
    return _tokenize(chat, lambda found: {"token_strs": [as_letters(token) for token in found]})


def sglang(chat: Chat) -> object:
    """The same, which does not say how tokens are spelled."""
    return _tokenize(chat, lambda found: {})


def blind(chat: Chat) -> object:
    """The same of a server that counts a picture's marks alone."""
    return _tokenize(chat, lambda found: {"token_strs": [as_letters(token) for token in found]}, pictures=3)


def llama(chat: Chat) -> object:
    """POST /tokenize and /apply-template, beside /v1."""
    if chat.path == "/apply-template":
        content = chat.body["messages"][0]["content"]
        return chat.json(200, {"prompt": f"<|user|>\n{content}<|end|>\n<|assistant|>\n"})
    if chat.path != "/tokenize":
        return chat.json(404, {"error": {"code": 404, "message": "File Not Found"}})
    content = chat.body.get("content", "")
    found: list[bytes] = []
    for part in re.split(r"(<\|\w+\|>)", content):
        found += [part.encode()] if part.startswith("<|") else tokens(part)
    if not chat.body.get("with_pieces"):
        return chat.json(200, {"tokens": list(range(len(found)))})
    return chat.json(
        200,
        {"tokens": [{"id": 1, "piece": t.decode() if t.isascii() else list(t)} for t in found]},
    )


def newer_llama(chat: Chat) -> object:
    """POST /v1/chat/completions/input_tokens too."""
    if chat.path == "/v1/chat/completions/input_tokens":
        counted = prompt_tokens(chat.body["messages"][0]["content"])
        return chat.json(200, {"object": "response.input_tokens", "input_tokens": counted})
    return llama(chat)


def count_with(server: ChatServer, form: Act) -> None:
    """Lets the server count in one of these forms, and tell in each reply what its prompt had."""
    server.act_on_others = form
    server.prompt_tokens = lambda chat: prompt_tokens(chat.body["messages"][0]["content"])


def _tokenize(
    chat: Chat, spelled: Callable[[list[bytes]], dict[str, object]], pictures: int = PICTURE_TOKENS
) -> object:
    if chat.path != "/tokenize":
        return chat.json(404, {"detail": "Not Found"})
    if "messages" in chat.body:
        counted = prompt_tokens(chat.body["messages"][0]["content"], pictures)
        more: dict[str, object] = {}
    else:
        found = tokens(chat.body["prompt"])
        counted, more = len(found), spelled(found)
    return chat.json(
        200, {"count": counted, "max_model_len": 100_000, "tokens": list(range(counted)), **more}
    )
