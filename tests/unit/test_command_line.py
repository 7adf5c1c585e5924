"""How the command line finds its verb and its workspace, and what it says where there is none."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hitui.cli import COMMANDS, build_parser, main
from hitui.commands import launching
from hitui.domain.progress import JobProgress
from hitui.paths import RuntimePaths, gpu_lock_home, state_home
from tests.tools.results import answer, write_results


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


@pytest.mark.parametrize("verb", ["ls", "init"])
def test_a_folder_that_is_gone_is_one_line(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for words in ([verb], ["-w", ".", verb]):
        assert main(words) == 1
        assert capsys.readouterr().err == (
            "hitui: the folder that you are in is gone (removed, or replaced by another); "
            "go there again with cd, or give the workspace's folder with -w\n"
        )


@pytest.mark.parametrize("verb", ["ls", "init"])
def test_what_is_no_folder_is_one_line(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for name in ("absent", "file", "file/below", "x" * 5000):
        assert main(["-w", str(tmp_path / name), verb]) == 1
        said = capsys.readouterr().err
        assert said.endswith(f"/{name}: is not a folder; give the workspace's folder with -w\n")


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hitui", "-w", str(tmp_path), "ls", "--json"]
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "hitui: cannot write: No space left on device; make room where the output goes"
    )
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("words", ["ls", "gpus", "doctor", "metrics", ""])
def test_output_that_is_closed_ends_nothing_in_a_traceback(tmp_path: Path, closed: str, words: str) -> None:
    """As a cron line or a service may start it."""
    write_results(tmp_path / "g" / "text_html" / "results.json", [answer(1)])
    seen = tmp_path / "seen"
    line = f'exec "$0" -m hitui -w "$1" {words} {closed}'
    with seen.open("w") as file:
        run = subprocess.run(
            ["sh", "-c", line, sys.executable, str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "HITUI_SIMULATED_GPUS": str(tmp_path / "no-gpus")},
        )
    assert "Traceback" not in seen.read_text()
    assert run.returncode == (0 if words in ("ls", "metrics") else 1)


def test_a_user_who_may_start_no_more_threads_is_told_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hitui.toml").write_text('[[config]]\nname = "a/b"\nkind = "file_set"\n')
    refused = "can't start new thread"

    def refuse(*_: object) -> None:
        raise RuntimeError(refused)

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert main(["-w", str(tmp_path), "ls"]) == 1
    line = "hitui: no more threads can be started; end some of your processes, or raise the limit (`ulimit -u`)\n"
    assert capsys.readouterr().err == line


def test_help_is_printed_in_any_locale(tmp_path: Path) -> None:
    for words in (["run", "--help"], ["run", "--ids", ","]):
        run = subprocess.run(
            [sys.executable, "-m", "hitui", *words],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert b"ID,\\u2026" in run.stdout + run.stderr
        assert run.returncode == (0 if "--help" in words else 2)


def test_a_user_without_a_home_has_a_folder_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number that nobody has."""
    for variable in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654_321)
    assert "987654321" in str(state_home())


def test_a_relative_xdg_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its specification asks for that; each folder that one works in would have a supervisor of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")
    paths = RuntimePaths.of(tmp_path)
    assert paths.state.is_relative_to(tmp_path / ".local" / "state" / "hitui")
    assert paths.runtime.is_absolute()
    monkeypatch.setenv("HITUI_GPU_LOCKS", "locks")
    assert gpu_lock_home().is_absolute()


def test_all_lock_gpus_in_one_folder_and_those_that_are_simulated_twice_in_two(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HITUI_GPU_LOCKS", raising=False)
    monkeypatch.delenv("HITUI_SIMULATED_GPUS", raising=False)
    everyones = gpu_lock_home()
    # Of one user who has a folder of his own for temporary files.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert gpu_lock_home() == everyones
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", str(tmp_path / "one"))
    assert gpu_lock_home() == tmp_path / "one" / "locks"
    monkeypatch.setenv("HITUI_GPU_LOCKS", str(tmp_path / "named"))
    assert gpu_lock_home() == tmp_path / "named"
    assert everyones.is_absolute()
    assert not everyones.is_relative_to(tmp_path)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_utf_8_in_any_locale(tmp_path: Path, encoding: str) -> None:
    name = "é🙂" + os.fsdecode(b"\xff")
    write_results(tmp_path / name / "text_html" / "results.json", [answer(1)])
    command = [sys.executable, "-m", "hitui", "-w", str(tmp_path), "ls", "--json"]
    run = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert [row["name"] for row in json.loads(run.stdout.decode())] == [f"{name}/text_html"]


def test_progress_that_nobody_reads_ends_no_thread_in_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "PROGRESS_SECONDS", 0.0)
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        launching.Teller().progress({3: JobProgress(phase="loading")})
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.flush()
        # What is still in its buffer goes where there is room, so that it can be closed.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), full.fileno())


def test_what_a_runner_says_of_itself_cannot_move_the_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launching, "PROGRESS_SECONDS", 0.0)
    launching.Teller().progress({3: JobProgress(phase="\x1b[2J\nloading", done=1, total=2)})
    assert capsys.readouterr().out == "job 3 ␛[2J\\x0aloading 1/2\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gpus", "--timeout", "nan"], "a number of seconds above 0 is expected, not 'nan'"),
        (["gpus", "--timeout=-1"], "a number of seconds above 0 is expected, not '-1'"),
        (["gpus", "--timeout", "1e99"], "a number of seconds above 0 is expected, not '1e99'"),
        (["stop", "1_0"], "the number of a job is expected, not '1_0'"),
        (["stop", "last"], "the number of a job is expected, not 'last'"),
    ],
)
def test_what_is_no_number_is_wrong_usage(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"{said}\n")


def named_commands() -> list[str]:
    """What messages, help and documentation tell people to type, with 1 for what is filled in."""
    root = Path(__file__).resolve().parents[2]
    texts = [path.read_text(encoding="utf-8") for path in (root / "hitui").rglob("*.py")]
    pages = [page.read_text(encoding="utf-8") for page in (root / "README.md", *(root / "docs").glob("*.md"))]
    found = {named for text in texts for named in re.findall(r"`hitui ([^`\n]+)`", text)}
    found |= {" ".join(named.split()) for page in pages for named in re.findall(r"`hitui ([^`]+)`", page)}
    shell = "\n".join(block for page in pages for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
    found |= set(re.findall(r"^hitui (.+?)\s*(?:#|$)", shell, re.MULTILINE))
    # Pipes, and words that stand for any command, are no command lines.
    return sorted(named for named in found if "|" not in named and "COMMAND" not in named)


@pytest.mark.parametrize("named", named_commands())
def test_a_command_that_is_named_somewhere_can_be_typed(
    named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(re.sub(r"\{[^}]*\}|JOB", "1", named).replace("…", ""))
    verb = next((word for word in words if word in COMMANDS), None)
    parser = build_parser(verb)
    try:
        parser.parse_args(words)
    except SystemExit:
        # Some are named without what they are about, a config or a job.
        assert "arguments are required" in capsys.readouterr().err
        parser.parse_args([*words, "1"])
