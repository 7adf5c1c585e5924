"""Of several results of a task the later one counts, for the runner and for the dashboard, and goes on to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench import known as known_module
from hitui_runners.realhitbench import store as store_module
from hitui_runners.realhitbench.rescoring import Notes
from hitui_runners.realhitbench.results import Result, Unreadable, load_results
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.realhitbench.units import Unit, results_of

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.services.merging import merge_results
from hitui.services.rollback import roll_back
from hitui.settings import Settings
from tests.tools.results import (
    NO_ANSWER,
    TOO_LARGE,
    answer,
    append_lines,
    failure,
    write_results,
    write_workspace,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "workspace")


@pytest.fixture
def output(workspace: Path) -> Path:
    return workspace / "result" / "g" / "text_html"


def journal(folder: Path, *results: Any, at: float) -> Path:
    path = append_lines(folder / "results.jsonl", results)
    os.utime(path, (at, at))
    return path


def opened(output: Path) -> ResultStore:
    folders = sorted(folder for folder in output.parent.glob(f"{output.name}_*") if folder.is_dir())
    return ResultStore(output, pytest.fail, folders)


def run(output: Path, *results: Any, snapshot: bool) -> None:
    """A run that gives these results; without a snapshot it is killed."""
    store = opened(output)
    for result in results:
        store.append(result)
    if snapshot:
        store.save_snapshot()
    store.close()


def told(workspace: Path, output: Path, task: int) -> dict[str, object]:
    """The `Prediction` of a task that counts, by each that says so."""
    catalogue = Catalogue(Settings(root=workspace))
    config = catalogue.find("g/text_html")
    merged = workspace / "merged.json"
    merge_results(catalogue.read(config), merged)
    files = tuple(
        path for folder in config.folders for path in Path(folder).glob("*.json*") if path.is_file()
    )
    unit = Unit("all", tuple(sorted(files, key=lambda path: path.stat().st_mtime_ns)), output / "scores.json")
    scored = results_of(unit, Notes(), pytest.fail, pytest.fail)
    assert scored is not None
    store = opened(output)
    result = store.result(task)
    store.close()
    assert result is not None
    return {
        "merged": {result["id"]: result for result in load_results(merged, pytest.fail)[0]}[task][
            "Prediction"
        ],
        "scored": {result["id"]: result for result in scored[0]}[task]["Prediction"],
        "runner": result["Prediction"],
    }


def all_say(prediction: str) -> dict[str, object]:
    return dict.fromkeys(("merged", "scored", "runner"), prediction)


@pytest.mark.parametrize("name", ["results_new.json", "checkpoint.json"])
def test_what_another_program_writes_after_our_run_counts_and_goes_on_to(
    workspace: Path, output: Path, name: str
) -> None:
    journal(output, answer(3, "ours"), answer(4, "ours"), at=1e9)
    write_results(output / name, [answer(3, "theirs")], at=1e9 + 1)
    assert told(workspace, output, 3) == all_say("theirs")

    run(output, answer(6), snapshot=False)
    assert told(workspace, output, 3) == all_say("theirs")
    assert told(workspace, output, 4) == all_say("ours")
    assert [path.name for path in output.glob("*.jsonl")].count("results.older-1.jsonl") == 1

    run(output, answer(7), snapshot=True)
    assert told(workspace, output, 3) == all_say("theirs")
    catalogue = Catalogue(Settings(root=workspace))
    roll_back(catalogue.find("g/text_html"))
    assert list(output.glob("*.jsonl")) == []
    assert told(workspace, output, 3) == all_say("theirs")


def test_a_journal_whose_results_count_is_not_set_aside(output: Path) -> None:
    journal(output, answer(3, "ours"), {**answer(4), "Metrics": {"F1": float("nan")}}, at=1e9)
    # Of other tasks, failed ones of these, and what a snapshot of ours says once more.
    write_results(output / "results_new.json", [answer(6), failure(3, NO_ANSWER)], at=1e9 + 1)
    run(output, answer(7), snapshot=True)
    run(output, answer(5), snapshot=True)
    assert [path.name for path in output.glob("*.jsonl")] == ["results.jsonl"]
    assert [json.loads(line)["id"] for line in (output / "results.jsonl").read_bytes().splitlines()] == [
        3,
        4,
        7,
        5,
    ]


def test_a_later_error_of_a_failed_task_counts_on(workspace: Path, output: Path) -> None:
    journal(output, failure(6, "[ERROR] ours"), at=1e9)
    write_results(output / "results_new.json", [failure(6, "[ERROR] theirs")], at=1e9 + 1)
    run(output, answer(7), snapshot=False)
    assert told(workspace, output, 6) == all_say("[ERROR] theirs")


def test_where_no_second_name_can_be_given_it_is_renamed(
    workspace: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(output, answer(3, "ours"), at=1e9)
    write_results(output / "results_new.json", [answer(3, "theirs")], at=1e9 + 1)

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    run(output, answer(6), snapshot=False)
    assert told(workspace, output, 3) == all_say("theirs")
    assert json.loads((output / "results.jsonl").read_text()) == answer(6)


def test_where_it_cannot_be_set_aside_nothing_is_stored_and_nothing_lost(
    workspace: Path, output: Path
) -> None:
    journal(output, answer(3, "ours"), answer(4, "ours"), at=1e9)
    write_results(output / "results_new.json", [answer(3, "theirs")], at=1e9 + 1)
    (output / ".results.jsonl.hitui-part").mkdir()
    store = ResultStore(output, pytest.fail)
    with pytest.raises(
        store_module.RunnerError, match=r"/results\.jsonl: cannot be set aside as results\.older"
    ):
        store.append(answer(6))
    store.close()
    assert told(workspace, output, 3) == all_say("theirs")
    assert told(workspace, output, 4) == all_say("ours")
    assert len((output / "results.jsonl").read_bytes().splitlines()) == 2


def test_a_link_that_others_laid_where_the_new_one_is_made_is_not_followed(
    output: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    journal(output, answer(3, "ours"), at=1e9)
    write_results(output / "results_new.json", [answer(3, "theirs")], at=1e9 + 1)
    (output / ".results.jsonl.hitui-part").symlink_to(mine)
    run(output, answer(6), snapshot=False)
    assert mine.read_text() == "mine"
    assert json.loads((output / "results.jsonl").read_text()) == answer(6)


def test_nobody_else_can_write_while_and_after_it_is_set_aside(output: Path) -> None:
    journal(output, answer(3, "ours"), at=1e9)
    write_results(output / "results_new.json", [answer(3, "theirs")], at=1e9 + 1)
    store = ResultStore(output, pytest.fail)
    store.append(answer(6))
    with pytest.raises(store_module.RunnerError, match="another runner is writing it"):
        ResultStore(output, pytest.fail)
    store.close()


def test_mending_a_torn_line_makes_no_result_newer(workspace: Path, output: Path) -> None:
    path = journal(output, answer(3, "ours"), at=1e9)
    with path.open("a") as file:
        file.write('{"id": 6, "Predic')
    os.utime(path, (1e9, 1e9))
    write_results(output / "results_new.json", [answer(3, "theirs")], at=1e9 + 1)
    warnings: list[str] = []
    ResultStore(output, warnings.append).close()
    assert len(warnings) == 1
    assert path.read_bytes().endswith(b"}\n")
    assert told(workspace, output, 3) == all_say("theirs")


def test_a_torn_line_of_someone_else_is_mended_too(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose file gets no other time than that of its owner."""
    path = journal(output, answer(3), at=1e9)
    with path.open("a") as file:
        file.write('{"id": 6, "Predic')

    def refuse(*given: object, **more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    ResultStore(output, lambda line: None).close()
    assert [json.loads(line)["id"] for line in path.read_bytes().splitlines()] == [3]


def test_a_snapshot_does_not_bring_back_what_another_folder_replaced(workspace: Path, output: Path) -> None:
    write_results(output / "results.json", [answer(1, "first"), failure(2, "[ERROR] first")], at=1e9)
    again = output.with_name("text_html_sc") / "results.json"
    write_results(again, [answer(1, "again"), failure(2, "[ERROR] again"), answer(5)], at=1e9 + 1)
    run(output, answer(3), snapshot=True)
    assert [result["id"] for result in load_results(output / "checkpoint.json", pytest.fail)[0]] == [1, 2, 3]
    assert told(workspace, output, 1) == all_say("again")
    assert told(workspace, output, 2) == all_say("[ERROR] again")


def test_a_checkpoint_that_comes_while_it_runs_counts_by_its_age(output: Path) -> None:
    store = ResultStore(output, pytest.fail)
    store.append(answer(3, "ours"))
    write_results(output / "checkpoint.json", [answer(3, "theirs")], at=3e9)
    store.save_snapshot()
    store.append(answer(4, "ours"))
    write_results(output / "checkpoint.json", [answer(4, "theirs")], at=1e9)
    store.save_snapshot()
    saved = {task: store.result(task) for task in (3, 4)}
    store.close()
    assert {task: result and result["Prediction"] for task, result in saved.items()} == {
        3: "theirs",
        4: "ours",
    }


def test_of_files_of_one_age_the_last_by_its_path_counts_in_any_folder(workspace: Path, output: Path) -> None:
    for number in (2, 0, 1):
        folder = output.with_name(f"text_html_shard{number}")
        write_results(folder / "results.json", [answer(3, str(number))], at=1e9)
    assert told(workspace, output, 3)["runner"] == "2"
    assert told(workspace, output, 3)["merged"] == "2"


def test_ids_as_text_and_as_numbers_are_told_apart_by_age_alone(workspace: Path, output: Path) -> None:
    write_results(output / "results_1.json", [answer(3, "number"), answer("4", "text"), failure("6")], at=1e9)
    write_results(
        output / "results_2.json",
        [answer("3", "text"), answer(4.0, "number"), failure(6, NO_ANSWER)],  # type: ignore[arg-type]
        at=1e9 + 1,
    )
    catalogue = Catalogue(Settings(root=workspace))
    reading = catalogue.read(catalogue.find("g/text_html"))
    assert {task.id: task.reason for task in reading.tasks}[6] == NO_ANSWER
    merge_results(reading, workspace / "merged.json")
    merged = {
        int(result["id"]): result["Prediction"]
        for result in load_results(workspace / "merged.json", print)[0]
    }
    assert (merged[3], merged[4], merged[6]) == ("text", "number", NO_ANSWER)
    store = ResultStore(output, pytest.fail)
    counting = [store.result(task) for task in (3, 4, 6)]
    store.close()
    assert [result and result["Prediction"] for result in counting] == ["text", "number", NO_ANSWER]


@pytest.mark.parametrize(
    ("errors", "last"),
    [
        # A failure of another kind begins anew, whatever was tried before it.
        ([(TOO_LARGE, 4), (NO_ANSWER, 0), (TOO_LARGE, 1)], 2),
        ([(NO_ANSWER, 3), (TOO_LARGE, 1)], 0),
        ([(TOO_LARGE, 2), (TOO_LARGE, 2), (TOO_LARGE, 1)], 1),
    ],
)
def test_of_failed_results_both_sides_take_the_same(
    workspace: Path, output: Path, errors: Sequence[tuple[str, int]], last: int
) -> None:
    for number, (text, rung) in enumerate(errors):
        result = {**failure(6, f"{text} {number}"), "Recovery": {"rung": rung}}
        write_results(output / f"results_{number}.json", [result], at=1e9 + number)
    catalogue = Catalogue(Settings(root=workspace))
    reading = catalogue.read(catalogue.find("g/text_html"))
    (task,) = (task for task in reading.tasks if task.id == 6)
    store = ResultStore(output, pytest.fail)
    result = store.result(6)
    store.close()
    assert result is not None
    assert (task.reason, task.rung) == (result["Prediction"], result["Recovery"]["rung"])
    assert task.reason == f"{errors[last][0]} {last}"


def test_a_pipe_of_that_name_is_not_waited_for(output: Path) -> None:
    os.mkfifo(output / "results_pipe.jsonl")
    warnings: list[str] = []
    ResultStore(output, warnings.append).close()
    assert warnings == [f"{output}/results_pipe.jsonl: is no regular file; it is left as it is and not read"]
    with pytest.raises(Unreadable, match="is no regular file"):
        load_results(output / "results_pipe.jsonl", pytest.fail)


def test_what_is_known_is_asked_by_either_id() -> None:
    found: list[Result] = [
        {"id": "5", "Prediction": "a"},
        {"id": 6.0, "Prediction": "b"},
        {"id": "07", "Prediction": "c"},
    ]
    known = known_module.Known()
    assert known.take_in(Path("results.json"), 1, found) == [5, 6, "07"]
    assert [known.result(task) for task in (5, "6", "07", 7)] == [*found, None]
