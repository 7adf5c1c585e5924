"""A real HTTP server on 127.0.0.1 that speaks as much of OpenAI's chat completions as a test asks for."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.tools.benchmark import ROWS


class Chat(BaseHTTPRequestHandler):
    """One request. A test's function calls one of its methods, or none: then it is answered right."""

    server: ChatServer
    body: dict[str, Any]
    counted = False
    """Among those at the same time."""

    def do_GET(self) -> None:
        self.server.act_on_models(self)

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            with self.server.lock:
                self.server.others.append(self)
            self.server.act_on_others(self)
            return
        with self.server.lock:
            self.server.chats.append(self)
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            self.counted = True
        try:
            if self.server.act(self) is not Done:
                self.answer(right_answer(self.text))
        finally:
            self.uncount()

    def uncount(self) -> None:
        """Before the last byte is sent: who has it may ask again before this thread goes on."""
        with self.server.lock:
            self.server.now -= self.counted
            self.counted = False

    @property
    def text(self) -> str:
        """All words of the prompt."""
        content = self.body["messages"][0]["content"]
        return content if isinstance(content, str) else content[-1]["text"]

    @property
    def number(self) -> int:
        """Of the question, which ends with it, counted from 1."""
        return int(re.findall(r"\(No\. (\d+)\)", self.text)[-1]) + 1

    def answer(self, text: object, **more: object) -> type[Done]:
        """A whole reply with this text."""
        usage = {"prompt_tokens": self.server.prompt_tokens(self), "completion_tokens": 5}
        return self.json(200, {"choices": [{"message": {"content": text}}], "usage": usage, **more})

    def error(self, status: int, message: str, **headers: str) -> type[Done]:
        """An error as OpenAI words it."""
        return self.json(status, {"error": {"message": message, "code": status}}, **headers)

    def json(self, status: int, value: object, **headers: str) -> type[Done]:
        return self.raw(status, json.dumps(value).encode(), **headers)

    def raw(self, status: int, content: bytes, **headers: str) -> type[Done]:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(content)))
        self.uncount()
        self.end_headers()
        self.wfile.write(content)
        return Done

    def chunked(self, text: str) -> type[Done]:
        """A reply in pieces of seven bytes (RFC 9112, section 7.1)."""
        self.protocol_version = "HTTP/1.1"
        content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(content), 7):
            piece = content[start : start + 7]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.uncount()
        self.wfile.write(b"0\r\n\r\n")
        return Done

    def cut_short(self) -> type[Done]:
        """Half of what it promises."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        return Done

    def reset(self) -> type[Done]:
        """The connection breaks at once (RST)."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
        return Done

    def garbage(self) -> type[Done]:
        """What is no HTTP at all."""
        self.wfile.write(b"\x00\xff\x13\x37 hello?\r\n\r\n")
        return Done

    def trickle(self) -> type[Done]:
        """A byte now and then, until nobody listens any more."""
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.over.wait(0.05):
                self.wfile.write(b" ")
        except OSError:
            self.server.left.set()
        return Done

    def hang(self) -> type[Done]:
        """Nothing, until the server is over."""
        self.server.over.wait()
        return Done

    def log_message(self, format: str, *arguments: object) -> None:
        """Tests look at requests themselves."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.server.left.set()
        except ValueError:
            # What was reset cannot be flushed.
            if not self.wfile.closed:
                raise

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            self.server.left.set()


class Done:
    """What a function returns that has answered itself."""


class ChatServer(ThreadingHTTPServer):
    """`act` is called for every chat; its default answers all questions about the harbours right."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Chat)
        self.act: Callable[[Chat], object] = lambda chat: None
        self.act_on_models: Callable[[Chat], object] = lambda chat: chat.json(
            200, {"object": "list", "data": [{"id": "harbour-7b", "created": 7, "owned_by": "tests"}]}
        )
        self.act_on_others: Callable[[Chat], object] = lambda chat: chat.json(404, {"detail": "Not Found"})
        """What is posted elsewhere."""
        self.prompt_tokens: Callable[[Chat], int] = lambda chat: len(chat.text) // 3
        """What a reply tells of its prompt."""
        self.others: list[Chat] = []
        """What came elsewhere, in order."""
        self.chats: list[Chat] = []
        """In the order in which they came."""
        self.now = 0
        self.most = 0
        """Chats at the same time, at their most."""
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.left = threading.Event()
        """Someone went away before the answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def asked(self) -> list[int]:
        """The numbers of the questions, in the order in which they came."""
        return [chat.number for chat in self.chats]


def right_answer(text: str) -> str:
    """What the harbour has that the question asks for, as a model words it."""
    harbour = re.findall(r"How many boats lie in ([^?]+)\?", text)[-1]
    boats = next(boats for name, boats, _ in ROWS if name == harbour)
    return f"I looked.\n[Final Answer]: {boats}"


@contextmanager
def chat_server(port: int = 0) -> Iterator[ChatServer]:
    """A server in a thread of this process."""
    with ChatServer(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
