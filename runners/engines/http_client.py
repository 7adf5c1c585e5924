"""One request and its answer over HTTP, with nothing but the standard library.

Each request has a connection of its own, so that any number of threads may ask at once; `close` breaks off what is
under way. Proxies that the environment names are not used.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from urllib.parse import urlsplit

from hitui_runners.errors import EngineLost, RunnerError, words_of

CONNECT_SECONDS = 10.0
MOST_BYTES = 64 * 1024 * 1024
"""Of an answer; a longer one is none."""
BLOCK_BYTES = 64 * 1024
MOST_WORDS = 300
"""Characters of what is said of an error."""
NO_TLS = ("wrong version number", "record layer failure")
"""What OpenSSL says, before and since 3.2, of who does not speak TLS; the latter has no name in some Pythons."""
_VISIBLE = re.compile(r"[!-~]+")


class TooSlow(Exception):
    """No whole answer came in time."""


class Trouble(Exception):
    """One try that failed, and may succeed later."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class Unreachable(Trouble):
    """No connection came about."""


class BrokenOff(Trouble):
    """It took the request and gave no answer, or none of HTTP."""


@dataclass(frozen=True)
class Answer:
    """What a server answers, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    content: bytes


class HttpClient:
    """Asks one server, which is named by the address below which its API lies."""

    def __init__(self, base_url: str, key: str | None) -> None:
        """`key`: sent as a bearer token. Raises RunnerError where the address or the key can be none."""
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
        self.path = parts.path.rstrip("/")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.key = key
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def exchange(self, method: str, path: str, body: bytes | None, timeout: float) -> Answer:
        """One request and its answer, within so many seconds.

        Raises Unreachable, BrokenOff, TooSlow, and EngineLost where nothing more can be asked.
        """
        if self._closing.is_set():
            raise EngineLost(f"{self.url}: closed")
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        connection = self._connected()
        with contextlib.closing(connection), self._guarded(connection.sock, timeout):
            try:
                connection.request(method, path, body, headers)
                # An answer that ends its connection holds the socket by itself.
                with contextlib.closing(connection.getresponse()) as response:
                    return Answer(
                        response.status, {k.lower(): v for k, v in response.getheaders()}, _read(response)
                    )
            except (OSError, HTTPException) as error:
                raise BrokenOff(f"it broke off: {_cause(error)}") from error

    def close(self) -> None:
        """Ends what is under way in other threads, with an EngineLost there; the server is not asked again."""
        self._closing.set()
        with self._lock:
            for opened in self._open:
                _shut(opened)

    def closed_within(self, seconds: float) -> bool:
        """Waits so long, or until it is closed."""
        return self._closing.wait(seconds)

    def _connected(self) -> HTTPConnection:
        if self._tls is None:
            connection = HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        else:
            connection = HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS, context=self._tls)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise EngineLost(f"{self.url}: its certificate is not trusted: {_cause(error)}") from error
        except ssl.SSLError as error:
            connection.close()
            if any(words in str(error) for words in NO_TLS):
                raise EngineLost(f"{self.url}: it does not speak https; see --base-url") from error
            raise Unreachable(f"it cannot be reached: {_cause(error)}") from error
        except (OSError, HTTPException, UnicodeError) as error:
            connection.close()
            raise Unreachable(f"it cannot be reached: {_cause(error)}") from error
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
        except BrokenOff:
            if self._closing.is_set():
                raise EngineLost(f"{self.url}: closed") from None
            if rang.is_set():
                raise TooSlow(f"no answer within {timeout:g} s") from None
            raise
        finally:
            guard.cancel()
            with self._lock:
                self._open.discard(opened)


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


def _shut(opened: socket.socket) -> None:
    """Wakes whoever waits at it."""
    # Past the layer of TLS, which another thread is using.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return words_of(error, MOST_WORDS)
