"""merge as a user runs it: one file by the rules of truth, and never over another's without a copy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools.real_data import real_data
from tests.tools.results import (
    NO_ANSWER,
    answer,
    append_lines,
    failure,
    write_results,
    write_trainer_checkpoint,
    write_workspace,
)
from tests.tools.sandbox import Sandbox

SOURCE = real_data()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "workspace")


@pytest.fixture
def sandbox(tmp_path: Path, workspace: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path, workspace) as sandbox:
        yield sandbox


@pytest.fixture
def group(workspace: Path) -> Path:
    return workspace / "result" / "g"


@pytest.fixture
def merged(group: Path) -> Path:
    return group / "text_html_merged" / "checkpoint_merged.json"


def content(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def test_shards_reruns_and_journals_become_one_file(sandbox: Sandbox, group: Path, merged: Path) -> None:
    odd = {**answer(7, "seven é", 1e-07), "Recovery": {"rung": 3}, "more": [None, {"x": 1}], "Settings": "a1"}
    append_lines(group / "text_html_shard1" / "results.jsonl", [odd, failure(1), answer(3, "late")])
    append_lines(group / "text_html_shard0" / "results.jsonl", [answer(99), failure(4, NO_ANSWER)])
    runs = [{"id": "a1", "settings": {"engine": "demo"}}, {"id": "b2", "settings": {}}, 7]
    (group / "text_html_shard1" / "run_settings.json").write_text(json.dumps({"runs": runs}))
    (group / "text_html_shard0" / "run_settings.json").write_text("{")
    run = sandbox.hitui("merge", "text_html")

    assert run.returncode == 0, run.stderr
    # With which settings they were made goes with them, as far as it is known.
    assert content(merged.with_name("run_settings.json")) == {"written_by": "hitui", "runs": runs[:1]}
    assert run.stdout.splitlines() == [
        "g/text_html: result/g/text_html_merged/checkpoint_merged.json written, 4 of 8 answered",
        "  2 failed: 4, 5",
        "  1 without a result: 6",
        "  1 blocked, an input file is absent: 8",
        "  1 not in the question list, at the end of the file: 99",
    ]
    data = content(merged)
    assert list(data) == ["results", "processed_ids", "written_by"]
    assert [result["id"] for result in data["results"]] == [1, 2, 3, 4, 5, 7, 99]
    assert data["processed_ids"] == [1, 2, 3, 7, 99]
    by_id = {result["id"]: result for result in data["results"]}
    assert by_id[1] == answer(1)
    assert by_id[3]["Prediction"] == "late"
    assert by_id[4]["Prediction"] == NO_ANSWER
    assert by_id[7] == odd
    # It is read with the others, and changes nothing of what they say, nor when they were made.
    others = group.glob("text_html*/*.json*")
    ages = [path.stat().st_mtime_ns for path in others if path.name.startswith(("results", "checkpoint."))]
    assert merged.stat().st_mtime_ns == max(ages)
    row = next(row for row in sandbox.json("ls") if row["name"] == "g/text_html")
    assert (row["done"], row["errors"], row["missing"], row["blocked"]) == (4, 2, 1, 1)


def test_ids_as_text_and_ids_of_no_question_are_counted_as_what_they_are(
    sandbox: Sandbox, group: Path, merged: Path
) -> None:
    """The same counts as of `ls` and `verify`; the file holds the results as they stand, in any case."""
    write_results(
        group / "text_html" / "results.json", [failure("8"), failure("99"), failure("3"), answer("1")]
    )
    (merge,) = json.loads(sandbox.hitui("merge", "text_html", "--json").stdout)
    assert (merge["total"], merge["answered"]) == (8, 1)
    assert (merge["errors"], merge["blocked"], merge["unknown"]) == ([3], [8], ["99"])
    assert merge["missing"] == [2, 4, 5, 6, 7]
    assert [result["id"] for result in content(merged)["results"]] == ["1", "3", "8", "99"]
    assert content(merged)["processed_ids"] == ["1"]


def test_merged_again_it_is_up_to_date_or_renewed(sandbox: Sandbox, group: Path, merged: Path) -> None:
    sandbox.hitui("merge", "text_html")
    before = merged.stat().st_ino
    again = sandbox.hitui("merge", "text_html")
    assert "checkpoint_merged.json is up to date, 2 of 8 answered" in again.stdout
    assert merged.stat().st_ino == before

    append_lines(group / "text_html" / "results.jsonl", [answer(3)])
    assert "checkpoint_merged.json written, 3 of 8 answered" in sandbox.hitui("merge", "text_html").stdout
    # Also where the merged file of before is one of those that it was made of.
    assert merged.stat().st_mtime_ns == (group / "text_html" / "results.jsonl").stat().st_mtime_ns
    assert [path.name for path in merged.parent.iterdir()] == [merged.name]


def test_what_another_program_wrote_is_copied_once(sandbox: Sandbox, merged: Path) -> None:
    theirs = write_results(merged, [answer(6, "theirs")]).read_bytes()
    run = sandbox.hitui("merge", "text_html")

    copy = merged.with_name("checkpoint_merged.json.before-hitui")
    assert "  what stood there before is kept as checkpoint_merged.json.before-hitui" in run.stdout
    assert copy.read_bytes() == theirs
    assert {result["id"]: result["Prediction"] for result in content(merged)["results"]}[6] == "theirs"

    write_results(merged, [answer(6, "newer")])
    (row,) = json.loads(sandbox.hitui("merge", "text_html", "--json").stdout)
    assert row["copy"] == f"{copy}-2"


def test_another_place_and_json(sandbox: Sandbox, workspace: Path, merged: Path) -> None:
    place = workspace / "for others" / "of all" / "all.json"
    (row,) = json.loads(sandbox.hitui("merge", "text_html", "--output", str(place), "--json").stdout)

    assert row == {
        "name": "g/text_html",
        "path": str(place),
        "written": True,
        "copy": None,
        "total": 8,
        "answered": 2,
        "errors": [3, 4, 5],
        "missing": [6, 7],
        "blocked": [8],
        "unknown": [],
        "sources": [str(workspace / "result" / "g" / "text_html" / "results.json")],
    }
    assert len(content(place)["results"]) == 5
    assert not merged.exists()
    refused = sandbox.hitui("merge", "text_html", "image", "--output", str(place))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert sandbox.hitui("merge", "nothing").returncode == 3


def test_what_cannot_be_merged_is_one_line_and_the_others_are(
    sandbox: Sandbox, workspace: Path, group: Path, merged: Path
) -> None:
    (group / "image" / "checkpoint.json").write_text('{"results": [')
    write_results(group / "empty" / "results.json", [])
    write_trainer_checkpoint(workspace / "runs" / "translator", 50)
    run = sandbox.hitui("merge", "image", "empty", "translator", "text_html")

    assert run.returncode == 1
    unreadable, *others = run.stderr.splitlines()
    assert unreadable.startswith(
        "hitui: g/image: nothing merged, there may be answers that cannot be read: result/g/"
    )
    assert others == [
        "hitui: g/empty: there are no results to merge",
        "hitui: runs/translator: counts steps, not tasks: it has no results to merge",
    ]
    assert [path for path in group.iterdir() if path.name.endswith("_merged")] == [merged.parent]


def test_a_disk_that_refuses_changes_nothing(sandbox: Sandbox, merged: Path) -> None:
    merged.parent.write_text("a file in the folder's place")
    run = sandbox.hitui("merge", "text_html")

    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"hitui: {merged}: cannot be written: ")
    assert merged.parent.read_text() == "a file in the folder's place"


def test_ids_as_text_are_those_of_the_list(sandbox: Sandbox, group: Path, merged: Path) -> None:
    append_lines(group / "text_html_sc" / "results.jsonl", [answer("6", "half \ud800"), answer("1" * 5000)])
    sandbox.hitui("merge", "text_html")

    results = content(merged)["results"]
    assert [result["id"] for result in results] == [1, 2, 3, 4, 5, "6", "1" * 5000]
    assert results[5]["Prediction"] == "half \ud800"


def test_without_a_question_list_they_are_sorted(sandbox: Sandbox, workspace: Path, group: Path) -> None:
    shutil.rmtree(workspace / "data")
    append_lines(group / "text_html" / "results.jsonl", [answer("b"), answer(12), answer(6)])
    run = sandbox.hitui("merge", "text_html")

    assert "nobody can say what is missing" in run.stdout
    ids = [
        result["id"] for result in content(group / "text_html_merged" / "checkpoint_merged.json")["results"]
    ]
    assert ids == [1, 2, 3, 4, 5, 6, 12, "b"]


@pytest.mark.real
@pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent")
def test_real_shards_merge_to_the_real_merged_file(tmp_path: Path) -> None:
    assert SOURCE is not None
    name = "Qwen3-VL-8B-Instruct_mix_json_default"
    there = SOURCE / "result" / "qwen3vl_local_a100_default" / f"{name}_merged"
    (theirs,) = there.glob("results_merged_*.json")
    workspace = tmp_path / "workspace"
    for shard in there.glob("*_shard*"):
        shutil.copytree(shard, workspace / "r" / shard.name)
    shutil.copy(SOURCE / "data" / "QA_final_sc_filled.json", workspace / "questions.json")
    with Sandbox(tmp_path, workspace) as sandbox:
        run = sandbox.hitui("merge", name)
    assert run.returncode == 0, run.stderr

    merged = content(workspace / "r" / f"{name}_merged" / "checkpoint_merged.json")
    assert merged["results"] == content(theirs)["results"]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(sandbox: Sandbox, group: Path) -> None:
    os.mkfifo(group / "text_html" / "run_settings.json")
    assert sandbox.hitui("merge", "text_html").returncode == 0
    elsewhere = group / "merged.json"
    os.mkfifo(elsewhere)
    run = sandbox.hitui("merge", "text_html", "--output", str(elsewhere))
    assert run.returncode == 1
    assert f"{elsewhere}: is no regular file; move it away" in run.stderr
    os.mkfifo(group / "text_html" / "results.jsonl")
    assert sandbox.hitui("rollback", "text_html").returncode == 0
