"""What cannot be read, or is no longer there: it is named, and what was read before goes on to count."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters.checkpoints import results_file
from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.adapters.checkpoints.realhitbench import RealHiTBenchReader
from hitui.domain.configs import ConfigCondition
from hitui.settings import Settings, load_settings
from tests.tools.results import (
    REPORT,
    answer,
    append_lines,
    counts,
    failure,
    read,
    write_questions,
    write_results,
)


@pytest.mark.parametrize("content", ["", '{"results": [{"id": 1, "Predi', '{"results": 3}'])
def test_a_file_that_breaks_keeps_what_was_read_of_it(workspace: Path, folder: Path, content: str) -> None:
    path = write_results(folder / "checkpoint.json", [answer(1), answer(2)])
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("mix_html")
    assert catalogue.read(config).state.done == 2
    path.write_text(content)
    state = catalogue.read(config).state
    assert state.done == 2
    (problem,) = state.problems
    assert problem.startswith("result/g/mix_html/checkpoint.json: ")
    assert "what was read of it before still counts" in problem
    write_results(path, [answer(1), answer(2), answer(3)])
    state = catalogue.read(config).state
    assert (state.done, state.problems) == (3, ())


def test_a_broken_file_does_not_hide_the_others(workspace: Path, folder: Path) -> None:
    write_results(folder / "results.json", [answer(1)])
    (folder / "checkpoint.json").write_text('{"results": [')
    state = read(workspace).state
    assert state.done == 1
    assert len(state.problems) == 1


def test_where_nothing_can_be_read_nothing_is_pending(workspace: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text('{"results": [{"id": 1')
    reading = read(workspace)
    assert reading.state.condition is ConfigCondition.UNREADABLE
    assert reading.state.pending == 0
    assert reading.tasks == ()


def test_a_json_text_with_the_name_of_a_journal_holds_its_config_back(workspace: Path, folder: Path) -> None:
    write_results(folder / "results.jsonl", [answer(1), answer(2)])
    state = read(workspace).state
    (problem,) = state.problems
    assert problem.startswith("result/g/mix_html/results.jsonl: is no journal")
    assert (state.pending, state.hides_answers) == (0, True)


def test_a_reader_that_breaks_holds_its_config_back_until_it_reads_again(
    workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(folder / "results.json", [answer(1)])
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("mix_html")

    def broken(*_: object) -> object:
        raise ZeroDivisionError("a defect\nof two lines")

    with monkeypatch.context() as patch:
        patch.setattr(results_file, "read_results_file", broken)
        state = catalogue.read(config).state
        assert (state.done, state.pending, state.hides_answers) == (0, 0, True)
        assert catalogue.changed(config)
        patch.setattr(RealHiTBenchReader, "fingerprint", broken)
        assert catalogue.changed(config)
        (problem,) = catalogue.read(config).state.problems
        assert problem == (
            "g/mix_html: cannot be read: the reader realhitbench failed: "
            "ZeroDivisionError: a defect of two lines; it is tried again, no run starts meanwhile"
        )
    assert catalogue.read(config).state.done == 1
    assert not catalogue.changed(config)


def test_one_of_two_results_folders_that_goes_takes_no_answers_of_a_config_with_it(workspace: Path) -> None:
    write_results(workspace / "one" / "g" / "mix_html" / "results.json", [answer(1)])
    write_results(workspace / "two" / "g" / "rerun" / "results.json", [answer(2)])
    toml = workspace / "hitui.toml"
    toml.write_text(
        '[workspace]\nresults = ["one", "two"]\n'
        '[[config]]\nname = "mine"\noutput = "one/g/mix_html"\nfolders = ["two/g/rerun"]\n'
    )
    catalogue = Catalogue(load_settings(workspace, toml))
    config = catalogue.find("mine")
    assert catalogue.read(config).state.done == 2
    (workspace / "two").rename(workspace / "gone")
    state = catalogue.read(config).state
    assert (state.done, state.hides_answers) == (2, True)
    assert state.problems[0].startswith(f"{workspace}/two: is not there any more")


def dangle(path: Path) -> None:
    path.symlink_to("/nonexistent/mount/results.json")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        # Names of sockets may be only 107 bytes long.
        os.chdir(path.parent)
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


NO_FILES = [
    (dangle, "is a link to /nonexistent/mount/results.json, which is not there"),
    (loop, "is a link to results.json, Too many levels of symbolic links"),
    (Path.mkdir, "is a folder with the name of a results file"),
    (os.mkfifo, "is a pipe (FIFO) with the name of a results file"),
    (listen, "is a socket with the name of a results file"),
]


@pytest.mark.parametrize("with_report", [False, True])
@pytest.mark.parametrize(("take", "said"), NO_FILES)
def test_what_has_the_name_of_a_results_file_and_is_none_holds_its_config_back(
    workspace: Path, folder: Path, take: Callable[[Path], object], said: str, with_report: bool
) -> None:
    folder.mkdir(parents=True)
    take(folder / "results.json")
    if with_report:
        (folder / "skip_ids.json").write_text(json.dumps(REPORT))
    state = read(workspace).state
    (problem,) = state.problems
    assert problem.startswith(f"result/g/mix_html/results.json: {said}")
    assert state.unread_files == 1
    assert state.hides_answers
    assert with_report or state.condition is ConfigCondition.UNREADABLE


def test_what_holds_a_config_back_is_the_first_of_its_problems(workspace: Path, folder: Path) -> None:
    """Refusals name the first one."""
    write_results(folder / "results_1.json", [{"id": 1}, answer(2)], at=100)
    (folder / "results_2.json").write_text("")
    state = read(workspace).state
    assert state.hides_answers
    assert state.problems[0].startswith("result/g/mix_html/results_2.json: is empty")
    assert "without Prediction" in state.problems[1]


@pytest.mark.parametrize(("take", "said"), NO_FILES)
def test_what_takes_the_place_of_a_results_file_keeps_what_was_read_of_it(
    workspace: Path, folder: Path, take: Callable[[Path], object], said: str
) -> None:
    path = write_results(folder / "results.json", [answer(1), answer(2)])
    write_results(folder / "checkpoint.json", [answer(3)])
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("mix_html")
    assert catalogue.read(config).state.done == 3
    path.rename(folder / "aside")
    take(path)
    assert catalogue.changed(config)
    state = catalogue.read(config).state
    (problem,) = state.problems
    assert problem.startswith(f"result/g/mix_html/results.json: {said}")
    assert problem.endswith("(what was read of it before still counts)")
    assert (state.done, state.unread_files) == (3, 0)
    path.rmdir() if path.is_dir() else path.unlink()
    (folder / "aside").rename(path)
    state = catalogue.read(config).state
    assert (state.done, state.problems) == (3, ())


def test_what_was_read_before_does_not_count_more_than_what_came_later(workspace: Path, folder: Path) -> None:
    path = write_results(folder / "results.json", [failure(1, "[ERROR] early")])
    os.utime(path, (1e9, 1e9))
    write_results(folder / "checkpoint.json", [failure(1, "[ERROR] late")])
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("mix_html")
    assert catalogue.read(config).tasks[0].reason == "[ERROR] late"
    path.unlink()
    path.mkdir()
    reading = catalogue.read(config)
    assert (reading.state.unread_files, reading.tasks[0].reason) == (0, "[ERROR] late")


def test_a_report_that_is_a_pipe_is_not_waited_for(workspace: Path, folder: Path) -> None:
    write_results(folder / "results.json", [answer(1)])
    os.mkfifo(folder / "skip_ids.json")
    assert read(workspace).state.done == 1


def test_a_folder_that_can_no_longer_be_listed_keeps_what_was_read(
    workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(folder / "results.json", [answer(1), answer(2)])
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("mix_html")
    assert catalogue.read(config).state.done == 2
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    catalogue.refresh()
    assert [found.name for found in catalogue.configs] == ["g/mix_html"]
    state = catalogue.read(config).state
    assert state.done == 2
    assert state.problems == ("result/g/mix_html: cannot be listed: Permission denied; make it readable",)


class TestLoss:
    """Of a folder or file that all rows depend on: what was read of it goes on to count."""

    SETTINGS = (
        '[workspace]\nresults = ["result"]\nquestions = "data/questions.json"\ndata = "data"\n'
        '[[config]]\nname = "g/mix_html"\n'
    )

    @pytest.fixture
    def aside(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("aside") / "workspace"

    @pytest.fixture(params=["declared", "discovered"])
    def catalogue(self, request: pytest.FixtureRequest, workspace: Path, folder: Path) -> Catalogue:
        write_results(folder / "results.json", [answer(1), failure(2)], config={"modality": "mix_html"})
        write_results(folder.with_name("image") / "checkpoint.json", [answer(3)])
        (workspace / "data" / "html" / "table9.html").unlink()
        toml = workspace / "hitui.toml"
        if request.param == "declared":
            toml.write_text(self.SETTINGS)
        settings = load_settings(workspace, toml) if toml.exists() else Settings(root=workspace)
        catalogue = Catalogue(settings)
        assert [config.name for config in catalogue.configs] == ["g/image", "g/mix_html"]
        for config in catalogue.configs:
            catalogue.read(config)
        return catalogue

    # Of discovered results the folder `result` is named nowhere: it may be removed like any other.
    @pytest.mark.parametrize(
        ("catalogue", "lost"),
        [("declared", lost) for lost in (".", "result", "data", "data/questions.json")]
        + [("discovered", lost) for lost in (".", "data", "data/questions.json")],
        indirect=["catalogue"],
    )
    def test_keeps_counts_and_is_named_until_it_is_back(
        self, catalogue: Catalogue, workspace: Path, aside: Path, lost: str
    ) -> None:
        configs = catalogue.configs
        path = workspace / lost
        path.rename(aside)
        for refresh in (catalogue.refresh_inputs, catalogue.refresh, catalogue.refresh):
            refresh()
            assert catalogue.configs == configs
            state = catalogue.read(catalogue.find("mix_html")).state
            assert counts(state) == (1, 1, 7, 1)
            assert counts(catalogue.read(catalogue.find("image")).state) == (1, 0, 9, 0)
        assert any(
            problem.startswith((f"{path}: ", f"{lost}: ")) and "still count" in problem
            for problem in catalogue.problems
        )
        assert not catalogue.refresh_inputs()
        assert not catalogue.roots_changed()
        # Where results are written cannot be written to either.
        assert state.hides_answers is (lost in (".", "result"))
        aside.rename(path)
        if lost in (".", "result"):
            assert catalogue.roots_changed()
        else:
            assert catalogue.refresh_inputs()
        catalogue.refresh()
        state = catalogue.read(catalogue.find("mix_html")).state
        assert (counts(state), state.problems, state.hides_answers) == ((1, 1, 7, 1), (), False)
        assert catalogue.problems == ()

    def test_what_lies_in_the_workspace_outside_the_results_folders_keeps_its_counts(
        self, workspace: Path, aside: Path
    ) -> None:
        (workspace / "result").mkdir()
        append_lines(workspace / "runs" / "out.jsonl", [answer(1), answer(2)])
        toml = workspace / "hitui.toml"
        toml.write_text(f'{self.SETTINGS}[[config]]\nname = "lines"\nkind = "line_count"\noutput = "runs"\n')
        catalogue = Catalogue(load_settings(workspace, toml))
        assert catalogue.read(catalogue.find("lines")).state.done == 2
        workspace.rename(aside)
        catalogue.refresh()
        state = catalogue.read(catalogue.find("lines")).state
        assert state.done == 2
        assert str(workspace) in state.problems[0]

    def test_a_copy_in_its_place_is_read(self, catalogue: Catalogue, workspace: Path, aside: Path) -> None:
        workspace.rename(aside)
        catalogue.refresh()
        shutil.copytree(aside, workspace)
        write_results(workspace / "result" / "g" / "mix_html" / "results.json", [answer(4), answer(5)])
        catalogue.refresh()
        assert counts(catalogue.read(catalogue.find("mix_html")).state) == (2, 0, 7, 1)

    def test_a_config_that_was_removed_before_does_not_come_back(
        self, catalogue: Catalogue, workspace: Path, aside: Path
    ) -> None:
        shutil.rmtree(workspace / "result" / "g" / "image")
        catalogue.refresh()
        assert [config.name for config in catalogue.configs] == ["g/mix_html"]
        workspace.rename(aside)
        catalogue.refresh()
        assert [config.name for config in catalogue.configs] == ["g/mix_html"]

    def test_what_was_never_read_is_held_back(self, workspace: Path, folder: Path, aside: Path) -> None:
        write_results(folder / "results.json", [answer(1)])
        catalogue = Catalogue(Settings(root=workspace))
        config = catalogue.find("mix_html")
        workspace.rename(aside)
        state = catalogue.read(config).state
        assert state.condition is ConfigCondition.UNREADABLE
        assert state.hides_answers
        assert str(workspace) in state.problems[0]

    def test_a_renamed_question_list_counts_and_another_one_does_not(
        self, workspace: Path, folder: Path
    ) -> None:
        write_results(folder / "results.json", [answer(1)])
        catalogue = Catalogue(Settings(root=workspace))
        config = catalogue.find("mix_html")
        assert catalogue.read(config).state.total == 10
        used = workspace / "data" / "questions.json"
        used.rename(workspace / "data" / "kept")
        other = write_questions(workspace / "data" / "other.json", range(1, 4))
        catalogue.refresh()
        assert catalogue.read(config).state.total == 10
        other.unlink()
        (workspace / "data" / "kept").rename(workspace / "data" / "renamed.json")
        catalogue.refresh()
        assert catalogue.questions_file == workspace / "data" / "renamed.json"
        assert catalogue.problems == ()
