"""The commit that a workspace stands at, read without git."""

from __future__ import annotations

import os
from pathlib import Path

from hitui.adapters.git_head import read_head
from tests.tools.git import git


def test_the_head_of_a_repository_is_read_from_its_files(tmp_path: Path) -> None:
    assert read_head(tmp_path) is None
    git(tmp_path, "init", "-q", "-b", "trunk")
    assert read_head(tmp_path) == ("", "trunk")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    first = git(tmp_path, "rev-parse", "HEAD")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert read_head(below) == (first, "trunk")
    git(tmp_path, "pack-refs", "--all")
    assert read_head(tmp_path) == (first, "trunk")
    git(tmp_path, "worktree", "add", "-q", "-b", "side/way", "tree")
    assert read_head(tmp_path / "tree") == (first, "side/way")
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "second")
    second = git(tmp_path / "tree", "rev-parse", "HEAD")
    assert read_head(tmp_path / "tree") == (second, "side/way")
    git(tmp_path, "checkout", "-q", "--detach", second)
    assert read_head(tmp_path) == (second, "")
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff rubbish")
    assert read_head(tmp_path) is None


def test_a_pipe_in_a_repository_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "HEAD")
    assert read_head(tmp_path / "a") is None
