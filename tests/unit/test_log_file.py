"""Lines of files of any size, by byte offset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitui.adapters.files import tail
from hitui.adapters.files.tail import LINE_LIMIT, LogFile


def opened(folder: Path, data: bytes) -> LogFile:
    path = folder / "a.log"
    path.write_bytes(data)
    return LogFile(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=30), st.booleans())
def test_lines_forwards_and_backwards_are_the_files_lines(
    tmp_path: Path, lines: list[bytes], ended: bool
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    if not ended:
        data = data[:-1]
    expected = data.split(b"\n")[: None if data and not data.endswith(b"\n") else -1]
    file = opened(tmp_path, data)
    try:
        assert [line.data for line in file.lines_from(0, 100)] == expected
        assert [line.data for line in file.lines_before(file.size, 100)] == expected
        assert [line.data for line in file.lines_before(file.size, 3)] == expected[-3:]
        assert [line.start for line in file.lines_from(0, 100)] == [
            line.start for line in file.lines_before(file.size, 100)
        ]
    finally:
        file.close()


def test_a_very_long_line_is_read_at_its_ends_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK", 32 * 1024)
    file = opened(tmp_path, b"before\n" + b"x" * 300_000 + b"END\nafter\n")
    try:
        first, long, last = file.lines_from(0, 10)
        assert (first.data, last.data) == (b"before", b"after")
        assert len(long.data) < LINE_LIMIT
        assert long.tail.endswith(b"xEND")
        assert long.length == 300_004
        assert file.lines_before(file.size, 3) == [first, long, last]
        # Again, now that the stretch without newline is known.
        assert file.lines_before(file.size, 2) == [long, last]
        assert file.lines_from(long.start, 1) == [long]
    finally:
        file.close()


def test_growth_is_seen_and_so_is_another_file_at_the_path(tmp_path: Path) -> None:
    file = opened(tmp_path, b"one\n")
    with file.path.open("ab") as stream:
        stream.write(b"two\n")
    assert file.refresh()
    assert [line.data for line in file.lines_before(file.size, 5)] == [b"one", b"two"]
    (tmp_path / "new").write_bytes(b"other, and longer\n")
    (tmp_path / "new").replace(file.path)
    assert not file.refresh()
    file.close()


def test_a_file_cut_shorter_is_read_anew(tmp_path: Path) -> None:
    file = opened(tmp_path, b"one\ntwo\n")
    os.truncate(file.path, 0)
    assert not file.refresh()
    file.close()


def test_a_deleted_file_goes_on_to_be_read(tmp_path: Path) -> None:
    file = opened(tmp_path, b"one\n")
    file.path.unlink()
    assert file.refresh()
    assert file.lines_from(0, 1)[0].data == b"one"
    file.close()


def test_a_fifo_is_refused_and_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.log")
    with pytest.raises(OSError, match="not a regular file"):
        LogFile(tmp_path / "a.log")


def test_a_match_across_two_blocks_is_found_in_both_directions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "CHUNK", 16)
    monkeypatch.setattr(tail, "OVERLAP", 8)
    file = opened(tmp_path, b"a" * 13 + b"nEEdle" + b"b" * 40)
    try:
        for needle, fold in ((b"nEEdle", False), (b"needle", True)):
            assert file.find(needle, 0, fold, lambda: False) == 13
            assert file.find(needle, 14, fold, lambda: False) is None
            assert file.find_before(needle, file.size, fold, lambda: False) == 13
            assert file.find_before(needle, 14, fold, lambda: False) == 13
            assert file.find_before(needle, 13, fold, lambda: False) is None
        assert file.find(b"needle", 0, False, lambda: False) is None
    finally:
        file.close()


def test_a_search_is_given_up_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "CHUNK", 16)
    monkeypatch.setattr(tail, "OVERLAP", 0)
    file = opened(tmp_path, b"a" * 40 + b"needle")
    try:
        assert file.find(b"needle", 0, False, lambda: True) is None
        assert file.find_before(b"x", file.size, False, lambda: True) is None
    finally:
        file.close()
