"""The live configs: rows fill in, changes come, nothing unchanged is read again."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hitui.adapters.checkpoints import results_file
from hitui.adapters.files import watch
from hitui.domain.configs import ConfigState
from hitui.services.workspace import WorkspaceService, WorkspaceSnapshot
from hitui.settings import Settings
from tests.tools.eventually import eventually
from tests.tools.results import answer, append_lines, failure, write_dataset, write_questions, write_results


class Screen:
    """Takes snapshots as a screen would."""

    def __init__(self) -> None:
        self.snapshots: list[WorkspaceSnapshot] = []

    def __call__(self, snapshot: WorkspaceSnapshot) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.snapshots.append(snapshot)

    @property
    def last(self) -> WorkspaceSnapshot:
        return self.snapshots[-1] if self.snapshots else WorkspaceSnapshot()

    def state(self, name: str) -> ConfigState | None:
        return next((state for state in self.last.configs if state.name == name), None)

    def wait_for(self, name: str, condition: Callable[[ConfigState], bool]) -> ConfigState:
        def ready() -> ConfigState | None:
            state = self.state(name)
            return state if state is not None and condition(state) else None

        state = eventually(ready, f"{name}: {self.state(name)}")
        assert state is not None
        return state


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    write_questions(tmp_path / "data" / "questions.json", range(1, 6))
    write_dataset(tmp_path / "data", [f"table{number}" for number in range(1, 6)])
    for number in range(8):
        write_results(
            tmp_path / "result" / "g" / f"text_html_{number}" / "results.json", [answer(1), failure(2)]
        )
    return tmp_path


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def service(workspace: Path, screen: Screen) -> Iterator[WorkspaceService]:
    service = WorkspaceService(Settings(root=workspace))
    service.start(screen)
    eventually(lambda: screen.snapshots and not screen.last.scanning)
    yield service
    service.close()


def test_rows_are_there_before_they_are_read(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    original = results_file.read_results_file

    def waiting(path: Path) -> object:
        assert gate.wait(20)
        return original(path)

    monkeypatch.setattr(results_file, "read_results_file", waiting)
    screen = Screen()
    service = WorkspaceService(Settings(root=workspace))
    service.start(screen)
    eventually(lambda: screen.snapshots)
    assert screen.last.scanning
    assert [state.scanned for state in screen.last.configs] == [False] * 8
    gate.set()
    eventually(lambda: not screen.last.scanning)
    assert all(state.done == 1 for state in screen.last.configs)
    service.close()


@pytest.mark.usefixtures("service")
def test_an_answer_that_is_appended_shows(workspace: Path, screen: Screen) -> None:
    append_lines(workspace / "result" / "g" / "text_html_3" / "results.jsonl", [answer(2), answer(3)])
    state = screen.wait_for("g/text_html_3", lambda state: state.done == 3)
    assert state.errors == 0


@pytest.mark.usefixtures("service")
def test_a_replaced_checkpoint_shows_and_only_it_is_read(
    workspace: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = results_file.read_results_file
    monkeypatch.setattr(
        results_file, "read_results_file", lambda path: (read.append(path), original(path))[1]
    )
    path = workspace / "result" / "g" / "text_html_5" / "results.json"
    part = write_results(path.with_name("part"), [answer(1), answer(2), answer(3), answer(4)])
    part.replace(path)
    screen.wait_for("g/text_html_5", lambda state: state.done == 4)
    assert set(read) == {str(path)}


@pytest.mark.usefixtures("service")
def test_new_and_removed_configs(workspace: Path, screen: Screen) -> None:
    write_results(workspace / "result" / "h" / "mix_csv" / "checkpoint.json", [answer(1), answer(2)])
    screen.wait_for("h/mix_csv", lambda state: state.done == 2)
    shutil.rmtree(workspace / "result" / "g" / "text_html_0")
    eventually(lambda: screen.state("g/text_html_0") is None)


@pytest.mark.usefixtures("service")
def test_a_question_list_and_a_dataset_that_change(workspace: Path, screen: Screen) -> None:
    write_questions(workspace / "data" / "questions.json", range(1, 8))
    # Tables 6 and 7 are not there.
    state = screen.wait_for("g/text_html_1", lambda state: state.total == 7)
    assert (state.missing, state.blocked) == (3, 2)
    (workspace / "data" / "html" / "table6.html").touch()
    state = screen.wait_for("g/text_html_1", lambda state: state.blocked == 1)
    assert state.missing == 4


@pytest.mark.usefixtures("service")
def test_a_half_written_file_keeps_the_row(workspace: Path, screen: Screen) -> None:
    path = workspace / "result" / "g" / "text_html_2" / "results.json"
    path.write_text(path.read_text()[:-30])
    state = screen.wait_for("g/text_html_2", lambda state: bool(state.problems))
    assert (state.done, state.errors) == (1, 1)


def test_a_rescan_finds_what_no_event_told(
    workspace: Path, screen: Screen, service: WorkspaceService
) -> None:
    assert service._watcher is not None
    service._watcher.close()
    append_lines(workspace / "result" / "g" / "text_html_3" / "results.jsonl", [answer(2)])
    service.rescan()
    screen.wait_for("g/text_html_3", lambda state: state.done == 2)


def test_a_reader_that_breaks_is_a_problem_of_one_row(
    workspace: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = results_file.read_results_file

    def broken(path: str) -> object:
        if "/text_html_4/" in path:
            raise ZeroDivisionError("a defect")
        return original(path)

    monkeypatch.setattr(results_file, "read_results_file", broken)
    service = WorkspaceService(Settings(root=workspace))
    service.start(screen)
    eventually(lambda: screen.snapshots and not screen.last.scanning)
    state = screen.wait_for("g/text_html_4", lambda state: state.scanned)
    assert "ZeroDivisionError: a defect" in state.problems[0]
    assert sum(state.done for state in screen.last.configs) == 7
    service.close()


def test_an_empty_workspace_is_scanned_at_once(tmp_path: Path, screen: Screen) -> None:
    service = WorkspaceService(Settings(root=tmp_path))
    service.start(screen)
    eventually(lambda: screen.snapshots and not screen.last.scanning)
    assert screen.last.configs == ()
    service.close()


def test_scan_once_and_tasks(workspace: Path) -> None:
    service = WorkspaceService(Settings(root=workspace))
    snapshot = service.scan_once()
    assert not snapshot.scanning
    assert len(snapshot.configs) == 8
    assert [task.id for task in service.tasks("text_html_7") if task.pending] == [2, 3, 4, 5]
    assert os.listdir(workspace / "result" / "g" / "text_html_7") == ["results.json"]  # noqa: PTH208


@pytest.mark.timeout(20)
def test_a_fault_of_our_own_is_told_and_not_waited_for(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that reads ended, and the rows that it had taken were waited for without an end."""
    service = WorkspaceService(Settings(root=workspace))

    def broken(config: object) -> object:
        raise AttributeError("no such thing")

    monkeypatch.setattr(service.catalogue, "read", broken)
    with pytest.raises(AttributeError, match="no such thing"):
        service.scan_once()


