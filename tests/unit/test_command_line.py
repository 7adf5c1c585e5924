"""How the command line finds its verb."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitui.cli import main


@pytest.mark.parametrize("option", [("-w", "demo"), ("--workspace", "demo"), ("--workspace=demo",)])
def test_a_workspace_may_be_called_as_a_command_is(
    option: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main([*option, "ls", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
