"""What a server says of its tokenizer: how many tokens a prompt has as it is sent, and where those of a text begin.

None of it is in OpenAI's API. At the server's root, which is above its /v1:

    vLLM       POST /tokenize {model, messages, add_generation_prompt} → {count, max_model_len, tokens}
               POST /tokenize {model, prompt, add_special_tokens, return_token_strs} → {count, token_strs, …}
               docs.vllm.ai/en/v0.16.0/api/vllm/entrypoints/serve/tokenize/protocol/
    SGLang     the same without token_strs; before it took messages, it is not known how to count a prompt there
               github.com/sgl-project/sglang: python/sglang/srt/entrypoints/openai/serving_tokenize.py
    llama.cpp  POST /tokenize {content, add_special, parse_special, with_pieces} → {tokens: [{id, piece}, …]}
               POST /apply-template {messages} → {prompt}
               and below /v1, in newer ones: POST /chat/completions/input_tokens {messages} → {input_tokens}
               github.com/ggml-org/llama.cpp: tools/server/README.md
"""

from __future__ import annotations

import re
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from hitui_runners.engines.http_client import TooSlow
from hitui_runners.engines.json_server import Away, JsonServer, NotNow, Refused
from hitui_runners.engines.server_words import count
from hitui_runners.output import complain, say

SECONDS = 60.0
"""For one answer, where no less is meant for a whole reply: nothing is generated."""
FAILURES = 3
PAUSE_SECONDS = 300.0
"""After so many failures in a row the server is not asked for so long."""
PIECE_CHARACTERS = 1_000_000
"""Of a text that is sent at a time: answers are several times as long."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")

Content = str | list[dict[str, object]]
"""Of a message: its words, or its parts."""
Pieces = Sequence[str | Sequence[int]] | int
"""How each token of a text is spelled, in letters or in bytes; where that is not said, how many there are."""
_Told = TypeVar("_Told")


class _Form(Protocol):
    """How a kind of server is asked. What its answer lacks raises LookupError, TypeError or ValueError."""

    def count(self, content: Content) -> int: ...

    def pieces(self, text: str) -> Pieces:
        """The tokens of a text, none around it."""
        ...


class ServerTokens:
    """Asks one server; for any number of threads. What it does not say is None: then it must be estimated."""

    def __init__(self, server: JsonServer) -> None:
        self.model: str | None = None
        """Its name there."""
        self._server = server
        self._lock = threading.Lock()
        self._form: _Form | None = None
        self._is_over = False
        """It is not asked any more."""
        self._failures = 0
        self._asked_again = 0.0
        """When it is, by the monotonic clock."""
        self._has_told = False

    def count(self, content: Content) -> int | None:
        """How many tokens the prompt has that asks this, with all that the model's template puts around it."""
        with self._lock:
            if self._form is None:
                return self._tried(lambda: self._first_count(content))
        return self._asked(lambda form: form.count(content))

    def starts(self, text: str) -> Sequence[int] | None:
        """The character at which each token of a text begins, as it stands within a prompt."""
        starts = array("i")
        for begin in range(0, len(text), PIECE_CHARACTERS):
            of_piece = self._starts(text[begin : begin + PIECE_CHARACTERS])
            if of_piece is None:
                return None
            starts.extend(begin + start for start in of_piece)
        return starts

    def is_wrong(self, counted: int, told: int) -> None:
        """Takes in that a prompt had more tokens than were counted: no count is to be trusted any more."""
        if not self._is_over:
            self._is_over = True
            self._warn(f"it counts {counted} tokens in a prompt and answers one of {told}")

    def _starts(self, text: str) -> Sequence[int] | None:
        return self._asked(lambda form: token_starts(text, form.pieces(text)))

    def _first_count(self, content: Content) -> int | None:
        """The first count, by which the server's form shows. Raises as `JsonServer.post_once`, where it may be told
        later."""
        try:
            form: _Form = _Chats(self._server, self.model)
            try:
                counted = form.count(content)
            except _OtherForm:
                form = _LlamaCpp(self._server, self.model)
                counted = form.count(content)
        except Refused as refused:
            self._is_over = True
            say(f"{self._server.url} counts no tokens ({refused.words}): tables are cut by estimate")
            return None
        self._form = form
        return counted

    def _asked(self, ask: Callable[[_Form], _Told]) -> _Told | None:
        form = self._form
        return None if form is None else self._tried(lambda: ask(form))

    def _tried(self, ask: Callable[[], _Told]) -> _Told | None:
        if self._is_over or time.monotonic() < self._asked_again:
            return None
        try:
            told = ask()
        except Away:
            # So is it for the prompt itself, which waits for it.
            return None
        except (Refused, TooSlow, NotNow) as error:
            words = error.words if isinstance(error, Refused) else str(error)
        except (LookupError, TypeError, ValueError):
            words = "its answer holds no count"
        else:
            self._failures = 0
            return told
        self._failures += 1
        if self._failures >= FAILURES:
            self._asked_again = time.monotonic() + PAUSE_SECONDS
            if not self._has_told:
                self._has_told = True
                self._warn(words)
        return None

    def _warn(self, words: str) -> None:
        complain(f"\nwarning: {self._server.url}: {words}; tables are cut by estimate")