def test_a_disk_that_fails_unforeseen_is_said_and_the_thread_goes_on(
    workspace: Path, screen: Screen, service: WorkspaceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh = service.catalogue.refresh

    for error, said in (
        (
            OSError(5, "Input/output error", str(workspace)),
            f"{workspace}: Input/output error; looked at again",
        ),
        (ValueError("not foreseen"), f"{workspace}: ValueError: not foreseen; looked at again"),
    ):

        def failing(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(service.catalogue, "refresh", failing)
        service.rescan()
        eventually(lambda said=said: any(said in problem for problem in screen.last.problems))
        assert len(screen.last.configs) == 8
        monkeypatch.setattr(service.catalogue, "refresh", refresh)
        service.rescan()
        eventually(lambda: not screen.last.problems)


def test_changes_come_by_looking_where_inotify_is_blind(
    workspace: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "inotify_sees", lambda path: False)
    service = WorkspaceService(Settings(root=workspace))
    service.start(screen)
    eventually(lambda: screen.snapshots and not screen.last.scanning)
    append_lines(workspace / "result" / "g" / "text_html_3" / "results.jsonl", [answer(2)])
    screen.wait_for("g/text_html_3", lambda state: state.done == 2)
    write_results(workspace / "result" / "h" / "mix_csv" / "checkpoint.json", [answer(1)])
    screen.wait_for("h/mix_csv", lambda state: state.done == 1)
    service.close()


def test_a_workspace_that_goes_keeps_its_rows_and_is_watched_again_when_one_is_there(
    workspace: Path,
    screen: Screen,
    service: WorkspaceService,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def rows() -> list[tuple[str, int | None, int, int]]:
        return [(state.name, state.total, state.done, state.errors) for state in screen.last.configs]

    before = rows()
    aside = tmp_path_factory.mktemp("aside") / "workspace"
    results = "result/g/text_html_3/results.jsonl"
    for number, put_back in enumerate((aside.rename, lambda there: shutil.copytree(aside, there))):
        workspace.rename(aside)
        eventually(lambda: any(str(workspace) in problem for problem in screen.last.problems))
        eventually(lambda: all(state.problems for state in screen.last.configs))
        assert rows() == before
        put_back(workspace)
        eventually(lambda: not screen.last.problems)
        screen.wait_for("g/text_html_3", lambda state: not state.problems)
        assert rows() == before
        append_lines(workspace / results, [answer(3 + number)])
        screen.wait_for("g/text_html_3", lambda state, done=2 + number: state.done == done)  # type: ignore[misc]
        before = rows()
    # The contents alone replaced by a fresh copy.
    for entry in workspace.iterdir():
        shutil.rmtree(entry)
    shutil.copytree(aside, workspace, dirs_exist_ok=True)
    screen.wait_for("g/text_html_3", lambda state: state.done == 2 and state.total == 5)
    append_lines(workspace / results, [answer(5)])
    screen.wait_for("g/text_html_3", lambda state: state.done == 3)
    assert service.latest.problems == ()
