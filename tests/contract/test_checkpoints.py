"""What every kind of checkpoint reader promises, each on files of its own kind."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hitui.adapters.checkpoints import KINDS
from hitui.adapters.checkpoints.catalogue import Catalogue, Reading
from hitui.domain.configs import ConfigCondition
from hitui.domain.tasks import TaskStatus
from hitui.settings import CONFIG_KINDS, load_settings
from tests.tools.results import (
    answer,
    append_lines,
    failure,
    write_questions,
    write_results,
    write_trainer_checkpoint,
)

NAME = "group/thing"


def results(folder: Path, done: int) -> None:
    write_results(folder / "checkpoint.json", [*(answer(task) for task in range(done)), failure(8)])


def steps(folder: Path, done: int) -> None:
    write_trainer_checkpoint(folder, done, of=10)


def lines(folder: Path, done: int) -> None:
    (folder / "out.jsonl").unlink(missing_ok=True)
    append_lines(folder / "out.jsonl", [{"id": number} for number in range(done)])


def files(folder: Path, done: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(done):
        (folder / f"{number}.out").write_text("x")


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "realhitbench": results,
    "hf_trainer": steps,
    "line_count": lines,
    "file_set": files,
}
"""Kind → writes what a run leaves that has done so many of ten."""


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    assert request.param in WRITERS, "a new kind needs a writer here"
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / NAME


@pytest.fixture
def catalogue(tmp_path: Path, kind: str) -> Catalogue:
    write_questions(tmp_path / "questions.json", range(10))
    toml = tmp_path / "hitui.toml"
    counted = "total = 10\n" if kind in ("line_count", "file_set") else ""
    toml.write_text(
        '[workspace]\nresults = ["out"]\nquestions = "questions.json"\n'
        f'[[config]]\nname = "{NAME}"\nkind = "{kind}"\n{counted}'
    )
    (tmp_path / "out").mkdir()
    return Catalogue(load_settings(tmp_path, toml))


def read(catalogue: Catalogue) -> Reading:
    return catalogue.read(catalogue.find(NAME))


def test_settings_and_registry_know_the_same_kinds() -> None:
    assert set(CONFIG_KINDS) == set(KINDS)


def test_nothing_there_yet(catalogue: Catalogue) -> None:
    state = read(catalogue).state
    assert state.scanned
    assert (state.done, state.errors, state.updated, state.problems) == (0, 0, None, ())
    assert state.condition in (ConfigCondition.EMPTY, ConfigCondition.UNCOUNTED)


def test_some_done_and_then_more(catalogue: Catalogue, kind: str, folder: Path) -> None:
    WRITERS[kind](folder, 4)
    reading = read(catalogue)
    state = reading.state
    assert (state.total, state.done) == (10, 4)
    assert state.done + state.errors + state.missing + state.blocked == state.total
    assert state.updated is not None
    assert state.source
    assert state.condition is ConfigCondition.PENDING
    assert read(catalogue) is reading
    WRITERS[kind](folder, 6)
    assert catalogue.changed(catalogue.find(NAME))
    assert read(catalogue).state.done == 6


def test_tasks_add_up_to_the_counts(catalogue: Catalogue, kind: str, folder: Path) -> None:
    WRITERS[kind](folder, 4)
    reading = read(catalogue)
    if not reading.tasks:
        assert reading.state.unit != "tasks"
        return
    counted = [sum(task.status is status for task in reading.tasks) for status in TaskStatus]
    state = reading.state
    assert counted == [state.done, state.errors, state.missing, state.blocked]


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b'{"half', b"[[[[", b"\xff\xfe\n\n{}\n"])
def test_rubbish_in_every_file_is_a_state(
    catalogue: Catalogue, kind: str, folder: Path, content: bytes
) -> None:
    WRITERS[kind](folder, 4)
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(content)
    state = read(catalogue).state
    assert state.scanned
    assert all("\n" not in problem for problem in state.problems)
    if state.total is not None:
        assert state.done + state.errors + state.missing + state.blocked == state.total


def test_reading_changes_nothing(catalogue: Catalogue, kind: str, folder: Path, tmp_path: Path) -> None:
    WRITERS[kind](folder, 4)

    def everything() -> dict[str, tuple[int, str]]:
        return {
            str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(tmp_path.rglob("*"))
            if path.is_file()
        }

    before = everything()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    read(catalogue)
    assert everything() == before
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_removed_folder_is_nothing_there(catalogue: Catalogue, kind: str, folder: Path) -> None:
    WRITERS[kind](folder, 4)
    assert read(catalogue).state.done == 4
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    os.rmdir(folder)  # noqa: PTH106
    assert read(catalogue).state.done == 0
