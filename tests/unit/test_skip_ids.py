"""The report `skip_ids.json`: read as others left it, written so that others can read it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hitui.adapters.checkpoints.reading import UnreadableFile
from hitui.adapters.checkpoints.skip_ids import Metadata, make_report, read_report, write_report
from hitui.domain.tasks import Task, TaskStatus
from hitui.errors import WorkspaceError
from tests.tools.results import REPORT


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "skip_ids.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(REPORT).encode())
    assert read_report(path).skip_ids == [4, 5]


def test_what_is_no_report_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "skip_ids.json"
    for content in (
        b"",
        b"[]",
        b'{"metadata": {}, "statistics": {}, "skip_ids": ["caf\xe9"]}',
        b"[" * 100_000,
    ):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match=r"^is no report of missing tasks") as caught:
            read_report(path)
        assert "\n" not in str(caught.value)


def test_what_is_written_can_be_read_again_whatever_the_ids(tmp_path: Path) -> None:
    path = tmp_path / "skip_ids.json"
    ids = [1, 10**30, "a/b", "\ud800", "\x00"]
    write_report(path, make_report([Task(task, TaskStatus.MISSING) for task in ids], Metadata()))
    assert read_report(path).skip_ids == ids


def test_a_copy_that_cannot_be_kept_is_one_line_and_the_report_stays(tmp_path: Path) -> None:
    path = tmp_path / "skip_ids.json"
    path.write_text("theirs")
    (tmp_path / "skip_ids.json.before-hitui").mkdir()
    with pytest.raises(
        WorkspaceError, match=r"before-hitui: cannot be read: Is a directory; .* move it away"
    ):
        write_report(path, make_report([], Metadata()))
    assert path.read_text() == "theirs"


def test_a_report_that_is_nested_too_deep_to_be_ours_is_kept_as_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "skip_ids.json"
    path.write_bytes(b"[" * 100_000)
    copy = write_report(path, make_report([], Metadata()))
    assert copy is not None
    assert copy.read_bytes() == b"[" * 100_000
    assert read_report(path).skip_ids == []


def test_a_pipe_in_the_place_of_the_report_is_said_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "skip_ids.json"
    os.mkfifo(path)
    with pytest.raises(WorkspaceError, match=r"skip_ids.json: is no file, .* move it away"):
        write_report(path, make_report([], Metadata()))
    assert path.is_fifo()
