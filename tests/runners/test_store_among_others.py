"""The result store in a folder where others may write: what they laid there is not followed, nor waited for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hitui_runners.errors import RunnerError
from hitui_runners.realhitbench.store import ResultStore

from tests.runners.test_store import Warnings, result, snapshot, warnings, write

__all__ = ["warnings"]


def test_what_others_laid_where_it_will_write_is_neither_followed_nor_waited_for(
    tmp_path: Path, warnings: Warnings
) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "results"
    mine.write_text("mine")
    folder.mkdir()
    write(folder / "checkpoint.json", {"results": [result(1)]}, 1_000_000_000)
    (folder / "checkpoint.json").chmod(0o640)
    for name in (".checkpoint.json.hitui-part", ".checkpoint.json.before-hitui-part"):
        (folder / name).symlink_to(mine)
    store = ResultStore(folder, warnings)
    store.append(result(2))
    store.save_snapshot()
    os.mkfifo(folder / ".checkpoint.json.hitui-part")
    store.append(result(3))
    store.save_snapshot()
    store.close()
    assert mine.read_text() == "mine"
    assert [entry["id"] for entry in snapshot(folder)["results"]] == [1, 2, 3]
    copy = folder / "checkpoint.json.before-hitui"
    assert (copy.stat().st_mtime, copy.stat().st_mode & 0o777) == (1_000_000_000, 0o640)
    assert json.loads(copy.read_text()) == {"results": [result(1)]}


def test_a_journal_may_be_a_link_of_ones_own_but_none_that_another_user_laid(
    tmp_path: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "results"
    mine.touch()
    folder.mkdir()
    (folder / "results.jsonl").symlink_to(mine)
    store = ResultStore(folder, warnings)
    store.append(result(1))
    store.close()
    kept = mine.read_bytes()
    assert json.loads(kept) == result(1)
    status = os.lstat(folder / "results.jsonl")
    user = status.st_uid + 1
    monkeypatch.setattr(Path, "lstat", lambda _: os.stat_result((*status[:4], user, *status[5:])))
    with pytest.raises(RunnerError, match="cannot be written: it is a link that another user laid there"):
        ResultStore(folder, warnings)
    assert mine.read_bytes() == kept
