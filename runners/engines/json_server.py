"""JSON over HTTP to one server, with nothing but the standard library.

What may pass is tried again, after pauses that grow or as the server asks for (`Retry-After`): a server that is
not there, is busy, or breaks off. What cannot pass is told apart, so that a request that the server refuses costs
one task, and a server that is gone ends the run. Each request has a connection of its own, so that any number of
threads may ask at once; `close` breaks off what is under way. Proxies that the environment names are not used.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import math
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from hitui_runners.errors import EngineLost, RunnerError, words_of
from hitui_runners.output import complain

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds; each pause is about twice the one before."""
TRIES = 4
"""Of a request at which the server itself fails, or breaks off, while it answers others."""
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 10.0
QUIET_SECONDS = 60.0
"""Between two lines about trouble."""
MOST_BYTES = 64 * 1024 * 1024
"""Of an answer; a longer one is none."""
BLOCK_BYTES = 64 * 1024
MOST_WORDS = 300
"""Characters of what a server says that are shown."""
BUSY = (408, 425, 429, 502, 503, 504, 529)
"""Statuses of a server that may answer the same request later."""
NO_TLS = ("wrong version number", "record layer failure")
"""What OpenSSL says, before and since 3.2, of who does not speak TLS; the latter has no name in some Pythons."""
_VISIBLE = re.compile(r"[!-~]+")


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


class TooSlow(Exception):
    """No whole answer came in time."""


class NotNow(Exception):
    """The one try failed, and another might not."""


class Away(NotNow):
    """No connection came about."""


class _Trouble(Exception):
    """One try that failed, and may succeed later."""

    def __init__(self, words: str, wait: float | None = None) -> None:
        super().__init__(words)
        self.words = words
        self.wait = wait
        """Seconds that the server asks for; 0, or a moment that is past by our clock, ask for no less than our own."""


class _Unreachable(_Trouble):
    """No connection came about."""


class _Busy(_Trouble):
    """It says itself that it cannot now."""


class _BrokenOff(_Trouble):
    """It took the request and gave no answer, or none of HTTP."""


class _Failed(_Trouble):
    """It says that it failed, or its answer is no JSON."""

    status: int | None = None


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


