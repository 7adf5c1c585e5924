"""Which input files are there: each listing is made once, and again when its folder changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hitui.adapters.checkpoints.inputs import InputFiles
from hitui.domain.tasks import Question
from tests.tools.results import write_dataset

QUESTION = Question("q", "table2")


def add_unseen(folder: Path, name: str) -> None:
    """Adds a file and puts the folder's time back, as a clock of whole seconds leaves it."""
    before = folder.stat().st_mtime_ns
    (folder / name).touch()
    os.utime(folder, ns=(before, before))


def test_a_file_that_comes_in_the_same_tick_as_the_listing_is_seen(tmp_path: Path) -> None:
    inputs = InputFiles(write_dataset(tmp_path, ["table1"]))
    assert inputs.absent("text", "html")(QUESTION) == ("table2.html",)
    version = inputs.version
    add_unseen(tmp_path / "html", "table2.html")
    assert inputs.refresh()
    assert inputs.version != version
    assert inputs.absent("text", "html")(QUESTION) == ()
    assert not inputs.refresh()


def test_a_picture_needs_no_table_whatever_format_its_config_names(tmp_path: Path) -> None:
    inputs = InputFiles(write_dataset(tmp_path, ["table1"]))
    absent = {modality: inputs.absent(modality, "html")(QUESTION) for modality in ("image", "text", "mix")}
    assert absent == {
        "image": ("table2.png",),
        "text": ("table2.html",),
        "mix": ("table2.png", "table2.html"),
    }


def test_a_folder_that_did_not_change_lately_is_not_listed_again(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["table1"])
    long_ago = time.time() - 3600
    for folder in tmp_path.iterdir():
        os.utime(folder, (long_ago, long_ago))
    inputs = InputFiles(tmp_path)
    add_unseen(tmp_path / "html", "table2.html")
    assert not inputs.refresh()
    assert inputs.absent("text", "html")(QUESTION) == ("table2.html",)
