"""The demo's workspace is made by ourselves, the same each time, and never written over someone's files."""

from __future__ import annotations

import csv
import errno
import json
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from unittest.mock import Mock

import pytest

from hitui.cli import main
from hitui.demo import gpus, workspace
from hitui.demo.tables import SUFFIXES
from hitui.demo.workspace import ABSENT, create_workspace, has_workspace
from hitui.domain.jobs import Job, JobRequest, JobsSnapshot, Queued
from hitui.errors import WorkspaceError
from hitui.services.jobs import JobsService
from hitui.settings import load_settings
from tests.tools.eventually import eventually


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "workspace"
    create_workspace(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pt" and path.suffix != ".pth"
    }


def test_the_same_seed_makes_the_same_files(demo: Path, tmp_path: Path) -> None:
    create_workspace(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(demo)


def test_its_settings_load(demo: Path) -> None:
    settings = load_settings(demo, demo / "hitui.toml")
    assert {config.runner for config in settings.configs} == {"demo", None}


def test_every_table_stands_in_every_format(demo: Path) -> None:
    names = {
        question["FileName"] for question in json.loads((demo / "data/questions.json").read_text())["queries"]
    }
    assert len(names) > 30
    for table_format, suffix in SUFFIXES.items():
        there = {
            path.stem for path in (demo / "data" / table_format).iterdir() if path.suffix == f".{suffix}"
        }
        absent = set(ABSENT) if table_format in ("html", "json") else set()
        assert there == names - absent, table_format


def test_references_follow_from_the_tables(demo: Path) -> None:
    questions = json.loads((demo / "data/questions.json").read_text())["queries"]
    looked_up = [question for question in questions if question["SubQType"] == "Value-Matching"]
    assert looked_up
    for question in looked_up:
        with (demo / "data/csv" / f"{question['FileName']}.csv").open(newline="") as file:
            _, upper, lower, *rows = list(csv.reader(file))
        asked = question["Question"]
        columns = [
            number
            for number in range(1, 5)
            if f"{upper[number] or upper[number - 1]} {lower[number]} " in asked
        ]
        values = {row[column] for row in rows for column in columns if f"for {row[0]}?" in asked}
        assert values == {question["FinalAnswer"]}


def test_the_workbook_is_one(demo: Path) -> None:
    with zipfile.ZipFile(demo / "data/tables/harbour-table01.xlsx") as archive:
        assert archive.testzip() is None
        trees = {name: ElementTree.fromstring(archive.read(name)) for name in archive.namelist()}
    cells = trees["xl/worksheets/sheet1.xml"].findall(".//{*}c")
    assert len(cells) % 5 == 0
    assert cells[0].findtext(".//{*}t", "").startswith("Goods handled")


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(WorkspaceError, match="no demo"):
        create_workspace(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_what_was_broken_off_is_written_anew(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "workspace"
    with monkeypatch.context() as broken:
        broken.setattr(workspace, "_write_training", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            create_workspace(folder)
    assert not has_workspace(folder)
    create_workspace(folder)
    assert has_workspace(folder)
    assert contents(folder) == contents(demo)


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--no-screen", "--folder", str(tmp_path / name)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"hitui: {tmp_path / name}: the demo cannot be written there: ")
    assert said.endswith("; name another folder with --folder\n")
    assert said.count("\n") == 1


def test_a_workspace_with_active_jobs_is_not_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "workspace"
    create_workspace(folder)
    job = Job(id=3, request=JobRequest(config="demo_text/text_html"), created_at=0.0, state=Queued())
    monkeypatch.setattr(JobsService, "read_once", lambda _: JobsSnapshot(jobs=(job,)))
    (folder / "kept").touch()
    assert main(["demo", "--no-screen", "--fresh", "--folder", str(folder)]) == 1
    assert f"jobs are active in it; `hitui -w {folder} stop 3` first" in capsys.readouterr().err
    assert (folder / "kept").exists()


def test_the_gpus_go_on_after_what_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write(folder: Path, every: object) -> None:
        written.append(folder)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gpus, "_PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(gpus, "write_gpus", write)
    lively = gpus.LivelyGpus(tmp_path / "gpus")
    lively.start()
    eventually(lambda: len(written) > 3)
    lively.close()


def test_a_folder_named_from_here_is_told_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The supervisor works in another folder: by a relative one it would find no GPUs, and start no job."""
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", "")
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--no-screen", "--simulated", "--folder", "here"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/here",
        f"HITUI_SIMULATED_GPUS={tmp_path}/here/.simulated-gpus",
    ]
