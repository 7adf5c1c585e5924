"""What was read of a results file counts in the next process too, for exactly that file."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from hitui.adapters.checkpoints import kept_readings, results_file
from hitui.adapters.checkpoints.kept_readings import FORGOTTEN_SECONDS, KeptReadings
from hitui.adapters.checkpoints.reading import UnreadableFile

ANSWERS = 6000


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.json"
    write_results(path, "[ERROR] text too large")
    assert path.stat().st_size > kept_readings.LEAST_BYTES
    return path


def write_results(path: Path, last: str) -> None:
    entries = [{"id": number, "Prediction": "x" * 20, "ProcessingTime": 1.5} for number in range(ANSWERS)]
    entries.append({"id": ANSWERS, "Prediction": last})
    path.write_text(json.dumps({"results": entries}))


def another_process(tmp_path: Path) -> KeptReadings:
    return KeptReadings(tmp_path / "kept", settled_seconds=0)


def kept_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "kept").iterdir()
    return file


def mark(file: Path) -> None:
    """Changes what was kept, so that it shows where it comes from."""
    kept = msgspec.msgpack.decode(file.read_bytes())
    kept[3]["errors"] = {7: "kept"}
    file.write_bytes(msgspec.msgpack.encode(kept))


def test_the_next_process_gets_what_was_kept_and_it_is_equal(tmp_path: Path, results: Path) -> None:
    first = another_process(tmp_path).read(results)
    assert another_process(tmp_path).read(results) == first
    assert (len(first.answered), first.errors) == (ANSWERS, {ANSWERS: "[ERROR] text too large"})
    mark(kept_file(tmp_path))
    assert another_process(tmp_path).read(results).errors == {7: "kept"}


def test_a_file_of_the_same_size_and_time_is_read_again_when_it_was_written(
    tmp_path: Path, results: Path
) -> None:
    another_process(tmp_path).read(results)
    before = results.stat()
    write_results(results, "[ERROR] text too LARGE")
    os.utime(results, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = results.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )
    assert another_process(tmp_path).read(results).errors == {ANSWERS: "[ERROR] text too LARGE"}


def test_a_file_that_changed_a_moment_ago_is_not_kept(tmp_path: Path, results: Path) -> None:
    KeptReadings(tmp_path / "kept").read(results)
    assert not (tmp_path / "kept").exists()


def test_small_files_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text('{"results": [{"id": 1, "Prediction": "a"}]}')
    assert another_process(tmp_path).read(path).answered == {1: None}
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("damage", [b"", b"\x00rubbish", b"\x94\xa1x\xa1y"])
def test_damaged_entries_are_read_anew_and_mended(tmp_path: Path, results: Path, damage: bytes) -> None:
    first = another_process(tmp_path).read(results)
    kept_file(tmp_path).write_bytes(damage)
    assert another_process(tmp_path).read(results) == first
    mark(kept_file(tmp_path))
    assert another_process(tmp_path).read(results).errors == {7: "kept"}


def test_what_another_version_read_does_not_count(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = another_process(tmp_path).read(results)
    mark(kept_file(tmp_path))
    monkeypatch.setattr(kept_readings, "__version__", "0.0.1")
    assert another_process(tmp_path).read(results) == first


def test_what_is_read_after_an_upgrade_by_the_code_from_before_counts_as_from_before(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor makes its readers anew when `hitui.toml` changes, and kept what it read as read by the new files."""
    first = another_process(tmp_path).read(results)
    mark(kept_file(tmp_path))
    upgraded = tmp_path / "results_file.py"
    upgraded.write_text("# As it is now.")
    monkeypatch.setattr(results_file, "__file__", str(upgraded))
    assert another_process(tmp_path).read(results).errors == {7: "kept"} != first.errors


def test_what_cannot_take_its_place_leaves_nothing_behind(tmp_path: Path, results: Path) -> None:
    another_process(tmp_path).read(results)
    file = kept_file(tmp_path)
    file.unlink()
    file.mkdir()
    assert another_process(tmp_path).read(results).errors == {ANSWERS: "[ERROR] text too large"}
    assert kept_file(tmp_path) == file


def test_a_folder_that_cannot_be_used_changes_nothing(tmp_path: Path, results: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    assert len(another_process(tmp_path).read(results).answered) == ANSWERS


def test_a_file_that_is_gone_or_damaged_is_said_as_ever(tmp_path: Path, results: Path) -> None:
    another_process(tmp_path).read(results)
    results.write_text("x" * (kept_readings.LEAST_BYTES + 1))
    with pytest.raises(UnreadableFile, match="not JSON text at byte 0"):
        another_process(tmp_path).read(results)
    results.unlink()
    with pytest.raises(UnreadableFile, match="cannot be read: No such file"):
        another_process(tmp_path).read(results)


def test_entries_that_nobody_wrote_for_a_month_are_removed(tmp_path: Path, results: Path) -> None:
    another_process(tmp_path).read(results)
    old, new = kept_file(tmp_path), tmp_path / "kept" / "new"
    new.touch()
    month_ago = time.time() - FORGOTTEN_SECONDS - 60
    os.utime(old, (month_ago, month_ago))
    other = tmp_path / "results.json"
    write_results(other, "[ERROR]")
    another_process(tmp_path).read(other)
    assert not old.exists()
    assert new.exists()
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "identifier", "error"),
    [
        (b"results_\xff.json", 9000, "[ERROR] x"),
        (b"results.json", 2**70, "[ERROR] x"),
        (b"results.json", 9000, "[ERROR] \ud800"),
    ],
)
def test_names_numbers_and_text_that_cannot_be_kept_are_read_all_the_same(
    tmp_path: Path, name: bytes, identifier: int, error: str
) -> None:
    path = tmp_path / os.fsdecode(name)
    entries = [{"id": number, "Prediction": "x" * 40} for number in range(ANSWERS)]
    path.write_text(json.dumps([*entries, {"id": identifier, "Prediction": error}]))
    for _ in range(2):
        reading = another_process(tmp_path).read(path)
        assert (len(reading.answered), set(reading.errors)) == (ANSWERS, {identifier})


def test_only_the_user_sees_what_was_kept(tmp_path: Path, results: Path) -> None:
    another_process(tmp_path).read(results)
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
