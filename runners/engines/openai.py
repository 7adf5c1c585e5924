"""Any server that speaks OpenAI's chat completions (vLLM, SGLang, llama.cpp, …), asked several prompts at once.

Nothing but the standard library is needed; pictures are scaled where Pillow is installed. The server has the
tokenizer: where it counts tokens for others, tables are cut to their budget exactly, else by estimate.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from hitui_runners.engines.base import (
    Engine,
    EngineFacts,
    Prompt,
    Reply,
    TaskFailed,
    image_too_large,
    text_too_large,
)
from hitui_runners.engines.demo import PIXELS_PER_TOKEN
from hitui_runners.engines.http_client import TooSlow
from hitui_runners.engines.json_server import JsonServer, Refused
from hitui_runners.engines.options import at_least_one
from hitui_runners.engines.sent_pictures import SentPicture, has_pillow
from hitui_runners.engines.server_prompts import MadeText, ServerPrompts
from hitui_runners.engines.server_tokens import ServerTokens
from hitui_runners.engines.server_words import (
    asks_for_too_long_an_answer,
    count,
    is_about_picture,
    is_too_large,
    least_tokens_said,
    tokens_said,
    unsupported_option,
)
from hitui_runners.errors import EngineLost, RunnerError, SetupError
from hitui_runners.output import say

MOST_SECONDS = 7 * 24 * 3600.0


class OpenAIEngine(Engine):
    """A model behind a server."""

    name = "openai"
    speed_options = ("base_url", "api_key_env", "concurrency", "timeout", "patience")

    def __init__(
        self,
        server: JsonServer,
        model: str | None,
        at_once: int,
        max_input_tokens: int,
        max_new_tokens: int,
        max_pixels: int | None,
    ) -> None:
        self.at_once = at_once
        self._server = server
        self._model = model
        self._max_new_tokens = max_new_tokens
        self._options: Mapping[str, object] = {"temperature": 0, "max_tokens": max_new_tokens}
        self._max_pixels = max_pixels
        self._tokens = ServerTokens(server)
        self._prompts = ServerPrompts(self._tokens, max_input_tokens)
        self._told: Mapping[str, object] = {}
        """What the server says of the model."""
        self.lists_others: tuple[str, ...] = ()
        """The models that the server lists, where this one is not among them; after `load`."""
        self.listing_error: RunnerError | None = None
        """Why it lists none; after `load`."""

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--base-url",
            metavar="URL",
            help="of the server, such as http://localhost:8000/v1; --model is its name there",
        )
        parser.add_argument(
            "--api-key-env",
            metavar="NAME",
            help="the variable of the environment that holds the server's key",
        )
        parser.add_argument(
            "--concurrency",
            type=at_least_one,
            default=8,
            metavar="N",
            help="prompts that are asked at once (default 8)",
        )
        parser.add_argument(
            "--timeout", type=float, default=600.0, metavar="S", help="seconds for one answer (default 600)"
        )
        parser.add_argument(
            "--patience",
            type=float,
            default=300.0,
            metavar="S",
            help="seconds for which a server is asked again that is busy or not there (default 300)",
        )
        parser.add_argument(
            "--max-pixels",
            type=at_least_one,
            metavar="N",
            help="scale images down to this many pixels; needs Pillow",
        )

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> OpenAIEngine:
        if arguments.base_url is None:
            raise RunnerError("--engine openai needs --base-url, such as http://localhost:8000/v1")
        for option in ("timeout", "patience"):
            if not 0 < getattr(arguments, option) <= MOST_SECONDS:
                raise RunnerError(
                    f"--{option}: seconds above 0 are expected, at most {MOST_SECONDS:.0f},"
                    f" not {getattr(arguments, option)}"
                )
        if arguments.max_pixels is not None and not has_pillow():
            raise RunnerError(f"--max-pixels: images cannot be scaled: install pillow in {sys.executable}")
        key = _key(arguments.api_key_env)
        return cls(
            JsonServer(arguments.base_url, key, arguments.timeout, arguments.patience),
            arguments.model,
            arguments.concurrency,
            arguments.max_input_tokens,
            arguments.max_new_tokens,
            arguments.max_pixels,
        )

    @property
    def url(self) -> str:
        """Below which the server's API lies."""
        return self._server.url

    def load(self) -> None:
        """Waits for the server, and asks for its models. Raises RunnerError and EngineLost."""
        models: dict[str, dict[str, object]] = {}
        try:
            models = _models(self._server.get("/models"))
        except TooSlow as error:
            raise EngineLost(f"{self.url}: {error}") from error
        except Refused as refused:
            if refused.status in (401, 403):
                raise self._lost(refused) from refused
            # A server that fails, or breaks off, may list them later.
            kind = SetupError if refused.status is not None and refused.status < 500 else RunnerError
            self.listing_error = kind(
                f"{self.url}: it lists no models ({refused.words}); see --base-url, such as "
                "http://localhost:8000/v1, or name the model by --model"
            )
            # Not every server lists its models; whether it has this one shows at the first prompt.
            if self._model is None:
                raise self.listing_error from refused
        if self._model is None:
            if len(models) != 1:
                listed = f"it lists {', '.join(list(models)[:10])}" if models else "it lists none"
                raise (SetupError if models else RunnerError)(
                    f"{self.url}: name the model by --model; {listed}"
                )
            [self._model] = models
        self._tokens.model = self._model
        self.lists_others = () if self._model in models else tuple(models)
        self._told = models.get(self._model, {})
        context = count(self._told.get("max_model_len")) or count(self._told.get("n_ctx"))
        if context is not None:
            if self._max_new_tokens > context:
                raise SetupError(
                    f"{self.url}: its model has {context} tokens for a prompt and its answer, and "
                    f"--max-new-tokens is {self._max_new_tokens}; set it to less"
                )
            # Half of it at least is for the prompt: few answers are as long as they may be.
            self.most_input_tokens = context - min(self._max_new_tokens, context // 2)
        limit = "" if context is None else f"; it has {context} tokens for a prompt and its answer"
        say(f"Asking {self._model} at {self.url}, up to {self.at_once} prompts at once{limit}")

    def answer(self, prompt: Prompt) -> Reply:
        recovery: dict[str, object] = {}
        picture = None if prompt.image is None else SentPicture(prompt.image)
        content: str | list[dict[str, object]]
        if picture is not None:
            picture.scale(self._most_pixels(picture, prompt.pixel_share), recovery)
        made = self._prompts.text(prompt, picture)
        recovery.update(made.recovery)
        text = made.text
        content = text if picture is None else [picture.part(), {"type": "text", "text": text}]
        try:
            reply = self._reply(self._ask(content, recovery), recovery)
        except (Refused, TooSlow) as error:
            failure = self._failure(error, prompt, made, picture)
            failure.recovery = recovery
            raise failure from error
        self._prompts.estimates.learn(prompt, text, None if picture is not None else reply.input_tokens)
        if made.tokens is not None and (reply.input_tokens or 0) > made.tokens:
            self._tokens.is_wrong(made.tokens, reply.input_tokens or 0)
            if made.recovery:
                recovery["estimated"] = True
        return reply

    def facts(self) -> EngineFacts:
        model = {} if self._model is None else {"model": self._model}
        return EngineFacts({**model, "sampling": "greedy"}, {"server_says": dict(self._told)})

    def close(self) -> None:
        self._server.close()

    def _ask(self, content: str | list[dict[str, object]], recovery: dict[str, object]) -> Any:
        """The server's answer, with the options that this model takes; raises as `JsonServer.post` does."""
        while True:
            options = self._options
            messages = [{"role": "user", "content": content}]
            try:
                value = self._server.post(
                    "/chat/completions", {"model": self._model, "messages": messages, **options}
                )
            except Refused as refused:
                unsupported = unsupported_option(refused)
                if unsupported not in options:
                    raise
                # Several threads may learn the same at once: each makes new options of what it asked with.
                changed = {key: value for key, value in options.items() if key != unsupported}
                if unsupported == "max_tokens":
                    changed["max_completion_tokens"] = options["max_tokens"]
                self._options = changed
                continue
            if "temperature" not in options:
                recovery["temperature"] = "the server's own"
            return value

    def _most_pixels(self, picture: SentPicture, share: float) -> int | None:
        """How many the picture may have; None: as it is."""
        most = self._max_pixels
        if share != 1:
            most = max(1, int(min(picture.pixels, most or picture.pixels) * share))
        return most

    def _reply(self, value: Any, recovery: Mapping[str, object]) -> Reply:
        """Raises Refused where the answer holds none."""
        try:
            text = value["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise Refused(None, "its answer holds no choices with a message") from None
        if isinstance(text, list):
            text = "".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
        usage = value.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        return Reply(
            # None: it said something else than an answer, such as its reasoning until the tokens ran out.
            text if isinstance(text, str) else "",
            count(usage.get("prompt_tokens")),
            count(usage.get("completion_tokens")),
            recovery,
        )

    def _failure(
        self, error: Refused | TooSlow, prompt: Prompt, made: MadeText, picture: SentPicture | None
    ) -> TaskFailed:
        """What is said of the task. Raises EngineLost where the others would fare no better."""
        if isinstance(error, TooSlow):
            return TaskFailed(f"Server: {error}", unexpected=True)
        if error.status in (401, 403, 404) or (error.status is not None and error.status < 400):
            raise self._lost(error)
        if asks_for_too_long_an_answer(error):
            raise EngineLost(f"{self.url}: {error.words}; set --max-new-tokens to less")
        if is_too_large(error):
            return self._too_large(error, prompt, made, picture)
        return TaskFailed(f"Server: {error.words}", unexpected=True)

    def _too_large(
        self, refused: Refused, prompt: Prompt, made: MadeText, picture: SentPicture | None
    ) -> TaskFailed:
        tokens, least = tokens_said(refused) or made.tokens, least_tokens_said(refused)
        of_picture = 0
        if picture is None:
            self._prompts.estimates.learn(prompt, made.text, tokens)
        else:
            of_picture = picture.pixels // PIXELS_PER_TOKEN
        of_text = math.ceil(len(made.text) / self._prompts.estimates.characters_per_token(prompt))
        # Of a picture and a table the larger one is made less first.
        if picture is not None and (not prompt.table or is_about_picture(refused) or of_text < of_picture):
            return image_too_large(picture.size, tokens)
        if of_text < least - of_picture:
            of_text = least - of_picture
            self._prompts.estimates.learn_least(prompt, made.text, of_text)
        return text_too_large(tokens or of_text + of_picture)

    def _lost(self, refused: Refused) -> EngineLost:
        mend = "see --base-url, such as http://localhost:8000/v1, and --model"
        if refused.status in (401, 403):
            mend = "name the variable that holds the key by --api-key-env"
            if self._server.has_key:
                mend = "look at the key in the variable that --api-key-env names"
        return EngineLost(f"{self.url}: {refused.words}; {mend}")


def _key(variable: str | None) -> str | None:
    """What the variable holds; None where none is named. Raises RunnerError where it is not there."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise RunnerError(
            f"--api-key-env: the variable {variable} is not set, or empty; set it to the server's key"
        )
    return key


def _models(value: Any) -> dict[str, dict[str, object]]:
    """The models in a list of them, by name, with what is said of each and stays; empty where it is no such list."""
    entries = value.get("data") if isinstance(value, dict) else None
    return {
        entry["id"]: _said_of(entry)
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    }


def _said_of(entry: Mapping[str, Any]) -> dict[str, object]:
    said: dict[str, object] = {
        key: told
        for key, told in entry.items()
        if key not in ("id", "object", "created") and isinstance(told, (str, int, float, bool))
    }
    meta = entry.get("meta")
    # Where llama.cpp says how much room one prompt has.
    room = count(meta.get("n_ctx")) if isinstance(meta, dict) else None
    return said if room is None else {**said, "n_ctx": room}
