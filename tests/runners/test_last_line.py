"""What stands behind the last line end of a journal: torn by a kill, damaged by a disk, or written by another program."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hitui_runners.errors import SetupError
from hitui_runners.realhitbench.store import ResultStore

from tests.runners.test_store import Warnings, result, warnings

__all__ = ["warnings"]


@pytest.mark.parametrize(
    "torn", [b'{"id": 3, "Pred', b'\xef\xbb\xbf{"id": 3', b"\x00\x00", b'{"id": 3, "Prediction": "\xc3']
)
def test_a_torn_last_line_is_dropped(tmp_path: Path, warnings: Warnings, torn: bytes) -> None:
    whole = b"".join(json.dumps(result(n)).encode() + b"\n" for n in (1, 2))
    journal = tmp_path / "results.jsonl"
    journal.write_bytes(whole + torn)

    store = ResultStore(tmp_path, warnings)
    assert store.is_answered(2)
    assert not store.is_answered(3)
    store.append(result(3))
    store.close()

    assert warnings == [f"{journal}: the last line was torn; its task runs again"]
    assert journal.read_bytes() == whole + json.dumps(result(3)).encode() + b"\n"


@pytest.mark.parametrize("hole", [b"%b" + bytes(99), bytes(99) + b"%b", b'{"id": 9, ' + bytes(99) + b"%b"])
def test_a_last_line_that_a_disk_has_damaged_costs_itself_alone(
    tmp_path: Path, warnings: Warnings, hole: bytes
) -> None:
    journal = tmp_path / "results.jsonl"
    whole = json.dumps(result(1)).encode() + b"\n"
    damaged = hole % json.dumps(result(2)).encode()
    journal.write_bytes(whole + damaged)
    store = ResultStore(tmp_path, warnings)
    assert not store.is_answered(2)
    store.append(result(2))
    store.close()

    assert warnings == [f"{journal}: the last line is damaged; its task runs again"]
    assert journal.read_bytes() == whole + damaged + b"\n" + json.dumps(result(2)).encode() + b"\n"


@pytest.mark.parametrize(
    "tail",
    [
        json.dumps(result(3)) + json.dumps(result(4)),
        json.dumps(result(3)) + ", " + json.dumps(result(4)),
        json.dumps(result(3)) + ", " + json.dumps(result(4))[:20],
        json.dumps([result(3)]) + ",",
        str(result(3)),
        "not of ours",
    ],
)
@pytest.mark.parametrize("before", ["", json.dumps(result(1)) + "\n"])
def test_what_no_kill_leaves_behind_the_last_line_is_not_dropped(
    tmp_path: Path, warnings: Warnings, before: str, tail: str
) -> None:
    journal = tmp_path / "results.jsonl"
    journal.write_text(before + tail)
    with pytest.raises(
        SetupError, match=f"^{journal}: {len(tail)} bytes behind its last line end are no result"
    ):
        ResultStore(tmp_path, warnings)
    assert journal.read_text() == before + tail
    # Nobody holds its lock.
    journal.write_text(before)
    ResultStore(tmp_path, warnings).close()


def test_a_journal_that_is_no_file_is_not_waited_for(tmp_path: Path, warnings: Warnings) -> None:
    os.mkfifo(tmp_path / "results.jsonl")
    with pytest.raises(SetupError, match=r"results\.jsonl: is no regular file; move it away"):
        ResultStore(tmp_path, warnings)


def test_a_last_line_that_only_lost_its_end_is_kept(tmp_path: Path, warnings: Warnings) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps(result(1)))
    store = ResultStore(tmp_path, warnings)
    assert store.is_answered(1)
    store.append(result(2))
    store.close()

    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
