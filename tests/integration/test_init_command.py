"""`hitui init`: what it writes of what lies here, and what it leaves alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.results import (
    answer,
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


class TestInit:
    def test_writes_settings_that_show_the_same_rows(self, sandbox: Sandbox, workspace: Path) -> None:
        write_results(workspace / "result" / "g" / "mix_csv_shard0" / "results.json", [answer(1)])
        write_results(workspace / "result" / "g" / "mystery" / "results.json", [answer(1)])
        write_trainer_checkpoint(workspace / "runs" / "translator", 50)
        rows = sandbox.json("ls")
        run = sandbox.hitui("init")
        assert run.returncode == 0, run.stderr
        assert f"wrote {workspace}/hitui.toml" in run.stdout
        assert run.stdout.splitlines()[1:] == [
            "  found: 5 configs below result, runs",
            "  found: question list data/questions.json, 8 questions",
            "  found: dataset data",
            "  found: trainer folder runs/translator",
            "  could not tell: which program runs them; add a [runner.NAME]",
            "  could not tell: modality or format of g/mystery; give them in their [[config]]",
        ]
        written = (workspace / "hitui.toml").read_text()
        assert written.partition("[workspace]")[2].splitlines()[1:5] == [
            'results   = ["result", "runs"]',
            'questions = "data/questions.json"',
            'data      = "data"',
            '# runner    = "model"       # of the configs that name none',
        ]
        assert [section.splitlines()[1:] for section in written.split("\n[[config]]\n")[1:]] == [
            ['modality = "image"', 'output   = "result/g/image"'],
            [
                'modality = "mix"',
                'format   = "csv"',
                'output   = "result/g/mix_csv"',
                'folders  = ["result/g/mix_csv_shard0"]    # read together with it',
            ],
            [
                '# modality = "text"       # text, image or mix',
                '# format   = "html"       # html, csv, latex, markdown or json',
                'output   = "result/g/mystery"',
            ],
            ['modality = "text"', 'format   = "html"', 'output   = "result/g/text_html"'],
            ['kind     = "hf_trainer"', 'output   = "runs/translator"'],
        ]
        assert sandbox.json("ls") == rows

    def test_an_odd_name_is_written_as_toml(self, sandbox: Sandbox, workspace: Path) -> None:
        write_results(workspace / "result" / 'g "1"\\ü' / "text_csv" / "results.json", [answer(1)])
        rows = sandbox.json("ls")
        assert sandbox.hitui("init").returncode == 0
        assert sandbox.json("ls") == rows

    def test_a_name_that_would_mean_a_home_is_written_so_that_it_does_not(
        self, sandbox: Sandbox, workspace: Path
    ) -> None:
        shutil.rmtree(workspace / "result")
        write_results(workspace / "~old" / "text_csv" / "results.json", [answer(1)])
        write_results(workspace / "~old" / "text_csv_shard0" / "results.json", [answer(2)])
        rows = sandbox.json("ls")
        run = sandbox.hitui("init")
        assert run.returncode == 0, run.stderr
        assert sandbox.json("ls") == rows

    def test_does_not_replace_what_is_there(self, sandbox: Sandbox, workspace: Path) -> None:
        sandbox.settings("# mine\n")
        run = sandbox.hitui("init")
        assert run.returncode == 1
        assert "is there already" in run.stderr
        assert (workspace / "hitui.toml").read_text() == "# mine\n"
        run = sandbox.hitui("init", "--force")
        assert run.returncode == 0
        assert "(the one before is kept as hitui.toml.before-hitui)" in run.stdout
        assert "[[config]]" in (workspace / "hitui.toml").read_text()
        assert (workspace / "hitui.toml.before-hitui").read_text() == "# mine\n"

    def test_a_link_that_leads_nowhere_is_not_replaced(self, sandbox: Sandbox, workspace: Path) -> None:
        (workspace / "hitui.toml").symlink_to("/nonexistent/settings.toml")
        run = sandbox.hitui("init")
        assert run.returncode == 1
        assert "is there already" in run.stderr
        assert (workspace / "hitui.toml").is_symlink()

    def test_an_empty_folder_says_what_it_could_not_tell(self, sandbox: Sandbox, workspace: Path) -> None:
        shutil.rmtree(workspace)
        workspace.mkdir()
        run = sandbox.hitui("init")
        assert run.returncode == 0
        assert run.stdout.splitlines()[1:] == [
            "  could not tell: where results lie; name their folder as `results`",
            "  could not tell: the question list; name it as `questions`, or no total is known",
            "  could not tell: the dataset; name it as `data`, or no task counts as blocked",
            "  could not tell: which program runs them; add a [runner.NAME]",
        ]
        assert sandbox.json("ls") == []
