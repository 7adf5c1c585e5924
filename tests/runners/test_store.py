"""The result store: what counts, what is kept, what is never changed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.errors import RunnerError
from hitui_runners.realhitbench import results
from hitui_runners.realhitbench import store as store_module
from hitui_runners.realhitbench.store import ResultStore

from tests.runners.conftest import RUNNERS
from tests.tools.plain_python import PLAIN_PYTHON

KILLED_STORE = Path(__file__).resolve().parents[1] / "tools" / "killed_store.py"


class Warnings(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


def result(identifier: int | str, prediction: str = "41", **more: Any) -> dict[str, Any]:
    return {"id": identifier, "Prediction": prediction, **more}


def write(path: Path, value: object, when: int) -> None:
    path.write_text(json.dumps(value))
    os.utime(path, (when, when))


def snapshot(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "checkpoint.json").read_text())
    return data


def test_a_success_outlives_errors_and_the_later_success_wins(tmp_path: Path, warnings: Warnings) -> None:
    write(
        tmp_path / "results_b.json",
        {"results": [result(1, "old"), result(2, "[ERROR] x"), result(3, "a")]},
        100,
    )
    write(tmp_path / "checkpoint_batch.json", {"results": [result(1, "new"), result(3, "[ERROR] y")]}, 200)
    write(tmp_path / "results.json", [result(2, "[ERROR] z"), result(4, ""), "rubbish", {"no": "id"}], 300)
    (tmp_path / "results.jsonl").write_text(json.dumps(result(5, "[ERRORS]")) + "\n")
    store = ResultStore(tmp_path, warnings)

    answered = {identifier: store.is_answered(identifier) for identifier in (1, 2, 3, 4, 5, 6)}
    assert answered == {1: True, 2: False, 3: True, 4: True, 5: False, 6: False}
    store.append(result(2, "63"))
    store.append(result(2, "[ERROR] later"))
    store.save_snapshot()
    store.close()

    assert {entry["id"]: entry["Prediction"] for entry in snapshot(tmp_path)["results"]} == {
        1: "new", 2: "63", 3: "a", 4: "", 5: "[ERRORS]",
    }  # fmt: skip
    assert snapshot(tmp_path)["processed_ids"] == [1, 2, 3, 4]
    assert warnings == []


def test_unreadable_files_are_named_left_alone_and_the_rest_counts(
    tmp_path: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MAX_BYTES", 1000)
    contents = {
        "results_empty.json": b"",
        "results_half.json": b'{"results": [{"id": 1',
        "results_binary.json": b"\xff\xfe\x00",
        "results_damaged.json": b'[{"id": 2, "Prediction": "41"}, {"id": 3, "Prediction": "\xff"}]',
        "results_other.json": b'{"scores": 3}',
        "results_deep.json": b"[" * 900,
        "checkpoint_huge.json": b" " * 1001,
        "results.json": json.dumps([result(1)]).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    store = ResultStore(tmp_path, warnings)
    store.append(result(2))
    store.save_snapshot()
    store.close()

    assert snapshot(tmp_path)["processed_ids"] == [1, 2]
    assert len(warnings) == 7
    for name in set(contents) - {"results.json"}:
        assert any(line.startswith(f"{tmp_path / name}: ") for line in warnings)
    assert {name: (tmp_path / name).read_bytes() for name in contents} == contents


def test_a_checkpoint_too_large_to_be_read_keeps_its_place(
    tmp_path: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "MAX_BYTES", 1000)
    foreign = json.dumps({"results": [result(1)], "processed_ids": [1]}).encode() + b" " * 1000
    (tmp_path / "checkpoint.json").write_bytes(foreign)
    store = ResultStore(tmp_path, warnings)
    store.append(result(2))
    store.save_snapshot()
    store.close()

    assert (tmp_path / "checkpoint.json").read_bytes() == foreign
    assert [json.loads(line)["id"] for line in (tmp_path / "results.jsonl").read_text().splitlines()] == [2]
    assert len(warnings) == 1


def test_a_broken_line_further_up_is_named_and_kept(tmp_path: Path, warnings: Warnings) -> None:
    content = b'{"id": 1, "Prediction": "a"}\n{bro\x00ken\n\n{"id": 2, "Prediction": "b"}\n'
    (tmp_path / "results.jsonl").write_bytes(content)
    store = ResultStore(tmp_path, warnings)
    store.close()

    assert store.is_answered(1)
    assert store.is_answered(2)
    assert warnings == [f"{tmp_path}/results.jsonl: line 2 is no JSON and is passed over"]
    assert (tmp_path / "results.jsonl").read_bytes() == content


def test_a_journal_left_by_a_killed_run_gets_its_snapshot(tmp_path: Path, warnings: Warnings) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps(result(1)) + "\n")
    store = ResultStore(tmp_path, warnings)
    store.save_snapshot()
    store.close()

    assert snapshot(tmp_path) == {"results": [result(1)], "processed_ids": [1], "written_by": "hitui"}
    # Once: what is up to date is not written again, in that run or the next one.
    written = (tmp_path / "checkpoint.json").stat().st_ino
    store = ResultStore(tmp_path, warnings)
    store.save_snapshot()
    assert (tmp_path / "checkpoint.json").stat().st_ino == written
    store.append(result(2))
    store.save_snapshot()
    written = (tmp_path / "checkpoint.json").stat().st_ino
    store.save_snapshot()
    store.close()
    assert (tmp_path / "checkpoint.json").stat().st_ino == written


def test_nothing_new_changes_no_file(tmp_path: Path, warnings: Warnings) -> None:
    write(tmp_path / "checkpoint.json", {"results": [result(1)]}, 100)
    store = ResultStore(tmp_path, warnings)
    store.save_snapshot()
    store.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.json", "results.jsonl"]
    assert (tmp_path / "checkpoint.json").stat().st_mtime == 100


def test_a_checkpoint_that_someone_writes_meanwhile_is_taken_in(tmp_path: Path, warnings: Warnings) -> None:
    store = ResultStore(tmp_path, warnings)
    store.append(result(1))
    store.save_snapshot()
    write(tmp_path / "checkpoint.json", {"results": [result(9, "theirs")]}, 100)
    store.append(result(2))
    store.save_snapshot()
    store.append(result(3))
    store.save_snapshot()
    store.close()

    assert snapshot(tmp_path)["processed_ids"] == [9, 1, 2, 3]
    assert json.loads((tmp_path / "checkpoint.json.before-hitui").read_text()) == {
        "results": [result(9, "theirs")]
    }
    assert not (tmp_path / "checkpoint.json.before-hitui-2").exists()
    # Those of others are kept beside it, each under a name of its own.
    for number in (2, 3):
        write(tmp_path / "checkpoint.json", {"results": [result(9, f"theirs, {number}")]}, 100)
        store = ResultStore(tmp_path, warnings)
        store.append(result(4))
        store.save_snapshot()
        store.close()
        copy = tmp_path / f"checkpoint.json.before-hitui-{number}"
        assert json.loads(copy.read_text()) == {"results": [result(9, f"theirs, {number}")]}


def test_values_come_through_unchanged(tmp_path: Path, warnings: Warnings) -> None:
    odd = result(
        1, "half a pair: \ud800 and é", Metrics={"F1": 66.67, "tiny": 1e-300}, ProcessingTime=0.1 + 0.2
    )
    (tmp_path / "results.json").write_text(json.dumps([odd]))
    store = ResultStore(tmp_path, warnings)
    store.append(result(2, "also \udfff"))
    store.save_snapshot()
    store.close()

    assert snapshot(tmp_path)["results"] == [odd, result(2, "also \udfff")]


def test_two_stores_of_one_folder_are_refused(tmp_path: Path, warnings: Warnings) -> None:
    store = ResultStore(tmp_path, warnings)
    with pytest.raises(RunnerError, match="another runner is writing it"):
        ResultStore(tmp_path, warnings)
    store.close()
    ResultStore(tmp_path, warnings).close()


def test_a_link_to_nowhere_keeps_its_place_and_is_named(tmp_path: Path, warnings: Warnings) -> None:
    (tmp_path / "checkpoint.json").symlink_to(tmp_path / "unmounted" / "checkpoint.json")
    store = ResultStore(tmp_path, warnings)
    store.append(result(1))
    store.save_snapshot()
    store.close()

    assert (tmp_path / "checkpoint.json").is_symlink()
    assert warnings == [
        f"{tmp_path}/checkpoint.json: cannot be read: No such file or directory; it is left as it is and not read"
    ]


def test_answers_in_a_snapshot_of_ours_that_came_meanwhile_are_taken_in(
    tmp_path: Path, warnings: Warnings
) -> None:
    store = ResultStore(tmp_path, warnings)
    store.append(result(1))
    ours = {"results": [result(9)], "processed_ids": [9], "written_by": "hitui"}
    write(tmp_path / "checkpoint.json", ours, 100)
    store.save_snapshot()
    store.close()

    assert snapshot(tmp_path)["processed_ids"] == [9, 1]
    assert not (tmp_path / "checkpoint.json.before-hitui").exists()


def test_ids_that_are_numbers_of_another_kind(tmp_path: Path, warnings: Warnings) -> None:
    odd: list[float | bool] = [5.0, True, 6.5, float("nan"), float("inf")]
    write(tmp_path / "results.json", [{"id": number, "Prediction": "a"} for number in odd], 100)
    store = ResultStore(tmp_path, warnings)
    store.close()

    assert [task for task in range(10) if store.is_answered(task)] == [5]
    assert warnings == []


def test_what_the_dashboard_does_not_count_is_no_answer_here_either(
    tmp_path: Path, warnings: Warnings
) -> None:
    """Else a task stays pending there for ever, and is left out here each time."""
    write(tmp_path / "results.json", [{"id": 1, "Metrics": {}}, result(2)], 100)
    write(tmp_path / "checkpoint-notes.json", [result(3)], 100)
    write(tmp_path / "checkpoint_merged.json", [result(4)], 100)
    store = ResultStore(tmp_path, warnings)
    store.close()

    assert [task for task in range(1, 5) if store.is_answered(task)] == [2, 4]
    assert warnings == []


def test_every_journal_in_the_folder_is_read(tmp_path: Path, warnings: Warnings) -> None:
    (tmp_path / "results_old.jsonl").write_text(json.dumps(result(1)) + "\n")
    store = ResultStore(tmp_path, warnings)
    store.close()

    assert store.is_answered(1)


def test_an_id_as_text_is_the_same_task_as_its_number(tmp_path: Path, warnings: Warnings) -> None:
    write(tmp_path / "results.json", [result("1"), result(2), result("2", "[ERROR] x"), result("03")], 100)
    store = ResultStore(tmp_path, warnings)
    store.append(result(1, "[ERROR] y"))
    store.close()

    assert [task for task in (1, "1", 2, "2", 3, "03") if store.is_answered(task)] == [1, "1", 2, "2", "03"]


class Clock:
    """A time that goes on as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(store_module, "time", made)
    return made


