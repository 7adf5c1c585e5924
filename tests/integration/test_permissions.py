"""Folders and files that may not be read or written. Root may do all: it gives that up first (setpriv)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools.results import answer, failure, write_dataset, write_questions, write_results

AS_ANYONE = (
    ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"] if os.geteuid() == 0 else []
)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "workspace"
    write_questions(root / "data" / "questions.json", range(1, 5))
    write_dataset(root / "data", [f"table{number}" for number in range(1, 5)])
    for name in ("text_csv", "text_html"):
        write_results(root / "result" / "g" / name / "results.json", [answer(1), failure(2)])
    yield root
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)


def hitui(workspace: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [*AS_ANYONE, sys.executable, "-m", "hitui", "-w", str(workspace), *words]
    state = workspace.parent / "state"
    env = {**os.environ, "XDG_STATE_HOME": str(state), "XDG_RUNTIME_DIR": str(state), **env}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def rows(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert run.returncode == 0, run.stderr
    return {row["name"]: row for row in json.loads(run.stdout)}


def test_a_folder_that_cannot_be_listed_is_said_and_the_rest_goes_on(workspace: Path) -> None:
    folder = workspace / "result" / "g" / "text_html"
    folder.chmod(0o000)
    run = hitui(workspace, "ls", "--json")
    assert list(rows(run)) == ["g/text_csv"]
    assert run.stderr == f"hitui: {folder}: cannot be listed: Permission denied; make it readable\n"


def test_a_declared_config_that_cannot_be_listed_has_nothing_pending(workspace: Path) -> None:
    """Its answers are there, only hidden: a rerun would give every one of them a second time."""
    assert hitui(workspace, "init").returncode == 0
    (workspace / "result" / "g" / "text_html").chmod(0o000)
    row = rows(hitui(workspace, "ls", "--json"))["g/text_html"]
    assert (row["state"], row["pending"]) == ("unreadable", 0)
    assert "result/g/text_html: cannot be listed: Permission denied" in row["problems"][0]


def test_a_file_that_cannot_be_read(workspace: Path) -> None:
    path = workspace / "result" / "g" / "text_html" / "results.json"
    path.chmod(0o000)
    found = rows(hitui(workspace, "ls", "--json"))
    assert found["g/text_csv"]["done"] == 1
    assert found["g/text_html"]["state"] == "unreadable"
    assert found["g/text_html"]["problems"] == [
        "result/g/text_html/results.json: cannot be read: Permission denied"
    ]


def test_a_folder_that_may_be_listed_but_not_entered(workspace: Path) -> None:
    (workspace / "result" / "g" / "text_html").chmod(0o444)
    (workspace / "data").chmod(0o444)
    run = hitui(workspace, "ls", "--json")
    found = rows(run)
    assert found["g/text_csv"]["done"] == 1
    assert (found["g/text_html"]["state"], found["g/text_html"]["pending"]) == ("unreadable", 0)
    assert "Traceback" not in run.stderr


def test_doctor_names_what_it_may_not_look_at(workspace: Path) -> None:
    locked = workspace / "locked"
    (locked / "model").mkdir(parents=True)
    (workspace / "hitui.toml").write_text(
        '[runner.a]\nengine = "transformers"\nmodel = "locked/model"\nprompts = "locked/prompts"\n'
    )
    locked.chmod(0o000)
    run = hitui(workspace, "doctor", "--json", XDG_STATE_HOME=str(locked / "state"))
    assert "Traceback" not in run.stderr
    failed = [found["what"] for found in json.loads(run.stdout)["checks"] if found["level"] == "fail"]
    for name in ("model", "prompts"):
        assert f"{name}: {locked}/{name} is not there, or out of reach" in failed
    assert any(what.startswith(f"{locked}/state/hitui/") and "cannot be written" in what for what in failed)


def test_a_read_only_workspace_is_read_and_a_write_is_refused_in_one_line(workspace: Path) -> None:
    for path in workspace.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    workspace.chmod(0o555)
    assert rows(hitui(workspace, "ls", "--json"))["g/text_html"]["errors"] == 1
    assert hitui(workspace, "verify", "text_html").returncode == 1
    run = hitui(workspace, "analyze", "--write")
    assert run.returncode == 1
    assert [line for line in run.stderr.splitlines() if "Permission denied" not in line] == []
    assert len(run.stderr.splitlines()) == 2
    run = hitui(workspace, "init")
    assert run.returncode == 1
    assert run.stderr.startswith(f"hitui: {workspace}/hitui.toml: cannot be written: Permission denied")


def test_a_report_that_cannot_be_read_is_not_written_over(workspace: Path) -> None:
    path = workspace / "result" / "g" / "text_html" / "skip_ids.json"
    path.write_text("theirs")
    path.chmod(0o000)
    run = hitui(workspace, "analyze", "--write")
    path.chmod(0o644)
    assert path.read_text() == "theirs"
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"hitui: {path}: cannot be read: Permission denied; nothing was changed")


def test_what_may_be_read_again_counts_again(workspace: Path) -> None:
    """Its size and time are those of before, by which what was read is known."""
    file = workspace / "result" / "g" / "text_html" / "results.json"
    program = """
import sys
from pathlib import Path
from hitui.factory import build_services
workspace, file = sys.argv[1], Path(sys.argv[2])
catalogue = build_services(workspace).workspace.catalogue
catalogue.refresh()
config = catalogue.find("g/text_html")
file.chmod(0)
print(catalogue.read(config).state.condition.value)
file.chmod(0o644)
print(catalogue.changed(config), catalogue.read(config).state.done)
"""
    bounds = [*AS_ANYONE[:2], "-dac_override,-dac_read_search"] if AS_ANYONE else []
    command = [*bounds, sys.executable, "-c", program, str(workspace), str(file)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("unreadable\nTrue 1\n", "")
