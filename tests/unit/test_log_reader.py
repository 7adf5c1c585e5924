"""Following a log: what is shown of it, and that nothing in it can act on a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.adapters.files import tail
from hitui.adapters.files.tail import RawLine
from hitui.services import logs
from hitui.services.logs import LINE_CELLS, LogReader, LogWindow, display_text, log_line, newest_log
from tests.tools.eventually import eventually


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_the_text_is_printable(data: bytes) -> None:
    assert display_text(data).isprintable()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain [bold]markup[/bold]", "plain [bold]markup[/bold]"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b]0;title\x07", "␛]0;title\\x07"),
        (b"\x1b[2J\x1b[H", "␛[2J␛[H"),
        (b"a\tb", "a       b"),
        (b"bad \xff byte", "bad \\xff byte"),
        ("\u202eright to left".encode(), "\\u202eright to left"),
        ("\x9b31m".encode(), "\\x9b31m"),
        ("wide 表 and no-break\u00a0space".encode(), "wide 表 and no-break space"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_as_text(data: bytes, shown: str) -> None:
    assert display_text(data) == shown


def raw(data: bytes) -> RawLine:
    return RawLine(0, len(data) + 1, data)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\r 10%|#   |\r 20%|##  |", " 20%|##  |"),
        (b"line of windows\r", "line of windows"),
        (b"50%\r\r", "50%"),
        (b"\r\r", ""),
    ],
)
def test_what_was_drawn_over_with_carriage_returns_is_one_line(data: bytes, shown: str) -> None:
    assert log_line(raw(data)).text == shown


def test_a_long_line_is_cut_and_says_so() -> None:
    line = log_line(raw(b"x" * (LINE_CELLS + 1)))
    assert line.text == "x" * LINE_CELLS
    assert line.note == "… cut: a line of 4 kB"


def test_of_a_huge_line_of_progress_the_last_drawing_is_shown() -> None:
    tail_bytes = b"x" * 100 + b"\r 99%|#########9|"
    line = log_line(RawLine(0, 200_000_000, b"\r  0%|", tail_bytes))
    assert (line.text, line.note) == (" 99%|#########9|", "")


def test_a_huge_line_without_carriage_returns_shows_its_head() -> None:
    line = log_line(RawLine(0, 200_000_000, b"head", b"y" * 100))
    assert (line.text, line.note) == ("head", "… cut: a line of 200.0 MB")


def test_newest_log_is_the_one_that_changed_last(tmp_path: Path) -> None:
    for name, changed in (("a/old.log", 100), ("b/new.log", 300), ("b/middle.log", 200), ("b/x.txt", 400)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (changed, changed))
    folders = [str(tmp_path / "a"), str(tmp_path / "absent"), str(tmp_path / "b")]
    assert newest_log(folders) == str(tmp_path / "b" / "new.log")
    assert newest_log([str(tmp_path / "absent")]) is None
    os.mkfifo(tmp_path / "b" / "pipe.log")
    assert newest_log(folders) == str(tmp_path / "b" / "new.log")


@pytest.fixture
def reader() -> Iterator[LogReader]:
    made = LogReader(height=4)
    made.start(lambda window: None)
    yield made
    made.close()


def texts(window: LogWindow) -> list[str]:
    return [line.text for line in window.lines]


def shows(reader: LogReader, *expected: str) -> LogWindow:
    eventually(lambda: texts(reader.latest) == list(expected), f"{expected}")
    return reader.latest


def numbered(path: Path, count: int) -> Path:
    path.write_text("".join(f"line {number}\n" for number in range(1, count + 1)))
    return path


def test_it_follows_what_is_written(reader: LogReader, tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.log", 10)
    reader.open(str(path))
    window = shows(reader, "line 7", "line 8", "line 9", "line 10")
    assert window.following
    assert (window.first_number, window.line_count) == (7, 10)
    with path.open("a") as stream:
        stream.write("half")
    shows(reader, "line 8", "line 9", "line 10", "half")
    with path.open("a") as stream:
        stream.write("\rwhole\n")
    assert shows(reader, "line 8", "line 9", "line 10", "whole").line_count == 11


def test_scrolling_up_stops_following_and_the_end_resumes_it(reader: LogReader, tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.log", 10)
    reader.open(str(path))
    shows(reader, "line 7", "line 8", "line 9", "line 10")
    reader.scroll(-2)
    assert not shows(reader, "line 5", "line 6", "line 7", "line 8").following
    with path.open("a") as stream:
        stream.write("line 11\n")
    eventually(lambda: reader.latest.size == path.stat().st_size, "growth")
    assert texts(reader.latest) == ["line 5", "line 6", "line 7", "line 8"]
    reader.scroll(1)
    assert not shows(reader, "line 6", "line 7", "line 8", "line 9").following
    reader.scroll(5)
    assert shows(reader, "line 8", "line 9", "line 10", "line 11").following
    # Also by no more lines than there are.
    reader.scroll(-2)
    assert not shows(reader, "line 6", "line 7", "line 8", "line 9").following
    reader.scroll(2)
    assert shows(reader, "line 8", "line 9", "line 10", "line 11").following
    reader.to_start()
    shows(reader, "line 1", "line 2", "line 3", "line 4")
    reader.follow()
    assert shows(reader, "line 8", "line 9", "line 10", "line 11").following


def test_keys_that_come_faster_than_pages_are_read_all_count(tmp_path: Path) -> None:
    reader = LogReader(height=4)
    # All of them wait in the queue before the first is looked at.
    reader.open(str(numbered(tmp_path / "a.log", 100)))
    for _ in range(3):
        reader.scroll(-10)
    reader.start(lambda window: None)
    shows(reader, "line 67", "line 68", "line 69", "line 70")
    reader.close()


def test_searching_goes_through_the_places_both_ways(reader: LogReader, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("Error one\n" + "x\n" * 20 + "error two\n" + "x\n" * 20 + "ERROR three\n" + "x\n" * 20)
    reader.open(str(path))
    eventually(lambda: reader.latest.lines, "opened")

    def found() -> str:
        at = reader.latest.found_at
        return next((line.text for line in reader.latest.lines if line.start == at), "")

    reader.search("error", forward=False)
    eventually(lambda: found() == "ERROR three", "the last, from the end upwards")
    reader.search("error", forward=False)
    eventually(lambda: found() == "error two", "the one before")
    reader.search("error", forward=False)
    eventually(lambda: found() == "Error one", "the first")
    reader.search("error", forward=False)
    eventually(lambda: "no other 'error' above" in reader.latest.note, "no more")
    reader.search("error")
    eventually(lambda: found() == "error two", "forward again")
    reader.search("ERROR")
    eventually(lambda: found() == "ERROR three", "capitals count")
    reader.search("absent")
    eventually(lambda: reader.latest.note.startswith("no 'absent' below"), "not there")


def test_a_file_that_comes_later_is_shown_when_it_is_there(reader: LogReader, tmp_path: Path) -> None:
    path = tmp_path / "later.log"
    reader.open(str(path))
    eventually(lambda: "is not there yet" in reader.latest.note, "says so")
    path.write_text("here\n")
    shows(reader, "here")


def test_a_file_that_is_replaced_is_shown_anew(reader: LogReader, tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.log", 3)
    reader.open(str(path))
    shows(reader, "line 1", "line 2", "line 3")
    (tmp_path / "b.log").write_text("another\n")
    (tmp_path / "b.log").replace(path)
    shows(reader, "another")


def test_what_cannot_be_read_is_said_in_one_line(reader: LogReader, tmp_path: Path) -> None:
    reader.open(str(tmp_path))
    eventually(lambda: f"{tmp_path}: cannot be read" in reader.latest.note, "a folder")
    path = numbered(tmp_path / "a.log", 1)
    reader.open(str(path))
    shows(reader, "line 1")


def test_lines_of_a_large_file_are_counted_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tail, logs):
        monkeypatch.setattr(module, "CHUNK", 64)
    path = numbered(tmp_path / "a.log", 500)
    reader = LogReader(height=4)
    reader.start(lambda window: None)
    try:
        reader.open(str(path))
        window = eventually(
            lambda: reader.latest if reader.latest.line_count is not None else None, "all counted"
        )
        assert (window.first_number, window.line_count) == (497, 500)
        reader.scroll(-100)
        eventually(lambda: reader.latest.first_number == 397, "numbers of lines above")
        assert texts(reader.latest)[0] == "line 397"
    finally:
        reader.close()
