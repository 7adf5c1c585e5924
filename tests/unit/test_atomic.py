"""Writes that are seen whole or not at all."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hitui.adapters.files.atomic import keep_copy_once, write_atomically
from hitui.errors import WorkspaceError


def test_replaces_by_rename_and_keeps_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o640)
    with path.open() as reader:
        write_atomically(path, b"new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["report.json"]  # noqa: PTH208


def test_what_is_written_is_on_the_disk_before_its_name_and_then_that_is_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another file system, onto which nothing can be renamed.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    synced: list[tuple[bool, int | None]] = []
    path = tmp_path / "report.json"

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append((path.exists(), None if stat.S_ISDIR(status.st_mode) else status.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"three")
    assert synced == [(False, 5), (True, None)]


def test_a_new_file_gets_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_the_umask_is_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another thread makes meanwhile would be open to everyone."""

    def refuse(_: int) -> int:
        raise AssertionError("the umask is of all threads")

    monkeypatch.setattr(os, "umask", refuse)
    write_atomically(tmp_path / "new", b"x")
    assert (tmp_path / "new").read_bytes() == b"x"


def test_a_disk_that_takes_no_more_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """A limit on the size of files fails in the midst of the write, as a full disk does."""
    path = tmp_path / "report.json"
    path.write_text("old")
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from hitui.adapters.files.atomic import write_atomically\n"
        "from hitui.errors import WorkspaceError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_atomically(Path(sys.argv[1]), bytes(1_000_000))\n"
        "except WorkspaceError as error:\n"
        "    print(error)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    said = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert said.stdout.startswith(f"{path}: cannot be written: File too large; nothing was changed")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"gone/report.json: cannot be written: No such file"):
        write_atomically(tmp_path / "gone" / "report.json", b"x")


def test_a_copy_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text("theirs")
    os.utime(path, (1000, 1000))
    assert keep_copy_once(path) == tmp_path / "checkpoint.json.before-hitui"
    assert keep_copy_once(path) is None
    copy = tmp_path / "checkpoint.json.before-hitui"
    assert (copy.read_text(), copy.stat().st_mtime) == ("theirs", 1000)
    path.write_text("theirs, later")
    assert keep_copy_once(path) == tmp_path / "checkpoint.json.before-hitui-2"
    assert copy.read_text() == "theirs"


def test_a_copy_is_at_no_moment_open_to_more_than_what_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text("theirs")
    path.chmod(0o600)
    modes = []
    monkeypatch.setattr(shutil, "copystat", lambda _, copy: modes.append(copy.stat().st_mode & 0o777))
    keep_copy_once(path)
    assert modes == [0o600]
