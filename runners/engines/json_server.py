"""JSON over HTTP to one server, that is asked again where that may help.

What may pass is tried again, after pauses that grow or as the server asks for (`Retry-After`): a server that is
not there, is busy, or breaks off. What cannot pass is told apart, so that a request that the server refuses costs
one task, and a server that is gone ends the run.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import math
import random
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from hitui_runners.engines.http_client import Answer, BrokenOff, HttpClient, TooSlow, Trouble, Unreachable
from hitui_runners.errors import EngineLost
from hitui_runners.output import complain

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds; each pause is about twice the one before."""
TRIES = 4
"""Of a request at which the server itself fails, or breaks off, while it answers others."""
PROBE_SECONDS = 10.0
QUIET_SECONDS = 60.0
"""Between two lines about trouble."""
MOST_WORDS = 300
"""Characters of what a server says that are shown."""
BUSY = (408, 425, 429, 502, 503, 504, 529)
"""Statuses of a server that may answer the same request later."""


class Refused(Exception):
    """The server refuses this request, or fails at it again and again."""

    def __init__(self, status: int | None, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        """None: it came to no answer of HTTP, or to one that is no JSON."""
        self.message = message
        """The server's own words, on one line."""
        self.details = details or {}
        """What an error in the form of OpenAI's holds besides."""

    @property
    def words(self) -> str:
        """The message behind its status, where there is one."""
        return self.message if self.status is None else f"{self.status}: {self.message}"


class NotNow(Exception):
    """The one try failed, and another might not."""


class Away(NotNow):
    """No connection came about."""


class _Busy(Trouble):
    """It says itself that it cannot now."""

    def __init__(self, words: str, wait: float | None) -> None:
        super().__init__(words)
        self.wait = wait
        """Seconds that it asks for; 0, or a moment that is past by our clock, ask for no less than our own."""


class _Failed(Trouble):
    """It says that it failed, or its answer is no JSON."""

    status: int | None = None


class JsonServer:
    """One server, by the address below which its API lies."""

    def __init__(self, base_url: str, key: str | None, timeout: float, patience: float) -> None:
        """`key`: sent as a bearer token, and never shown. `timeout`: seconds for one answer. `patience`: seconds
        for which a request is tried while the server is not there or busy.

        Raises RunnerError where the address or the key can be none.
        """
        self._http = HttpClient(base_url, key)
        self.url = self._http.url
        self._timeout = timeout
        self._patience = patience
        self._lock = threading.Lock()
        self._answered = 0
        """Requests that came to an answer other than an error."""
        self._told = -math.inf
        """When trouble was last told of."""

    @property
    def has_key(self) -> bool:
        return self._http.key is not None

    def post(self, path: str, value: object) -> Any:
        """The answer to `value`. Raises Refused, TooSlow, and EngineLost where nothing can be asked of it."""
        return self._until_answered("POST", path, json.dumps(value).encode())

    def post_once(self, path: str, value: object, seconds: float, *, at_root: bool = False) -> Any:
        """As `post`, tried once, for so many seconds at most; raises NotNow too. `at_root`: above /v1."""
        above = self._http.path.removesuffix("/v1") if at_root else self._http.path
        try:
            return self._once("POST", above + path, json.dumps(value).encode(), min(seconds, self._timeout))
        except Unreachable as trouble:
            raise Away(trouble.words) from trouble
        except Trouble as trouble:
            raise NotNow(trouble.words) from trouble

    def get(self, path: str) -> Any:
        """What is at `path`; raises as `post` does."""
        return self._until_answered("GET", path, None)

    def close(self) -> None:
        """Ends what is under way in other threads, with an EngineLost there; the server is not asked again."""
        self._http.close()

    def _until_answered(self, method: str, path: str, body: bytes | None) -> Any:
        began, answered_before = time.monotonic(), self._answered
        pause, tries, own_failures = FIRST_PAUSE, 0, 0
        while True:
            tries += 1
            try:
                value = self._once(method, self._http.path + path, body, self._timeout)
            except Trouble as error:
                trouble = error
            else:
                self._answered += 1
                return value
            own_failures += isinstance(trouble, (BrokenOff, _Failed))
            if own_failures == TRIES:
                if isinstance(trouble, BrokenOff) and not self._is_alive(answered_before):
                    raise self._gone(trouble.words, tries, began)
                status = trouble.status if isinstance(trouble, _Failed) else None
                raise Refused(status, trouble.words)
            asked_for = trouble.wait if isinstance(trouble, _Busy) else None
            wait = max(random.uniform(0.75, 1.25) * pause, asked_for or 0.0)
            if time.monotonic() + wait - began > self._patience:
                asked = "" if asked_for is None else f" (it asks to wait {asked_for:.0f} s)"
                if isinstance(trouble, Unreachable) or self._answered == answered_before:
                    raise self._gone(trouble.words + asked, tries, began)
                raise Refused(None, trouble.words + asked)
            self._tell(trouble)
            self._http.closed_within(wait)
            if tries == 1:
                # What was under way elsewhere when this went wrong says nothing of the server afterwards.
                answered_before = self._answered
            pause = min(pause * 2, LONGEST_PAUSE)

    def _gone(self, words: str, tries: int, began: float) -> EngineLost:
        times = "once" if tries == 1 else f"{tries} times in {time.monotonic() - began:.0f} s"
        return EngineLost(
            f"{self.url}: {words}; asked {times}; nothing is lost, run again when it answers (an evaluation with --resume)"
        )

    def _is_alive(self, answered_before: int) -> bool:
        """Whether the server answers anything at all, though not this request."""
        if self._answered > answered_before:
            return True
        try:
            self._http.exchange("GET", self._http.path + "/models", None, PROBE_SECONDS)
        except (Trouble, TooSlow):
            return False
        return True

    def _tell(self, trouble: Trouble) -> None:
        """One line where trouble begins, however many requests meet it."""
        with self._lock:
            silent = time.monotonic() - self._told < QUIET_SECONDS
            if not silent:
                self._told = time.monotonic()
        if not silent:
            complain(f"\nwarning: {self.url}: {trouble.words}; trying again for up to {self._patience:.0f} s")

    def _once(self, method: str, path: str, body: bytes | None, timeout: float) -> Any:
        """One try. Raises Trouble where another may succeed, and what `post` raises."""
        answer = self._http.exchange(method, path, body, timeout)
        status: int | None = answer.status
        if answer.status == 200:
            try:
                value = json.loads(answer.content)
            except (ValueError, RecursionError):
                failed = _Failed(f"its answer is no JSON: {self._shown(answer.content)}")
                raise failed from None
            if not (isinstance(value, dict) and value.get("error")):
                return value
            # Gateways hand on in this form what the server behind them says.
            message, details = self._error_in(value)
            code = details.get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else None
        else:
            message, details = self._error_of(answer)
        if status in BUSY:
            raise _Busy(f"{status}: {message}", _retry_after(answer.headers))
        if status is not None and status >= 500 and status != 501:
            failure = _Failed(message)
            failure.status = status
            raise failure
        raise Refused(status, message, details)

    def _error_of(self, answer: Answer) -> tuple[str, Mapping[str, Any]]:
        """What the server says of an error, and what an error in the form of OpenAI's holds besides."""
        with contextlib.suppress(ValueError, RecursionError):
            return self._error_in(json.loads(answer.content))
        if 300 <= answer.status < 400 and "location" in answer.headers:
            return self._shown(f"it has moved to {answer.headers['location']}"), {}
        return self._shown(answer.content) or "no reason is given", {}

    def _error_in(self, value: object) -> tuple[str, Mapping[str, Any]]:
        """The message of `{"error": {"message": …}}`, which some servers leave unwrapped, and its other keys."""
        error = value.get("error", value) if isinstance(value, dict) else value
        if isinstance(error, dict):
            for key in ("message", "detail", "error"):
                if error.get(key):
                    text = error[key] if isinstance(error[key], str) else json.dumps(error[key])
                    return self._shown(text), error
        return self._shown(error if isinstance(error, str) else json.dumps(error)), {}

    def _shown(self, text: str | bytes) -> str:
        """A server's words on one line, cut, without the key, which some repeat."""
        if isinstance(text, bytes):
            text = text[: 8 * MOST_WORDS].decode(errors="replace")
        if self._http.key is not None:
            text = text.replace(self._http.key, "…")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a busy server asks to wait (RFC 9110, section 10.2.3); None where it says nothing of use."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, moment - time.time())
