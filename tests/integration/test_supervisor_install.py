"""The supervisor as a unit of systemd: what is written is what systemd reads back, and only ours is removed."""

from __future__ import annotations

import codecs
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.commands import supervisor as command
from hitui.errors import SupervisorError
from hitui.supervisor import install
from tests.tools.eventually import eventually
from tests.tools.sandbox import Sandbox

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def words_of(text: str) -> list[str]:
    """Words of a unit's line as systemd.syntax(7) has it: quotes, C escapes, and then specifiers."""
    found = []
    for quoted in re.findall(r'"((?:[^"\\]|\\.)*)"(?: |$)', text):
        unescaped = re.sub(
            r"\\(x[0-9a-f]{2}|.)", lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else m[1], quoted
        )
        # \xHH are bytes of UTF-8.
        value = re.sub(r"[\x80-\xff]+", _as_bytes, unescaped)
        assert not re.search("%", value.replace("%%", ""))
        found.append(value.replace("%%", "%"))
    return found


def _as_bytes(match: re.Match[str]) -> str:
    try:
        return codecs.decode(match[0].encode("latin-1"), "utf-8")
    except UnicodeDecodeError:
        return match[0]


@given(st.lists(st.text(st.characters(max_codepoint=127, exclude_characters="\0")), min_size=1))
def test_words_are_read_back_as_they_were(words: list[str]) -> None:
    line = " ".join(map(install.quoted, words))
    assert "\n" not in line
    assert words_of(line) == words


@given(WORDS)
def test_no_word_ends_the_line_or_hides_a_specifier(word: str) -> None:
    line = install.quoted(word)
    assert line.isprintable()
    assert line.count("%") == 2 * word.count("%")


def lines_of(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize(
    "name", ["plain", "two words", "100%", 'say "x"', "back\\slash", "ends in \\", "tab\there", "Grüße"]
)
def test_the_unit_starts_the_supervisor_of_its_workspace(tmp_path: Path, name: str) -> None:
    workspace = tmp_path / name
    workspace.mkdir()
    text = install.unit_text(workspace, {"XDG_STATE_HOME": "/state of % mine", "PATH": "/bin"})
    (start,) = lines_of(text, "ExecStart")
    assert words_of(start) == [sys.executable, "-m", "hitui.supervisor", "--foreground", str(workspace)]
    assert [words_of(line) for line in lines_of(text, "Environment")] == [["XDG_STATE_HOME=/state of % mine"]]
    assert (lines_of(text, "Restart"), lines_of(text, "KillMode")) == (["on-failure"], ["process"])
    assert lines_of(text, "UnsetEnvironment") == ["XDG_RUNTIME_DIR"]
    assert not any(line.endswith("\\") for line in text.splitlines())


def test_the_runtime_folder_is_that_of_who_installs_it_or_none_as_there(tmp_path: Path) -> None:
    text = install.unit_text(tmp_path, {"XDG_RUNTIME_DIR": "/run/mine"})
    assert lines_of(text, "Environment") == ['"XDG_RUNTIME_DIR=/run/mine"']
    assert lines_of(text, "UnsetEnvironment") == []


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match=r"no UTF-8 text; rename it"):
        install.unit_text(tmp_path / os.fsdecode(b"w\xff"), {})


def test_a_dollar_begins_no_variable(tmp_path: Path) -> None:
    workspace = tmp_path / "$HOME"
    (start,) = lines_of(install.unit_text(workspace, {}), "ExecStart")
    assert start.startswith(":")
    assert words_of(start[1:])[-1] == str(workspace)
    (plain,) = lines_of(install.unit_text(tmp_path, {}), "ExecStart")
    assert plain.startswith('"')


@pytest.mark.parametrize("folder", ['"my" python', "two\nlines"])
def test_a_program_that_systemd_would_refuse_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr(sys, "executable", f"/opt/{folder}/bin/python")
    with pytest.raises(install.SupervisorError, match=r"^/opt/.*: systemd starts no program with quotes"):
        install.unit_text(tmp_path, {})


def test_units_of_two_workspaces_have_two_names_that_systemd_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    one, two = (install.unit_path(tmp_path / name / "a b%@é") for name in ("one", "two"))
    assert one != two
    assert one.parent == tmp_path / "config" / "systemd" / "user"
    assert re.fullmatch(r"hitui-a_b___-[0-9a-f]{12}\.service", one.name), one.name


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A program with a hard name: systemd looks whether it can be executed.
    program = tmp_path / "pro gram 100% $x é"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    unit = tmp_path / "hitui-x.service"
    unit.write_text(install.unit_text(tmp_path / "work $space", {"XDG_STATE_HOME": '/a "b" %c'}))
    if shutil.which("systemd-analyze") is None:
        # Nobody here can judge it but its own rules.
        (start,) = lines_of(unit.read_text(), "ExecStart")
        assert words_of(start.removeprefix(":"))[0] == str(program)
        return
    (tmp_path / "run").mkdir()
    run = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")},
    )
    assert (run.returncode, run.stderr) == (0, "")
    program.unlink()
    run = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "run")},
    )
    assert f"{program} is not executable" in run.stderr


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace under a systemd that is said to run, with a folder of units of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(install, "BOOTED", tmp_path)
    workspace = tmp_path / "my work"
    workspace.mkdir()
    return workspace