class _OtherForm(ValueError):
    """The answer is that of llama.cpp to a question in another form."""


class _Chats:
    """vLLM and SGLang."""

    def __init__(self, server: JsonServer, model: str | None) -> None:
        self._server = server
        self._model = model

    def count(self, content: Content) -> int:
        answer = _tokenize(
            self._server, model=self._model, messages=_messages(content), add_generation_prompt=True
        )
        if "count" not in answer and answer.get("tokens") == []:
            raise _OtherForm
        return _positive(answer["count"])

    def pieces(self, text: str) -> Pieces:
        answer = _tokenize(
            self._server, model=self._model, prompt=text, add_special_tokens=False, return_token_strs=True
        )
        return _list(answer.get("token_strs")) or _positive(answer["count"])


class _LlamaCpp:
    """llama.cpp's server."""

    def __init__(self, server: JsonServer, model: str | None) -> None:
        self._server = server
        self._model = model
        self._counts_chats = True

    def count(self, content: Content) -> int:
        body: dict[str, object] = {"model": self._model, "messages": _messages(content)}
        if self._counts_chats:
            try:
                answer = self._server.post_once("/chat/completions/input_tokens", body, SECONDS)
                return _positive(answer["input_tokens"])
            except Refused as refused:
                if refused.status not in (404, 405, 501):
                    raise
                self._counts_chats = False
        if not isinstance(content, str):
            # A picture has but a mark in what the template makes of it.
            body["messages"] = _messages([part for part in content if part["type"] == "text"])
        prompt = self._server.post_once("/apply-template", body, SECONDS, at_root=True)["prompt"]
        answer = _tokenize(
            self._server, model=self._model, content=prompt, add_special=True, parse_special=True
        )
        return _positive(len(answer["tokens"]))

    def pieces(self, text: str) -> Pieces:
        answer = _tokenize(
            self._server, model=self._model, content=text, parse_special=True, with_pieces=True
        )
        tokens = answer["tokens"]
        if isinstance(tokens[0], dict):
            return _list([token["piece"] for token in tokens]) or len(tokens)
        return _positive(len(tokens))


def token_starts(text: str, pieces: Pieces) -> Sequence[int]:
    """The character at which each token begins whose pieces these are: spelled in letters that stand for bytes, as by
    tokenizers of GPT-2's kind, in words whose spaces are ▁, as by SentencePiece, or by bytes.

    Where they do not make up the text, and where only their number is known, tokens are spread evenly.
    """
    number = pieces if isinstance(pieces, int) else len(pieces)
    if not isinstance(pieces, int):
        encoded = text.encode("utf-8", "surrogatepass")
        for length in (len, _bytes_spelled):
            ends = list(accumulate(length(piece) for piece in pieces))
            # Some begin with a space that no text has.
            more = ends[-1] - len(encoded)
            if more in (0, 1):
                places = [max(0, end - more) for end in (0, *ends[:-1])]
                if len(encoded) == len(text):
                    return places
                characters = list(accumulate(byte & 0xC0 != 0x80 for byte in encoded))
                return [characters[min(place, len(encoded) - 1)] - 1 for place in places]
    return [len(text) * token // number for token in range(number)]


def _bytes_spelled(piece: str | Sequence[int]) -> int:
    if not isinstance(piece, str):
        return len(piece)
    if _BYTE.fullmatch(piece):
        return 1
    return len(piece.replace("▁", " ").encode("utf-8", "surrogatepass"))


def _tokenize(server: JsonServer, **value: object) -> dict[str, Any]:
    answer = server.post_once("/tokenize", value, SECONDS, at_root=True)
    if not isinstance(answer, dict):
        raise TypeError
    return answer


def _messages(content: Content) -> list[dict[str, object]]:
    return [{"role": "user", "content": content}]


def _positive(value: object) -> int:
    number = count(value)
    if number is None:
        raise ValueError
    return number


def _list(value: object) -> list[str | list[int]]:
    """The pieces where all are; else empty."""
    if isinstance(value, list) and all(isinstance(piece, (str, list)) for piece in value):
        return value
    return []