class JsonServer:
    """One server, by the address below which its API lies."""

    def __init__(self, base_url: str, key: str | None, timeout: float, patience: float) -> None:
        """`key`: sent as a bearer token, and never shown. `timeout`: seconds for one answer. `patience`: seconds
        for which a request is tried while the server is not there or busy.

        Raises RunnerError where the address or the key can be none.
        """
        try:
            parts = urlsplit(base_url)
            self._host = parts.hostname or ""
            self._port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise RunnerError(f"--base-url: {base_url}: {error}") from error
        if parts.scheme not in ("http", "https") or not self._host or parts.query or parts.fragment:
            raise RunnerError(
                f"--base-url: an address such as http://localhost:8000/v1 is expected, not {base_url!r}"
            )
        if parts.path and not _VISIBLE.fullmatch(parts.path):
            raise RunnerError(
                f"--base-url: {base_url!r} holds characters that an address cannot; write them as %XX"
            )
        if parts.username is not None or parts.password is not None:
            raise RunnerError("--base-url: it may hold no name and no password; see --api-key-env")
        if key is not None and not _VISIBLE.fullmatch(key):
            raise RunnerError("--api-key-env: what this variable holds can be no key")
        self.url = base_url.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._key = key
        self._timeout = timeout
        self._patience = patience
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._answered = 0
        """Requests that came to an answer other than an error."""
        self._told = -math.inf
        """When trouble was last told of."""

    @property
    def has_key(self) -> bool:
        return self._key is not None

    def post(self, path: str, value: object) -> Any:
        """The answer to `value`. Raises Refused, TooSlow, and EngineLost where nothing can be asked of it."""
        return self._until_answered("POST", path, json.dumps(value).encode())

    def post_once(self, path: str, value: object, seconds: float, *, at_root: bool = False) -> Any:
        """As `post`, tried once, for so many seconds at most; raises NotNow too. `at_root`: above /v1."""
        above = self._path.removesuffix("/v1") if at_root else self._path
        try:
            return self._once("POST", above + path, json.dumps(value).encode(), min(seconds, self._timeout))
        except _Unreachable as trouble:
            raise Away(trouble.words) from trouble
        except _Trouble as trouble:
            raise NotNow(trouble.words) from trouble

    def get(self, path: str) -> Any:
        """What is at `path`; raises as `post` does."""
        return self._until_answered("GET", path, None)

    def close(self) -> None:
        """Ends what is under way in other threads, with an EngineLost there; the server is not asked again."""
        self._closing.set()
        with self._lock:
            for opened in self._open:
                _shut(opened)

    def _until_answered(self, method: str, path: str, body: bytes | None) -> Any:
        began, answered_before = time.monotonic(), self._answered
        pause, tries, own_failures = FIRST_PAUSE, 0, 0
        while True:
            tries += 1
            try:
                value = self._once(method, self._path + path, body, self._timeout)
            except _Trouble as error:
                trouble = error
            else:
                self._answered += 1
                return value
            own_failures += isinstance(trouble, (_BrokenOff, _Failed))
            if own_failures == TRIES:
                if isinstance(trouble, _BrokenOff) and not self._is_alive(answered_before):
                    raise self._gone(trouble.words, tries, began)
                status = trouble.status if isinstance(trouble, _Failed) else None
                raise Refused(status, trouble.words)
            wait = max(random.uniform(0.75, 1.25) * pause, trouble.wait or 0.0)
            if time.monotonic() + wait - began > self._patience:
                asked = "" if trouble.wait is None else f" (it asks to wait {trouble.wait:.0f} s)"
                if isinstance(trouble, _Unreachable) or self._answered == answered_before:
                    raise self._gone(trouble.words + asked, tries, began)
                raise Refused(None, trouble.words + asked)
            self._tell(trouble)
            self._closing.wait(wait)
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
            self._exchange("GET", self._path + "/models", None, PROBE_SECONDS)
        except (_Trouble, TooSlow):
            return False
        return True

    def _tell(self, trouble: _Trouble) -> None:
        """One line where trouble begins, however many requests meet it."""
        with self._lock:
            silent = time.monotonic() - self._told < QUIET_SECONDS
            if not silent:
                self._told = time.monotonic()
        if not silent:
            complain(f"\nwarning: {self.url}: {trouble.words}; trying again for up to {self._patience:.0f} s")

    def _once(self, method: str, path: str, body: bytes | None, timeout: float) -> Any:
        """One try. Raises _Trouble where another may succeed, and what `post` raises."""
        answer = self._exchange(method, path, body, timeout)
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

    def _exchange(self, method: str, path: str, body: bytes | None, timeout: float) -> _Answer:
        """One request and its answer, whatever its status."""
        if self._closing.is_set():
            raise EngineLost(f"{self.url}: closed")
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        connection = self._connected()
        with contextlib.closing(connection), self._guarded(connection.sock, timeout):
            try:
                connection.request(method, path, body, headers)
                # An answer that ends its connection holds the socket by itself.
                with contextlib.closing(connection.getresponse()) as response:
                    return _Answer(
                        response.status, {k.lower(): v for k, v in response.getheaders()}, _read(response)
                    )
            except (OSError, HTTPException) as error:
                raise _BrokenOff(f"it broke off: {_words(error)}") from error

    def _connected(self) -> HTTPConnection:
        if self._tls is None:
            connection = HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        else:
            connection = HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS, context=self._tls)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise EngineLost(f"{self.url}: its certificate is not trusted: {_words(error)}") from error
        except ssl.SSLError as error:
            connection.close()
            if any(words in str(error) for words in NO_TLS):
                raise EngineLost(f"{self.url}: it does not speak https; see --base-url") from error
            raise _Unreachable(f"it cannot be reached: {_words(error)}") from error
        except (OSError, HTTPException, UnicodeError) as error:
            connection.close()
            raise _Unreachable(f"it cannot be reached: {_words(error)}") from error
        return connection

    @contextlib.contextmanager
    def _guarded(self, opened: socket.socket, timeout: float) -> Iterator[None]:
        """Ends an exchange that takes longer than `timeout` in all, however its bytes trickle."""
        rang = threading.Event()

        def ring() -> None:
            rang.set()
            _shut(opened)

        opened.settimeout(None)
        guard = threading.Timer(timeout, ring)
        guard.daemon = True
        with self._lock:
            self._open.add(opened)
        guard.start()
        try:
            if self._closing.is_set():
                _shut(opened)
            yield
            if rang.is_set():
                raise TooSlow(f"no answer within {timeout:g} s")
        except _BrokenOff:
            if self._closing.is_set():
                raise EngineLost(f"{self.url}: closed") from None
            if rang.is_set():
                raise TooSlow(f"no answer within {timeout:g} s") from None
            raise
        finally:
            guard.cancel()
            with self._lock:
                self._open.discard(opened)

    def _error_of(self, answer: _Answer) -> tuple[str, Mapping[str, Any]]:
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
        if self._key is not None:
            text = text.replace(self._key, "…")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"


def _read(response: HTTPResponse) -> bytes:
    """The whole body. Raises HTTPException where it is cut short or longer than any answer."""
    expected, content = response.length, bytearray()
    while block := response.read(BLOCK_BYTES):
        content += block
        if len(content) > MOST_BYTES:
            raise HTTPException(f"its answer has more than {MOST_BYTES // 1024**2} MiB")
    if expected is not None and len(content) < expected:
        raise IncompleteRead(bytes(content), expected - len(content))
    return bytes(content)


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


def _shut(opened: socket.socket) -> None:
    """Wakes whoever waits at it."""
    # Past the layer of TLS, which another thread is using.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return words_of(error, MOST_WORDS)