@pytest.mark.parametrize(("seconds", "synced"), [(1.0, [1, 1, 1, 2, 2, 3]), (0.0, [1, 2, 3, 4, 5, 5])])
def test_results_are_put_on_the_disk_once_in_a_set_time_and_at_the_end(
    tmp_path: Path,
    warnings: Warnings,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
    seconds: float,
    synced: list[int],
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    store = ResultStore(tmp_path, warnings, sync_seconds=seconds)
    seen = []
    for number in range(5):
        store.append(result(number))
        # On the way to the disk all the same: whoever looks, or goes on after a kill, finds it.
        assert (tmp_path / "results.jsonl").read_bytes().count(b"\n") == number + 1
        seen.append(len(calls))
        clock.now += 0.4
    store.close()
    assert [*seen, len(calls)] == synced


def test_a_disk_that_fails_at_the_end_is_said(
    tmp_path: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path, warnings, sync_seconds=3600)
    store.append(result(1))
    store.append(result(2))

    def fails(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    store.close()
    assert warnings == [
        f"{tmp_path}/results.jsonl: the last results may not be on the disk: Input/output error; run again with "
        "--resume once that is mended"
    ]
    monkeypatch.undo()
    ResultStore(tmp_path, warnings).close()


def test_a_snapshot_is_due_after_a_minute_or_fifty_times_as_long_as_the_last_one_took(
    tmp_path: Path, warnings: Warnings, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    store = ResultStore(tmp_path, warnings)
    clock.now += 100
    assert not store.snapshot_is_due
    store.append(result(1))
    assert store.snapshot_is_due
    store.save_snapshot()
    store.append(result(2))
    clock.now += 59
    assert not store.snapshot_is_due
    clock.now += 1
    assert store.snapshot_is_due

    replace_file = store_module.replace_file

    def slow(path: Path, partial: Path, content: bytes) -> None:
        clock.now += 4
        replace_file(path, partial, content)

    monkeypatch.setattr(store_module, "replace_file", slow)
    store.save_snapshot()
    store.append(result(3))
    clock.now += 199
    assert not store.snapshot_is_due
    clock.now += 1
    assert store.snapshot_is_due
    store.close()


def test_killed_at_every_line_it_loses_no_more_than_the_task_at_hand(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*PLAIN_PYTHON, str(KILLED_STORE), str(RUNNERS), str(tmp_path / "results")],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["wrong"] == []
    assert told["lines"] > 200
    assert told["writes"] == 2
