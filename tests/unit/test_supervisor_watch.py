"""Whoever waits for the supervisor's news can be interrupted, whenever the signal comes."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitui.supervisor import client
from hitui.supervisor.client import Watch
from tests.tools.eventually import eventually


class Interrupted(Exception):
    pass


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_signal_that_comes_just_before_the_wait_is_not_lost(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python notes the signal, and its handler runs when the main thread is back from the call that it is in.

    A signal that another thread takes interrupts that call as little as one that comes just before it.
    """
    ours, theirs = ends
    monkeypatch.setattr(client, "LOOK_UP_SECONDS", 0.05)
    main = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
    begun, over = threading.Event(), threading.Event()
    late = []

    def wait_for_news() -> None:
        begun.set()
        list(Watch(ours))

    def interrupt(*_: object) -> None:
        raise Interrupted

    def send() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
        begun.wait(30)
        eventually(lambda: main.read_text().rpartition(") ")[2].startswith("S"), "the main thread waits")
        os.kill(os.getpid(), signal.SIGUSR2)
        if not over.wait(10):
            # So that a wait which goes on for ever fails the test, and no more.
            late.append(True)
            theirs.shutdown(socket.SHUT_RDWR)

    before = signal.signal(signal.SIGUSR2, interrupt)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    thread = threading.Thread(target=send)
    thread.start()
    try:
        with pytest.raises(Interrupted):
            wait_for_news()
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR2, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})
    assert not late
