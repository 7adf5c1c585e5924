"""The text of a table, and files that hold none."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hitui_runners.engines.base import TaskFailed
from hitui_runners.realhitbench.questions import read_table
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import Runner
from tests.runners.scripted import SEVEN, Scripted, launch

TEXT = "Harbour,Boats\r\nÖsterhamn,41\r\n漁港,17\r\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 24850432\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_it_is_written(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(TEXT.encode(encoding))
    assert read_table(path) == TEXT
    path.write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert read_table(path) == TEXT


def test_a_few_bytes_that_are_none_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"Harbour,Boats\nSaltby,\xe4\x00 63\n" * 9)
    assert read_table(path) == "Harbour,Boats\nSaltby,\ufffd\0 63\n" * 9
    path.write_bytes(b"1\0,\xe4")
    assert read_table(path) == "1\0,\ufffd"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (POINTER, "is a Git LFS pointer; `git lfs pull` brings what it stands for"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n\n", "is empty"),
        (
            zlib.compress(bytes(range(256)) * 20)[2:] + bytes(range(128, 256)) * 2,
            "is no text in UTF-8; convert it, or bring the table",
        ),
        (TEXT.encode("utf-16-le"), "is no text in UTF-8; convert it, or bring the table"),
        (b"PK\x03\x04" + bytes(range(4)) * 99, "is no text in UTF-8; convert it, or bring the table"),
    ],
)
def test_what_holds_no_table_is_not_asked_about(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(TaskFailed) as failed:
        read_table(path)
    assert failed.value.message == f"Input file cannot be read: {path}: {why}"


def test_its_questions_fail_alone_where_a_model_is_asked(runner: Runner, signals: StopSignals) -> None:
    runner.benchmark.add_table("other")
    runner.benchmark.ask(7, "other", "How many boats?", "41")
    path = runner.benchmark.data / "html" / "harbours.html"
    path.write_bytes(POINTER)
    engine = Scripted(lambda prompt: SEVEN)
    # Of several threads any may be the first.
    engine.at_once = 1
    assert launch(runner, engine, signals).run() == 0
    said = {result["id"]: result["Prediction"] for result in runner.journal}
    assert said.pop(7) == "7"
    assert list(said) == [1, 2, 3, 4, 5, 6]
    assert set(said.values()) == {
        f"[ERROR] Input file cannot be read: {path}: is a Git LFS pointer; `git lfs pull` brings what it stands for"
    }


def test_the_demo_makes_something_up_of_whatever_is_there(runner: Runner) -> None:
    (runner.benchmark.data / "html" / "harbours.html").write_bytes(POINTER)
    assert runner.run().returncode == 0
    assert sorted(runner.snapshot["processed_ids"]) == [1, 2, 3, 4, 5, 6]
