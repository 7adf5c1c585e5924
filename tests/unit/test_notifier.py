"""How a notifier and its sender behave: how often a notice goes, how many wait, and what is said of one that fails.

What sends is stood in for: how often, when and with what end it is asked is up to each test.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hitui.adapters.notify import send
from hitui.domain.notices import Notice, NoticeKind
from hitui.settings import NotifySettings, Settings
from hitui.supervisor import notifier as notifying
from hitui.supervisor.notifier import Notifier


class Sender:
    """Answers each message in the same words, and notes what it was given."""

    def __init__(self, answer: str = "") -> None:
        self.answer = answer
        self.bodies: list[str] = []
        self.was_asked = threading.Event()

    def __call__(self, url: str, title: str, body: str) -> str:
        self.bodies.append(body)
        self.was_asked.set()
        return self.answer


def notifier(folder: Path, *, pause: float = 0.0, gather: float = 0.0) -> Notifier:
    settings = Settings(folder, notify=NotifySettings(["json://127.0.0.1:1"]))
    return Notifier("w", lambda: settings, pauses=(pause, pause), gather=gather)


def test_each_notice_is_sent_once_and_the_oldest_of_many_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender()
    monkeypatch.setattr(notifying, "send", sender)
    monkeypatch.setattr(notifying, "MOST_WAITING", 3)
    one = notifier(tmp_path)
    one.tell(Notice(NoticeKind.DONE, "one"))
    assert sender.was_asked.wait(30)
    one.close()
    assert sender.bodies == ["one"]
    # Of many that wait for one address the last ones.
    many = notifier(tmp_path, gather=60.0)
    for number in range(5):
        many.tell(Notice(NoticeKind.DONE, f"line {number}"))
    many.close()
    assert sender.bodies[1:] == ["line 2\nline 3\nline 4"]


def test_what_was_refused_is_not_sent_again_before_its_time_nor_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sender = Sender("not now")
    monkeypatch.setattr(notifying, "send", sender)
    refused = notifier(tmp_path, pause=60.0)
    refused.tell(Notice(NoticeKind.DONE, "one"))
    assert sender.was_asked.wait(30)
    refused.close()
    assert sender.bodies == ["one"]
    assert capfd.readouterr().err.endswith(" not sent: not now: one\n")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", ""),
        ("exit 3", "json://…: the sender ended with status 3"),
        ("echo 'it is not so'; echo more; exit 0", "it is not so"),
        ("echo json://ada:hunter2@x >&2; exit 1", "json://…: the sender ended with status 1"),
        ("exec sleep 60", "json://…: no answer in 0 s"),
        (None, "json://…: No such file or directory"),
    ],
)
def test_a_sender_that_fails_says_why_in_a_line_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str
) -> None:
    sender = tmp_path / "python"
    if script is not None:
        sender.write_text(f"#!/bin/sh\n{script}\n")
        sender.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(sender))
    assert send("json://ada:hunter2@x", "t", "b", timeout=0.1 if "no answer" in said else 30.0) == said