def do(workspace: Path, *words: str) -> int:
    parser = command.argparse.ArgumentParser()
    parser.add_argument("--workspace")
    command.add_arguments(parser)
    return command.run(parser.parse_args(["--workspace", str(workspace), *words]))


def test_install_writes_the_unit_and_says_how_to_enable_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert do(here, "install") == 0
    path = install.unit_path(here)
    assert path.read_text() == install.unit_text(here, os.environ)
    said = capsys.readouterr().out
    for expected in (
        str(path),
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {path.name}",
        "loginctl enable-linger",
    ):
        assert expected in said
    assert do(here, "install") == 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_uninstall_removes_it_enabled_or_not(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    do(here, "install")
    path = install.unit_path(here)
    wants = path.parent / "default.target.wants"
    wants.mkdir()
    (wants / path.name).symlink_to(path)
    capsys.readouterr()
    assert do(here, "uninstall") == 0
    assert f"systemctl --user stop {path.name}" in capsys.readouterr().out
    assert not os.path.lexists(path)
    assert list(wants.iterdir()) == []
    do(here, "install")
    assert do(here, "uninstall") == 0
    assert not os.path.lexists(path)
    capsys.readouterr()
    assert do(here, "uninstall") == 0
    assert "there is no such unit" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_a_unit_of_someone_else_is_left_alone(here: Path, action: str) -> None:
    path = install.unit_path(here)
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/mine\n")
    with pytest.raises(install.SupervisorError, match=r"\.service: is not hitui's; move it away"):
        do(here, action)
    assert path.read_text() == "[Service]\nExecStart=/mine\n"


def test_a_unit_that_cannot_be_written_is_said(here: Path) -> None:
    install.unit_path(here).parents[1].parent.mkdir(parents=True)
    install.unit_path(here).parents[1].write_text("a file is in the way")
    with pytest.raises(install.SupervisorError, match=r"the unit cannot be written: .*--print"):
        do(here, "install")


def test_print_writes_to_standard_output_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert do(here, "install", "--print") == 0
    assert capsys.readouterr().out == install.unit_text(here, os.environ)
    assert not install.unit_path(here).exists()
    assert do(here, "start", "--print") == 2


def test_without_systemd_a_line_for_cron_is_printed(tmp_path: Path) -> None:
    workspace = tmp_path / "my 100% work"
    workspace.mkdir()
    with Sandbox(tmp_path / "box", workspace) as sandbox:
        run = sandbox.hitui("supervisor", "install", env={"XDG_CONFIG_HOME": str(tmp_path / "config")})
        if install.systemd_runs():
            assert (run.returncode, run.stderr) == (0, "")
            assert list((tmp_path / "config" / "systemd" / "user").glob("hitui-*.service"))
            return
        assert run.returncode == 1
        assert "no systemd runs here" in run.stderr
        line = run.stdout.strip()
        assert line.startswith("@reboot ")
        assert str(workspace).replace("%", r"\%") in line
        assert f"XDG_STATE_HOME={sandbox.env['XDG_STATE_HOME']}" in line
        assert not (tmp_path / "config").exists()


def test_the_line_for_cron_starts_the_supervisor(tmp_path: Path) -> None:
    """As cron would: its shell, its empty environment."""
    workspace = tmp_path / "my 100% work's"
    workspace.mkdir()
    with Sandbox(tmp_path / "box", workspace) as sandbox:
        line = install.cron_line(workspace, sandbox.env)
        words = line.removeprefix("@reboot ").replace(r"\%", "%")
        started = subprocess.run(
            ["/bin/sh", "-c", f"{words} >/dev/null 2>&1 &"],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert started.returncode == 0
        status = eventually(lambda: sandbox.hitui("supervisor", "status").stdout, "it answers", deadline=20.0)
        assert f"the supervisor of {workspace} runs" in status


def test_a_name_with_a_line_end_makes_no_second_line_for_cron(tmp_path: Path) -> None:
    workspace = tmp_path / "work\n@reboot rm -r"
    with pytest.raises(
        SupervisorError, match=r"work\?@reboot rm -r': a crontab takes no name with a line end; re"
    ):
        install.cron_line(workspace, {})
