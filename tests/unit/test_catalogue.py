"""Configs as they are read: states, reasons, what was read before, what is declared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.checkpoints import results_file
from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.domain.configs import ConfigCondition
from hitui.domain.tasks import ErrorClass, TaskStatus
from hitui.errors import NoSuchName
from hitui.settings import Settings, load_settings
from tests.tools.results import (
    REPORT,
    answer,
    append_lines,
    counts,
    failure,
    read,
    with_status,
    write_questions,
    write_results,
    write_trainer_checkpoint,
)


def test_states_are_counted_and_listed_alike(workspace: Path, folder: Path) -> None:
    write_results(
        folder / "checkpoint.json", [answer(1, seconds=4), answer(2, seconds=6), failure(3), failure(4)]
    )
    (workspace / "data" / "image" / "table4.png").unlink()
    (workspace / "data" / "html" / "table4.html").unlink()
    (workspace / "data" / "html" / "table5.html").unlink()
    (workspace / "data" / "tables" / "table10.xlsx").unlink()
    (workspace / "data" / "tables" / "table6.xlsx").unlink()
    reading = read(workspace)
    state = reading.state
    assert counts(state) == (2, 1, 4, 3)
    assert (state.total, state.pending, state.condition) == (10, 5, ConfigCondition.PENDING)
    assert state.error_classes == ((ErrorClass.TEXT_TOO_LARGE, 1),)
    assert state.seconds_per_task == 5
    assert state.source == "result/g/mix_html/checkpoint.json"
    assert with_status(reading.tasks, TaskStatus.DONE) == [1, 2]
    assert with_status(reading.tasks, TaskStatus.ERROR) == [3]
    assert with_status(reading.tasks, TaskStatus.MISSING) == [6, 7, 8, 9]
    reasons = {task.id: task.reason for task in reading.tasks if task.status is TaskStatus.BLOCKED}
    assert reasons == {
        4: "missing file: table4.png, table4.html",
        5: "missing file: table5.html",
        10: "missing file: table10.xlsx",
    }


def test_a_blocked_task_becomes_pending_when_its_file_comes(workspace: Path, folder: Path) -> None:
    write_results(folder / "results.json", [answer(task) for task in range(1, 10)])
    workbook = workspace / "data" / "tables" / "table10.xlsx"
    workbook.unlink()
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("mix_html")
    assert counts(catalogue.read(config).state) == (9, 0, 0, 1)
    workbook.touch()
    os.utime(workbook.parent, ns=(1, 1))
    assert catalogue.refresh_inputs()
    assert counts(catalogue.read(config).state) == (9, 0, 1, 0)


def test_what_an_image_a_text_and_a_mix_config_need(workspace: Path) -> None:
    (workspace / "data" / "image" / "table1.png").unlink()
    (workspace / "data" / "csv" / "table2.csv").unlink()
    for name in ("image", "text_csv", "mix_csv", "text_html"):
        write_results(workspace / "result" / "g" / name / "results.json", [answer(9)])
    blocked = {
        name: with_status(read(workspace, f"g/{name}").tasks, TaskStatus.BLOCKED)
        for name in ("image", "text_csv", "mix_csv", "text_html")
    }
    assert blocked == {"image": [1], "text_csv": [2], "mix_csv": [1, 2], "text_html": []}


def test_several_files_are_read_together(workspace: Path, folder: Path) -> None:
    write_results(folder / "results.json", [answer(1), failure(2, "[ERROR] old"), failure(3)], at=2000)
    write_results(folder.with_name("mix_html_shard0") / "checkpoint.json", [failure(1), answer(3)], at=1000)
    write_results(folder.with_name("mix_html_sc") / "results_2.json", [failure(2, "[ERROR] new")], at=3000)
    append_lines(folder / "results.jsonl", [answer(4), failure(1)])
    reading = read(workspace)
    assert with_status(reading.tasks, TaskStatus.DONE) == [1, 3, 4]
    assert [task.reason for task in reading.tasks if task.status is TaskStatus.ERROR] == ["[ERROR] new"]
    assert reading.state.source == "result/g/mix_html/results.jsonl and 3 more"


def test_of_two_errors_the_one_in_the_newer_file_counts_then_by_name(workspace: Path, folder: Path) -> None:
    write_results(folder / "results_1.json", [failure(1, "[ERROR] b"), failure(2, "[ERROR] newer")], at=2000)
    write_results(folder / "results_0.json", [failure(1, "[ERROR] a")], at=2000)
    write_results(folder / "results_9.json", [failure(2, "[ERROR] older")], at=1000)
    reasons = {task.id: task.reason for task in read(workspace).tasks if task.status is TaskStatus.ERROR}
    assert reasons == {1: "[ERROR] b", 2: "[ERROR] newer"}


@pytest.mark.parametrize("listed", [True, False])
def test_the_rung_is_that_of_the_failed_result_that_counts(
    workspace: Path, folder: Path, listed: bool
) -> None:
    if not listed:
        (workspace / "data" / "questions.json").unlink()

    def tried(task: int | str, rung: int) -> dict[str, Any]:
        return {**failure(task), "Recovery": {"rung": rung}}

    write_results(folder / "results_1.json", [tried(1, 1), tried(2, 4), tried(3, 3), tried(5, 2)], at=1000)
    write_results(folder / "results_2.json", [tried(1, 2), failure(2), answer(3)], at=2000)
    write_results(folder / "results_3.json", [tried("4", 3), failure(6)], at=3000)
    rungs = {str(task.id): task.rung for task in read(workspace).tasks if task.status is TaskStatus.ERROR}
    assert rungs == {"1": 2, "2": 4, "4": 3, "5": 2, "6": 0}


def test_nothing_unchanged_is_parsed_twice(
    workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_results(folder / "results_1.json", [answer(1)])
    write_results(folder / "results_2.json", [answer(2)])
    parsed: list[str] = []
    original = results_file.read_results_file
    monkeypatch.setattr(
        results_file, "read_results_file", lambda path: (parsed.append(path), original(path))[1]
    )
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("mix_html")
    first = catalogue.read(config)
    assert catalogue.read(config) is first
    catalogue.refresh()
    assert catalogue.read(config) is first
    assert len(parsed) == 2
    write_results(one, [answer(1), answer(3)])
    assert catalogue.changed(config)
    assert catalogue.read(config).state.done == 3
    assert parsed[2:] == [str(one)]


def test_ids_of_another_type_are_the_same_ids(workspace: Path, folder: Path) -> None:
    write_results(folder / "results.json", [answer("1"), failure("2"), answer("02"), answer(99)])
    reading = read(workspace)
    assert with_status(reading.tasks, TaskStatus.DONE) == [1]
    assert with_status(reading.tasks, TaskStatus.ERROR) == [2]
    assert reading.unknown == (99, "02")
    assert "2 results with ids (99, 02) that questions.json does not have" in reading.state.notes[0]


def test_an_id_of_very_many_digits_is_one_that_the_list_does_not_have(workspace: Path, folder: Path) -> None:
    endless = "9" * 5000
    write_results(folder / "results.json", [answer(1), answer(endless)])
    reading = read(workspace)
    assert with_status(reading.tasks, TaskStatus.DONE) == [1]
    assert reading.unknown == (endless,)
    assert reading.state.notes == (f"1 result with an id ({'9' * 40}…) that questions.json does not have",)


class TestQuestionList:
    def test_ids_that_stand_twice_or_lack_are_named_and_the_first_counts(
        self, workspace: Path, folder: Path
    ) -> None:
        file = workspace / "data" / "questions.json"
        data = json.loads(file.read_text())
        data["queries"] += [
            {**data["queries"][0], "FileName": "elsewhere"},
            {"FileName": "x", "Question": "?"},
        ]
        file.write_text(json.dumps(data))
        write_results(folder / "results.json", [answer(2)])
        catalogue = Catalogue(Settings(root=workspace))
        state = catalogue.read(catalogue.find("mix_html")).state
        assert (state.total, state.blocked) == (10, 0)
        assert len(catalogue.problems) == 2
        assert "data/questions.json: 1 question without an id (number 12)" in catalogue.problems[0]
        assert "data/questions.json: 1 id stands more than once (1)" in catalogue.problems[1]

    def test_a_declared_one_that_is_not_there(self, workspace: Path, folder: Path) -> None:
        write_results(folder / "results.json", [answer(2)])
        toml = workspace / "hitui.toml"
        toml.write_text('[workspace]\nquestions = "data/qestions.json"\n')
        catalogue = Catalogue(load_settings(workspace, toml))
        assert catalogue.read(catalogue.find("mix_html")).state.total is None
        assert f"{workspace}/data/qestions.json: no such file" in catalogue.problems[0]

    @pytest.mark.parametrize("content", ['{"queries": []}', "[]", '{"queries": [{"FileName": "x"}]}'])
    def test_one_without_questions_makes_nothing_whole(
        self, workspace: Path, folder: Path, content: str
    ) -> None:
        write_results(folder / "results.json", [answer(2)])
        (workspace / "data" / "questions.json").write_text(content)
        toml = workspace / "hitui.toml"
        toml.write_text('[workspace]\nquestions = "data/questions.json"\n')
        catalogue = Catalogue(load_settings(workspace, toml))
        state = catalogue.read(catalogue.find("mix_html")).state
        assert (state.total, state.done, state.pending) == (None, 1, 0)
        assert state.condition is ConfigCondition.UNCOUNTED
        (problem,) = catalogue.problems
        assert problem.startswith("data/questions.json: holds no questions")

    def test_one_that_breaks_keeps_what_was_read(self, workspace: Path, folder: Path) -> None:
        write_results(folder / "results.json", [answer(2)])
        catalogue = Catalogue(Settings(root=workspace))
        assert catalogue.questions is not None
        file = workspace / "data" / "questions.json"
        file.write_text(file.read_text()[:-20])
        assert catalogue.refresh_inputs()
        assert catalogue.read(catalogue.find("mix_html")).state.total == 10
        assert "still counts" in catalogue.problems[0]

    def test_a_longer_one_counts_at_once(self, workspace: Path, folder: Path) -> None:
        write_results(folder / "results.json", [answer(2)])
        catalogue = Catalogue(Settings(root=workspace))
        config = catalogue.find("mix_html")
        assert catalogue.read(config).state.total == 10
        write_questions(workspace / "data" / "questions.json", range(1, 13))
        assert catalogue.refresh_inputs()
        assert catalogue.read(config).state.total == 12


def test_an_absent_subfolder_is_said_once(workspace: Path, folder: Path) -> None:
    write_results(folder / "results.json", [answer(1)])
    for file in (workspace / "data" / "image").iterdir():
        file.unlink()
    (workspace / "data" / "image").rmdir()
    catalogue = Catalogue(Settings(root=workspace))
    assert catalogue.read(catalogue.find("mix_html")).state.blocked == 9
    assert [problem.partition(":")[0] for problem in catalogue.problems] == ["data/image"]
    folder.rename(folder.with_name("text_html"))
    # No config needs an image any more.
    assert Catalogue(Settings(root=workspace)).problems == ()


class TestReport:
    """`skip_ids.json` where there are no results."""

    def test_is_read_with_the_dataset_as_it_is_now(self, workspace: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "skip_ids.json").write_text(json.dumps(REPORT))
        reading = read(workspace)
        assert counts(reading.state) == (7, 1, 2, 0)
        assert with_status(reading.tasks, TaskStatus.MISSING) == [4, 5]
        assert reading.state.source == "result/g/mix_html/skip_ids.json"
        (workspace / "data" / "html" / "table4.html").unlink()
        assert counts(read(workspace).state) == (7, 1, 1, 1)

    def test_is_read_by_its_own_words_without_a_question_list(self, tmp_path: Path) -> None:
        folder = tmp_path / "g" / "mix_html"
        folder.mkdir(parents=True)
        (folder / "skip_ids.json").write_text(json.dumps(REPORT))
        reading = read(tmp_path)
        assert counts(reading.state) == (7, 1, 1, 1)
        assert reading.state.total == 10
        assert {task.id: task.reason for task in reading.tasks}[4] == "missing file: table4.html"

    def test_with_ids_as_text_counts_the_same(self, workspace: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        as_text = {**REPORT, "skip_ids": ["4", "5"], "error_ids": ["6"]}
        (folder / "skip_ids.json").write_text(json.dumps(as_text))
        reading = read(workspace)
        assert counts(reading.state) == (7, 1, 2, 0)
        assert with_status(reading.tasks, TaskStatus.MISSING) == [4, 5]
        assert with_status(reading.tasks, TaskStatus.ERROR) == [6]
        assert reading.state.notes == ()

    def test_on_another_number_of_tasks_is_noted(self, workspace: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        shorter = {**REPORT, "statistics": {**REPORT["statistics"], "total_tasks": 8}}
        (folder / "skip_ids.json").write_text(json.dumps(shorter))
        (note,) = read(workspace).state.notes
        assert note.startswith("result/g/mix_html/skip_ids.json was made of 8 tasks, questions.json has 10")

    def test_does_not_count_beside_results(self, workspace: Path, folder: Path) -> None:
        write_results(folder / "results.json", [answer(1)])
        (folder / "skip_ids.json").write_text(json.dumps(REPORT))
        assert read(workspace).state.done == 1


class TestFind:
    @pytest.fixture
    def catalogue(self, tmp_path: Path) -> Catalogue:
        for name in ("a/text_html", "a/text_csv", "b/text_csv"):
            write_results(tmp_path / name / "results.json", [answer(1)])
        return Catalogue(Settings(root=tmp_path))

    def test_by_name_by_its_end_and_by_folder(self, catalogue: Catalogue) -> None:
        assert catalogue.find("a/text_html").name == "a/text_html"
        assert catalogue.find("text_html").name == "a/text_html"
        assert catalogue.find(catalogue.configs[0].output).name == catalogue.configs[0].name

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("text_csv", "several configs end in it (a/text_csv, b/text_csv)"),
            ("a/text_htlm", "did you mean a/text_html?"),
            ("tex_html", "did you mean a/text_html?"),
            ("_html", "no such config"),
            ("zzz", "`hitui ls` lists them"),
        ],
    )
    def test_refusals_name_the_nearest(self, catalogue: Catalogue, name: str, said: str) -> None:
        with pytest.raises(NoSuchName) as refused:
            catalogue.find(name)
        assert said in str(refused.value)

    def test_a_name_that_ends_so_is_nearer_than_one_with_such_letters(self, tmp_path: Path) -> None:
        for name in ("new/text_csv", "old/Some-8B-Instruct_text_csv_cut"):
            write_results(tmp_path / name / "results.json", [answer(1)])
        with pytest.raises(NoSuchName, match="did you mean old/Some-8B-Instruct_text_csv_cut"):
            Catalogue(Settings(root=tmp_path)).find("text_csv_cut")

    def test_a_link_to_itself_is_no_config(
        self, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "around").symlink_to("around")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(NoSuchName, match="around: no such config"):
            catalogue.find("around")

    def test_names_are_looked_up_from_a_folder_that_is_gone(
        self, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(NoSuchName, match="zzz: no such config"):
            catalogue.find("zzz")


class TestDeclared:
    def load(self, workspace: Path, text: str) -> Catalogue:
        file = workspace / "hitui.toml"
        file.write_text(text)
        return Catalogue(load_settings(workspace, file))

    def test_what_answers_no_questions_has_no_modality_by_its_name(self, workspace: Path) -> None:
        catalogue = self.load(
            workspace,
            '[[config]]\nname = "image/mix_html"\nkind = "line_count"\n'
            '[[config]]\nname = "g/text_csv"\nkind = "hf_trainer"\n',
        )
        for config in catalogue.configs:
            assert (config.modality, config.table_format) == (None, None)

    def test_joins_the_discovered_one_of_its_name(self, workspace: Path, folder: Path) -> None:
        write_results(folder / "results.json", [answer(1)])
        catalogue = self.load(
            workspace,
            '[runner.d]\nengine = "demo"\n[[config]]\nname = "g/mix_html"\nmodality = "text"\nformat = "csv"\n',
        )
        (config,) = catalogue.configs
        assert (config.declared, config.modality, config.table_format) == (True, "text", "csv")
        assert (config.output, config.runner) == (str(folder), "d")

    @pytest.mark.parametrize(
        ("head", "runner"),
        [
            ("", None),
            ('[runner.d]\nengine = "demo"\n', "d"),
            ('[runner.d]\nengine = "demo"\n[runner.e]\nengine = "demo"\n', None),
            ('[workspace]\nrunner = "e"\n[runner.d]\nengine = "demo"\n[runner.e]\nengine = "demo"\n', "e"),
        ],
    )
    def test_what_was_discovered_is_run_by_the_runner_of_the_workspace(
        self, workspace: Path, folder: Path, head: str, runner: str | None
    ) -> None:
        write_results(folder / "results.json", [answer(1)])
        write_trainer_checkpoint(workspace / "runs" / "translator", 50)
        catalogue = self.load(workspace, head)
        found = {config.name: config.runner for config in catalogue.configs}
        assert found == {"g/mix_html": runner, "runs/translator": None}

    def test_makes_a_row_of_its_own_where_nothing_is_yet(self, workspace: Path) -> None:
        (workspace / "result").mkdir()
        catalogue = self.load(
            workspace,
            '[workspace]\nresults = ["result"]\n[matrix.m]\nmodality = ["text"]\nformat = ["csv"]\n',
        )
        (config,) = catalogue.configs
        assert config.output == str(workspace / "result" / "m" / "text_csv")
        state = catalogue.read(config).state
        assert (state.condition, state.missing) == (ConfigCondition.EMPTY, 10)

    def test_reads_more_folders_which_are_then_no_rows_of_their_own(
        self, workspace: Path, folder: Path
    ) -> None:
        write_results(folder / "results.json", [answer(1), failure(2)])
        rerun = workspace / "reruns" / "mix_html_truncate"
        write_results(rerun / "checkpoint.json", [answer(2)])
        catalogue = self.load(
            workspace,
            '[[config]]\nname = "mine"\noutput = "result/g/mix_html"\nfolders = ["reruns/mix_html_truncate"]\n',
        )
        (config,) = catalogue.configs
        assert config.folders == (str(folder), str(rerun))
        assert catalogue.read(config).state.done == 2

    def test_a_folder_that_is_reached_by_a_link_is_the_discovered_one(
        self, workspace: Path, folder: Path
    ) -> None:
        write_results(folder / "results.json", [answer(1), answer(2)])
        rerun = workspace / "result" / "g" / "rerun_html"
        write_results(rerun / "results.json", [answer(3)])
        (workspace / "link").symlink_to(folder.parent)
        catalogue = self.load(
            workspace,
            '[[config]]\nname = "mine"\noutput = "link/mix_html"\nfolders = ["link/rerun_html"]\n',
        )
        (config,) = catalogue.configs
        assert (config.name, config.modality, config.table_format) == ("mine", "mix", "html")
        assert (config.output, config.folders) == (str(folder), (str(folder), str(rerun)))
        assert set(config.folders) <= set(map(str, catalogue.folders))
        assert catalogue.read(config).state.done == 3
