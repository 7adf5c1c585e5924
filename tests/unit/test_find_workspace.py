"""Which `hitui.toml` counts for a folder."""

import os
from pathlib import Path

import pytest

from hitui.errors import SettingsError
from hitui.paths import find_workspace
from hitui.settings import load_settings


def test_settings_that_lead_nowhere_are_refused_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "hitui.toml").symlink_to("/nonexistent")
    root, file = find_workspace(tmp_path)
    assert root == tmp_path
    with pytest.raises(SettingsError, match="leads nowhere"):
        load_settings(root, file)


def test_what_a_stranger_laid_above_where_all_may_write_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In /tmp anybody may lay one, and whoever works below would run its commands."""
    laid, work = tmp_path / "hitui.toml", tmp_path / "mine" / "work"
    laid.touch()
    work.mkdir(parents=True)
    stranger = tmp_path.stat().st_uid + 1
    status = os.lstat(laid)
    monkeypatch.setattr(Path, "lstat", lambda _: os.stat_result((*status[:4], stranger, *status[5:])))
    assert find_workspace(work) == (tmp_path, laid)
    tmp_path.chmod(0o1777)
    assert find_workspace(work) == (work, None)
    # Whoever names the very folder means it, and to its owner it is no stranger's.
    assert find_workspace(tmp_path) == (tmp_path, laid)
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    assert find_workspace(work) == (tmp_path, laid)
