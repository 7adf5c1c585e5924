"""Lines of a JSONL file against a total: read on from where the last reading stopped."""

from __future__ import annotations

import os
from pathlib import Path

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.settings import ConfigSettings, Settings


def test_a_file_that_is_written_anew_in_place_is_counted_anew(tmp_path: Path) -> None:
    config = ConfigSettings(name="g/scores", kind="line_count", total=100, output="out")
    catalogue = Catalogue(Settings(root=tmp_path, configs=(config,)))
    path = tmp_path / "out" / "scores.jsonl"
    path.parent.mkdir()

    def done() -> int:
        return catalogue.read(catalogue.find("g/scores")).state.done

    path.write_text("first\n" * 10)
    assert done() == 10
    inode = path.stat().st_ino
    with path.open("a") as file:
        file.write("first\n" * 2 + "torn")
    assert done() == 12
    # Between two looks: cut to nothing, and longer than before again.
    path.write_text("a much longer line than those of the first run\n" * 5)
    os.utime(path, ns=(1, 1))
    assert path.stat().st_ino == inode
    assert done() == 5
