"""The progress bar has the form of tqdm's, which is how the dashboard reads it."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import sys
import termios
from itertools import count
from types import SimpleNamespace

import pytest
from hitui_runners.output import complain, say
from hitui_runners.progress import ProgressBar, bar_line
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

LABEL = "judging qwen3vl_default_pic/mix_csv"


@given(st.integers(0, 5000), st.integers(1, 5000), st.floats(0.5, 40000))
def test_it_reads_as_tqdms_own_line(done: int, total: int, elapsed: float) -> None:
    done = min(done, total)
    theirs = tqdm.format_meter(done, total, elapsed, prefix="Processing text", ncols=None)
    ours = bar_line("Processing text", done, total, elapsed)

    def without_bar(line: str) -> str:
        head, _, tail = line.partition("|")
        return head + tail.rpartition("|")[2]

    assert without_bar(ours).replace(" ", "") == without_bar(theirs).replace(" ", "")


@pytest.mark.parametrize(
    ("columns", "head"),
    [(120, f"{LABEL}:  55%|███████████         | "), (90, f"{LABEL}:  55%|███████▋      | "), (70, "…")],
)
def test_a_line_that_is_too_long_gives_way_at_its_bar_and_then_at_its_label(columns: int, head: str) -> None:
    line = bar_line(LABEL, 135, 244, 5.0, columns)
    assert line.startswith(head)
    assert line.endswith("| 135/244 [00:05<00:04, 27.00it/s]")
    assert "/mix_csv:  55%|██" in line
    assert len(line) <= columns


def test_in_a_terminal_the_bar_stays_on_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with os.fdopen(its, "w", encoding="utf-8") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        ProgressBar(LABEL, 244).show(0)
        ProgressBar(LABEL * 3, 244).show(0)
        said = b""
        # A terminal gives what was written in parts.
        while said.count(b"]") < 2:
            said += screen.read(4096)
    _, first, second = said.decode().split("\r")
    assert first.startswith(LABEL[:30])
    assert second.startswith("…")
    assert max(len(first), len(second)) < 80


def test_what_is_said_beside_a_bar_stands_below_it_and_leaves_no_line_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = io.StringIO()
    monkeypatch.setattr(sys, "stdout", both)
    monkeypatch.setattr(sys, "stderr", both)
    bar = ProgressBar("Work", 2)
    bar.show(1)
    say("\nasking 1 once more")
    say("\nasking 2 once more")
    complain("\nwarning: busy")
    bar.show(1)
    say("\nasking 3 once more")
    bar.write("one")
    bar.close()
    say("\nStopped")

    lines = both.getvalue().replace("\r", "\n").split("\n")
    said = [line for line in lines if not line.startswith("Work: ") and line.strip()]
    assert said == [
        "asking 1 once more",
        "asking 2 once more",
        "warning: busy",
        "asking 3 once more",
        "one",
        "Stopped",
    ]
    assert "\n\n" not in both.getvalue()


def test_what_is_told_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    said = "an\tanswer\nin 東京 \x1b[2J\x1b]0;title\x07\x9b31m\rover \x7f"
    shown = "an\tanswer\nin 東京 \\x1b[2J\\x1b]0;title\\x07\\x9b31m\\x0dover \\x7f\n"
    bar = ProgressBar("asking", 2)
    bar.show(0)
    bar.write(said)
    complain("\x1bx")
    captured = capsys.readouterr()
    assert captured.out == shown
    assert "\x1b" not in captured.err
    # Its own way back to the beginning of the line stays.
    assert captured.err.startswith("\rasking:")


def test_text_and_bar_do_not_mix(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # One line is as long as the other, which by a real clock hangs on the digits of its rate.
    clock = SimpleNamespace(monotonic=map(float, count()).__next__)
    monkeypatch.setattr("hitui_runners.progress.time", clock)
    bar = ProgressBar("Work", 2)
    bar.show(1)
    bar.write("one")
    bar.show(2)
    bar.close()

    shown = capsys.readouterr()
    assert shown.out == "one\n"
    lines = shown.err.split("\r")
    assert lines[1].startswith("Work:  50%|")
    assert lines[2].strip() == ""
    assert lines[4].startswith("Work: 100%|")
    assert shown.err.endswith("]\n")
