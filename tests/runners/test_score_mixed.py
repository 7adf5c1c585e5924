"""Means of answers that were made with different settings: the program `score` says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runners.scored import result, score, scores_in, write

FAILED = "[ERROR] OOM: Text too large (9 tokens)"


def record(folder: Path, **runs: dict[str, object]) -> None:
    """What is on record beside results: id of a run → its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [{"id": name, "settings": {"engine": "demo", **settings}} for name, settings in runs.items()]
    (folder / "run_settings.json").write_text(json.dumps({"written_by": "hitui", "runs": entries}))


def mixed(folder: Path) -> list[str]:
    lines = [line.strip() for line in score(folder).stdout.splitlines() if "mixed" in line]
    assert [note for note in scores_in(folder / "scores.json")["notes"] if "mixed" in note] == lines
    return lines


def test_answers_of_other_settings_are_counted_and_the_settings_named(tmp_path: Path) -> None:
    record(
        tmp_path, a={"max_input_tokens": 9}, b={"max_input_tokens": 5, "model": "x"}, c={"truncation": "no"}
    )
    # Of `c` nothing is known that `a` had otherwise.
    write(tmp_path / "results.json", [result(task, Settings=run) for task, run in enumerate("abbbbac")])
    assert mixed(tmp_path) == [
        "mixed: 3 answers were made with other settings than 4: max_input_tokens 9 instead of 5"
    ]


@pytest.mark.parametrize(
    "results",
    [
        pytest.param([result(1, Settings="a"), result(2, Settings="a2")], id="other versions alone"),
        pytest.param([result(1, Settings="a"), result(2, prediction=FAILED, Settings="b")], id="failed"),
        pytest.param([result(1, Settings="a"), result(2), result(3, Settings="gone")], id="on no record"),
        pytest.param([result(1, Settings="a"), result(2, Settings={"a": 1})], id="not of this program"),
    ],
)
def test_what_is_not_known_to_differ_is_not_called_mixed(
    tmp_path: Path, results: list[dict[str, object]]
) -> None:
    record(tmp_path, a={"max_input_tokens": 9}, a2={"max_input_tokens": 9}, b={"max_input_tokens": 5})
    write(tmp_path / "results.json", results)
    assert mixed(tmp_path) == []


def test_a_record_that_cannot_be_read_costs_no_score(tmp_path: Path) -> None:
    write(tmp_path / "results.json", [result(1, Settings="a")])
    (tmp_path / "run_settings.json").write_text("{")
    assert mixed(tmp_path) == []
