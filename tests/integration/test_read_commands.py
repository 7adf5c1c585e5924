"""ls, ids, analyze and init as a user runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.tools.results import (
    REPORT,
    TOO_LARGE,
    answer,
    append_lines,
    failure,
    write_questions,
    write_results,
    write_trainer_checkpoint,
    write_workspace,
)
from tests.tools.sandbox import Sandbox


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "workspace")


@pytest.fixture
def sandbox(tmp_path: Path, workspace: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path, workspace) as sandbox:
        yield sandbox


@pytest.fixture
def output(workspace: Path) -> Path:
    return workspace / "result" / "g" / "text_html"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestLs:
    def test_json_has_the_promised_keys(self, sandbox: Sandbox, output: Path) -> None:
        rows = sandbox.json("ls")
        assert [row["name"] for row in rows] == ["g/image", "g/text_html"]
        row = rows[1]
        updated = datetime.fromisoformat(row.pop("updated"))
        assert updated.tzinfo is not None
        assert updated.timestamp() == int((output / "results.json").stat().st_mtime)
        assert row == {
            "name": "g/text_html",
            "kind": "realhitbench",
            "unit": "tasks",
            "modality": "text",
            "format": "html",
            "total": 8,
            "done": 2,
            "errors": 3,
            "missing": 2,
            "blocked": 1,
            "pending": 5,
            "error_classes": {"text_too_large": 2, "no_final_answer": 1},
            "state": "pending",
            "source": "result/g/text_html/results.json",
            "problems": [],
            "notes": [],
        }
        assert rows[0]["state"] == "whole"
        assert rows[0]["format"] is None

    def test_the_table_and_the_problems(self, sandbox: Sandbox, output: Path) -> None:
        (output / "checkpoint.json").write_text('{"results": [{"id"')
        run = sandbox.hitui("ls")
        assert run.returncode == 0
        assert re.search(r"^g/text_html +2/8 +3 +2 +1 +5 +pending ! ", run.stdout, re.MULTILINE)
        (line,) = run.stderr.splitlines()
        assert line.startswith("hitui: result/g/text_html/checkpoint.json: is not whole JSON")

    def test_nothing_is_written_and_no_supervisor_started(self, sandbox: Sandbox, workspace: Path) -> None:
        before = contents(workspace)
        for folder in (workspace, *workspace.rglob("*")):
            if folder.is_dir():
                folder.chmod(0o555)
        sandbox.json("ls")
        sandbox.hitui("ids", "text_html")
        sandbox.hitui("verify", "text_html")
        for folder in (workspace, *workspace.rglob("*")):
            if folder.is_dir():
                folder.chmod(0o755)
        assert contents(workspace) == before
        assert sandbox.hitui("supervisor", "status").returncode != 0

    def test_an_empty_folder_says_what_to_do(self, sandbox: Sandbox, workspace: Path) -> None:
        shutil.rmtree(workspace)
        workspace.mkdir()
        run = sandbox.hitui("ls")
        assert (run.returncode, run.stdout) == (0, "")
        assert "no results found below it" in run.stderr
        assert sandbox.json("ls") == []

    def test_totals_that_nobody_knows_are_explained(self, sandbox: Sandbox, workspace: Path) -> None:
        (workspace / "data" / "questions.json").unlink()
        run = sandbox.hitui("ls")
        assert re.search(r"^g/image +8/\? +0 +0 +0 +0 +uncounted ", run.stdout, re.MULTILINE)
        assert run.stderr == (
            f"hitui: {workspace}: no question list found, so no total is known; "
            "name it as `[workspace] questions` in hitui.toml\n"
        )
        # A report of missing tasks knows the total by itself.
        shutil.rmtree(workspace / "result")
        (workspace / "g" / "mix_html").mkdir(parents=True)
        (workspace / "g" / "mix_html" / "skip_ids.json").write_text(json.dumps(REPORT))
        run = sandbox.hitui("ls")
        assert re.search(r"^g/mix_html +7/10 ", run.stdout, re.MULTILINE)
        assert run.stderr == ""

    def test_a_refused_settings_file(self, sandbox: Sandbox) -> None:
        sandbox.settings("[workspace]\nresult = []\n")
        run = sandbox.hitui("ls")
        assert run.returncode == 1
        assert "unknown key 'result'; did you mean 'results'?" in run.stderr


class TestIds:
    def ids(self, sandbox: Sandbox, *options: str) -> list[object]:
        return [row["id"] for row in sandbox.json("ids", "text_html", *options)]

    def test_each_choice(self, sandbox: Sandbox) -> None:
        assert self.ids(sandbox) == self.ids(sandbox, "--pending") == [3, 4, 5, 6, 7]
        assert self.ids(sandbox, "--errors") == [3, 4, 5]
        assert self.ids(sandbox, "--missing") == [6, 7]
        assert self.ids(sandbox, "--blocked") == [8]
        assert self.ids(sandbox, "--class", "text_too_large") == [3, 4]

    def test_reasons(self, sandbox: Sandbox) -> None:
        rows = {row["id"]: row for row in sandbox.json("ids", "g/text_html", "--pending")}
        assert rows[3] == {
            "id": 3,
            "status": "error",
            "class": "text_too_large",
            "reason": TOO_LARGE,
            "rung": 0,
        }
        assert rows[6]["status"] == "missing"
        run = sandbox.hitui("ids", "text_html", "--blocked")
        assert run.stdout == "8\tblocked\t-\tmissing file: table8.html\n"

    def test_an_error_text_cannot_move_the_cursor(self, sandbox: Sandbox, output: Path) -> None:
        append_lines(output / "results.jsonl", [failure(3, "[ERROR] \x1b[2J\nx")])
        run = sandbox.hitui("ids", "text_html", "--errors")
        assert "3\terror\tother\t[ERROR] �[2J x\n" in run.stdout

    def test_an_id_cannot_move_the_cursor_or_break_the_line(self, sandbox: Sandbox, workspace: Path) -> None:
        write_questions(workspace / "data" / "questions.json", ["a\x1b[2J\nb\tc", 2])
        run = sandbox.hitui("ids", "image", "--blocked")
        assert run.stdout.splitlines() == ["a�[2J b c\tblocked\t-\tmissing file: tablea�[2J b c.png"]

    def test_what_has_no_tasks_says_so(self, sandbox: Sandbox, workspace: Path) -> None:
        write_trainer_checkpoint(workspace / "runs" / "translator", 50)
        run = sandbox.hitui("ids", "translator")
        assert (run.returncode, run.stdout) == (0, "")
        assert run.stderr == "hitui: runs/translator: counts steps, not tasks: there are no ids to list\n"

    def test_no_such_config(self, sandbox: Sandbox) -> None:
        run = sandbox.hitui("ids", "text_htlm")
        assert (run.returncode, run.stdout) == (3, "")
        assert run.stderr == "hitui: text_htlm: no such config; did you mean g/text_html?\n"

    def test_wrong_usage(self, sandbox: Sandbox) -> None:
        assert sandbox.hitui("ids", "text_html", "--class", "nonsense").returncode == 2
        assert sandbox.hitui("ids", "text_html", "--errors", "--missing").returncode == 2


class TestAnalyze:
    def test_the_report(self, sandbox: Sandbox) -> None:
        report = sandbox.json("analyze")["g/text_html"]
        assert list(report) == [
            "metadata",
            "statistics",
            "skip_ids",
            "error_ids",
            "skip_reasons",
            "categorized",
        ]
        assert report["statistics"] == {
            "total_tasks": 8,
            "completed": 5,
            "success": 2,
            "error": 3,
            "missing": 3,
            "file_dependency_issues": 1,
            "incomplete_runs": 2,
        }
        assert (report["skip_ids"], report["error_ids"]) == ([6, 7, 8], [3, 4, 5])
        assert report["skip_reasons"]["8"] == "Missing source file(s): table8.html"
        assert report["categorized"] == {"file_dependency_issues": [8], "incomplete_runs": [6, 7]}
        assert report["metadata"]["master_task_list"] == "data/questions.json"

    def test_an_error_whose_input_is_absent_is_still_listed(self, sandbox: Sandbox, workspace: Path) -> None:
        (workspace / "data" / "html" / "table3.html").unlink()
        reports = sandbox.json("analyze", "text_html")
        # Of no other config.
        assert list(reports) == ["g/text_html"]
        assert reports["g/text_html"]["error_ids"] == [3, 4, 5]
        assert [row["blocked"] for row in sandbox.json("ls")] == [0, 2]

    def test_write_keeps_a_foreign_report_once(self, sandbox: Sandbox, output: Path) -> None:
        path = output / "skip_ids.json"
        path.write_text(json.dumps({"metadata": {}, "statistics": {}, "skip_ids": [], "error_ids": [1]}))
        foreign = path.read_bytes()
        run = sandbox.hitui("analyze", "--write")
        assert run.returncode == 0, run.stderr
        copy = output / "skip_ids.json.before-hitui"
        assert copy.read_bytes() == foreign
        rows = [line.split() for line in run.stdout.splitlines()]
        assert ["g/text_html", "8", "2", "3", "3", "1", "2"] in rows
        written = json.loads(path.read_text())
        assert written["skip_ids"] == [6, 7, 8]
        append_lines(output / "results.jsonl", [answer(6)])
        assert sandbox.hitui("analyze", "--write").returncode == 0
        assert json.loads(path.read_text())["skip_ids"] == [7, 8]
        assert sorted(entry.name for entry in output.iterdir() if "before" in entry.name) == [copy.name]
        assert copy.read_bytes() == foreign

    def test_a_report_that_cannot_be_written_is_said_and_the_others_are(
        self, sandbox: Sandbox, output: Path
    ) -> None:
        # A folder in its place fails for root as well, which no mode keeps from writing.
        (output / "skip_ids.json").mkdir()
        run = sandbox.hitui("analyze", "--write")
        assert run.returncode == 1
        assert f"{output}/skip_ids.json: is no file, so no report was written; move it away" in run.stderr
        assert (output.parent / "image" / "skip_ids.json").is_file()

    def test_no_report_is_written_of_a_part(self, sandbox: Sandbox, output: Path) -> None:
        """What an unreadable file answers would be called missing, and that report would stay."""
        (output / "checkpoint.json").write_text('{"results": [{"id"')
        run = sandbox.hitui("analyze", "--write")
        assert run.returncode == 1
        lines = run.stderr.splitlines()
        assert lines[0].startswith("hitui: result/g/text_html/checkpoint.json: is not whole JSON")
        assert lines[1:] == [
            "hitui: g/text_html: no report written: a file of its results cannot be read, and may hold answers"
        ]
        assert not (output / "skip_ids.json").exists()
        assert (output.parent / "image" / "skip_ids.json").is_file()

    def test_the_result_file_is_named_whole(self, sandbox: Sandbox, workspace: Path) -> None:
        folder = workspace / "result" / "black and white" / "text_csv"
        write_results(folder / "results.json", [answer(1)])
        metadata = sandbox.json("analyze", "text_csv")["black and white/text_csv"]["metadata"]
        assert metadata["result_file"] == "result/black and white/text_csv/results.json"

    def test_nothing_to_report_on(self, sandbox: Sandbox, workspace: Path) -> None:
        shutil.rmtree(workspace / "result")
        run = sandbox.hitui("analyze")
        assert run.returncode == 1
        assert "nothing to report on" in run.stderr


def test_every_listing_ends_quietly_when_nobody_reads(sandbox: Sandbox, workspace: Path) -> None:
    command = [sys.executable, "-m", "hitui", "-w", str(workspace), "ls", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=sandbox.env)
    os.close(writer)
    assert (process.returncode, process.stderr) == (0, b"")


EVIL = "text_html\n\x1b[2Jwhole"


def test_names_do_nothing_to_a_terminal_and_stay_on_their_line(
    sandbox: Sandbox, workspace: Path, output: Path
) -> None:
    output.rename(output.with_name(EVIL))
    for words in (
        ["ls"],
        ["verify", f"g/{EVIL}"],
        ["verify", "g/missing"],
        ["rerun", f"g/{EVIL}"],
        ["ids", "x\x1b[2J"],
        ["rollback", f"g/{EVIL}"],
        ["-w", f"result/g/{EVIL}", "doctor"],
    ):
        run = sandbox.hitui(*words)
        assert "\x1b" not in run.stdout + run.stderr
    assert any("text_html\\x0a␛[2Jwhole" in line for line in sandbox.hitui("ls").stdout.splitlines())


def test_ids_that_no_terminal_can_show_are_said(sandbox: Sandbox, output: Path) -> None:
    append_lines(output / "results.jsonl", [answer("half \ud800"), answer("half \ud800")])
    run = sandbox.hitui("verify", "text_html")
    assert run.returncode == 1
    assert "  1 not in the question list: half \\ud800\n" in run.stdout
    assert "Traceback" not in run.stderr


def test_a_folder_whose_name_is_no_text_is_listed_and_refused(
    sandbox: Sandbox, workspace: Path, output: Path
) -> None:
    name = os.fsdecode(b"text_html_\xff")
    output.rename(output.with_name(name))
    sandbox.settings('[runner.demo]\nengine = "demo"\n')
    for env in ({"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        listed = sandbox.hitui("ls", env=env)
        assert listed.returncode == 0
        assert "text_html_\\xff" in listed.stdout
    for words in (["rerun", f"g/{name}"], ["init", "--force"]):
        refused = sandbox.hitui(*words)
        assert refused.returncode == 1
        assert "no UTF-8 text; rename" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_name_that_the_locale_has_no_characters_for_is_refused_with_the_mend(sandbox: Sandbox) -> None:
    """The paths of the settings are UTF-8, those of the files what the locale says."""
    sandbox.settings('[[config]]\nname = "g/größe"\nkind = "file_set"\n')
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (["ls"], ["run", "größe"], ["doctor"]):
        refused = sandbox.hitui(*words, env=ascii_only)
        assert "Traceback" not in refused.stderr
        assert (
            "as no file's name can in this locale (ascii); set LC_ALL=C.UTF-8"
            in refused.stderr + refused.stdout
        )
    assert sandbox.hitui("ls", env={"LC_ALL": "C.UTF-8"}).returncode == 0


def test_in_a_workspace_whose_name_is_no_text_nothing_runs(sandbox: Sandbox, workspace: Path) -> None:
    sandbox.settings('[runner.demo]\nengine = "demo"\n')
    sandbox.workspace = workspace.rename(workspace.with_name(os.fsdecode(b"w\xff")))
    refused = sandbox.hitui("rerun", "text_html")
    assert refused.returncode == 1
    assert "no UTF-8 text; rename" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
