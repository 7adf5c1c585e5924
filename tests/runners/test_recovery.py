"""The recovery ladder in real runs of the demo engine, whose memory holds so many tokens and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.recovery import Ladder, Rung, tried_rung

from tests.runners.conftest import Runner
from tests.tools.benchmark import png_head

MANY_ROWS = tuple((f"Harbour {number}", number, number / 4) for number in range(400))
"""As HTML about 5,600 tokens of the demo engine's, 4 characters each."""
LIMIT = ("--max-input-tokens", "8000")
EXHAUSTED = "; recovery ladder exhausted"
TEXT = "[ERROR] OOM: Text too large"
IMAGE = "[ERROR] OOM: Image too large ((9, 9))"


@pytest.fixture
def large(runner: Runner) -> Runner:
    """Question 10 is about a large table, the others are about a small one."""
    runner.benchmark.add_table("large", MANY_ROWS)
    runner.benchmark.ask(10, "large", "How many boats lie in Harbour 3?", "3")
    return runner


def run(runner: Runner, memory: int, *options: object, **choices: str) -> list[dict[str, Any]]:
    """What a run adds to the journal, with so much memory."""
    before = len(runner.journal)
    ended = runner.run("--resume", *LIMIT, "--demo-memory-tokens", memory, *options, **choices)
    assert ended.returncode == 0, ended.stderr
    return runner.journal[before:]


def errors(results: list[dict[str, Any]]) -> list[str]:
    return [result["Prediction"] for result in results if result["Prediction"].startswith("[ERROR")]


def rungs(results: list[dict[str, Any]]) -> list[int | None]:
    return [result.get("Recovery", {}).get("rung") for result in results]


def test_only_what_failed_is_made_lighter_and_only_in_a_rerun(large: Runner) -> None:
    first = run(large, 4500)
    assert sorted(result["id"] for result in first) == [1, 2, 3, 4, 5, 6, 10]
    (error,) = errors(first)
    assert error.startswith("[ERROR] OOM: Text too large (")
    assert not any("Recovery" in result for result in first)

    (again,) = run(large, 4500)
    assert (again["id"], again["Prediction"]) == (10, "3")
    # Half of what the run may take is the first budget that this prompt of 5,600 tokens was not within.
    uncut = again["Recovery"].pop("uncut_tokens")
    assert again["Recovery"] == {"rung": 3, "max_input_tokens": 4000}
    assert uncut > 5000


def test_a_rung_at_a_time_each_kept_until_one_holds(large: Runner) -> None:
    run(large, 2500)
    added = run(large, 2500)

    assert rungs(added) == [3, 4]
    assert [result["Prediction"].startswith("[ERROR] OOM: ") for result in added] == [True, False]
    assert [result["Recovery"]["max_input_tokens"] for result in added] == [4000, 2000]
    # The answer is told once, however many attempts it took.
    assert [event["id"] for event in large.events if event["event"] == "task"].count(10) == 2


def test_where_the_ladder_ends_the_error_says_so_and_is_not_tried_for_ever(large: Runner) -> None:
    run(large, 1000)
    added = run(large, 1000)
    assert rungs(added) == [3, 4]
    assert [EXHAUSTED in error for error in errors(added)] == [False, True]

    # Memory is plenty now, but nobody has asked to try again: the same error is told at once.
    assert run(large, 100_000) == []
    task = [event for event in large.events if event["event"] == "task"][-1]
    assert (task["id"], task["status"]) == (10, "error")
    assert large.events[-1]["errors"] == 1
    assert errors(large.snapshot["results"]) == [added[-1]["Prediction"]]

    (asked,) = run(large, 100_000, "--retry-exhausted")
    assert asked["Prediction"] == "3"
    assert "Recovery" not in asked


def test_a_lower_ladder_ends_sooner_and_a_higher_one_goes_on(large: Runner) -> None:
    run(large, 2500)
    (failed,) = run(large, 2500, "--max-rungs", "3")
    assert failed["Recovery"]["rung"] == 3
    assert failed["Prediction"].endswith(EXHAUSTED)
    assert run(large, 2500, "--max-rungs", "3") == []

    (answered,) = run(large, 2500)
    assert answered["Recovery"]["rung"] == 4


def test_more_gpus_take_the_whole_prompt_and_then_the_ladder_anew(large: Runner) -> None:
    run(large, 900)
    assert errors(run(large, 900))[-1].endswith(EXHAUSTED)
    assert run(large, 900) == []

    # Two have room for 1,800 tokens: less than any rung needs.
    large.env["CUDA_VISIBLE_DEVICES"] = "GPU-a,GPU-b"
    added = run(large, 900)
    assert [(result["Recovery"].get("rung"), result["Recovery"]["gpus"]) for result in added] == [
        (None, 2), (3, 2), (4, 2)
    ]  # fmt: skip
    assert errors(added)[-1].endswith(f"{EXHAUSTED} on 2 GPUs")
    assert run(large, 900) == []
    large.env["CUDA_VISIBLE_DEVICES"] = "GPU-a"
    assert run(large, 900) == []

    large.env["CUDA_VISIBLE_DEVICES"] = ",".join(f"GPU-{number}" for number in range(8))
    (answered,) = run(large, 900)
    assert (answered["Prediction"], answered["Recovery"]) == ("3", {"gpus": 8})


def test_at_once_needs_no_rerun_and_off_is_no_ladder(large: Runner) -> None:
    off = run(large, 2500, "--recovery", "off", "--ids", "10")
    assert rungs(off + run(large, 2500, "--recovery", "off")[-1:]) == [None, None]
    large.output = large.output.with_name("other")
    added = run(large, 2500, "--recovery", "at-once", "--ids", "10")

    assert rungs(added) == [None, 3, 4]
    assert len(errors(added)) == 2
    assert added[-1]["Prediction"] == "3"


@pytest.mark.parametrize(("memory", "rung"), [(2500, 1), (700, 3)])
def test_a_picture_alone_loses_half_its_pixels_at_each_rung(runner: Runner, memory: int, rung: int) -> None:
    # 4,096 tokens of the demo engine's, and some of the question.
    (runner.benchmark.data / "image" / "harbours.png").write_bytes(png_head(2048, 2048))
    (failed,) = run(runner, memory, "--ids", "1", modality="image")
    assert failed["Prediction"] == "[ERROR] OOM: Image too large ((2048, 2048))"
    added = run(runner, memory, "--ids", "1", modality="image")

    assert rungs(added) == list(range(1, rung + 1))
    assert added[-1]["Recovery"]["max_pixels"] == 2048 * 2048 >> rung
    assert not errors(added[-1:])


def test_a_mixed_task_loses_pixels_first_and_table_then(large: Runner) -> None:
    run(large, 2500, "--ids", "10", modality="mix")
    added = run(large, 2500, "--ids", "10", modality="mix")

    assert rungs(added) == [1, 3, 4]
    assert [result["Recovery"].get("max_input_tokens") for result in added] == [None, 4000, 2000]
    assert [result["Recovery"]["pixel_share"] for result in added] == [0.5, 0.5, 0.5]


def test_what_cannot_be_made_lighter_gets_one_more_chance(runner: Runner) -> None:
    run(runner, 10, "--ids", "1")
    (again,) = run(runner, 10, "--ids", "1")
    assert again["Prediction"].endswith(EXHAUSTED)
    assert again["Recovery"] == {"rung": 4}
    assert run(runner, 100_000, "--ids", "1") == []


def test_what_failed_for_another_reason_is_tried_as_it_was(runner: Runner) -> None:
    runner.output.mkdir()
    told = [
        {"id": 1, "Prediction": "[ERROR] Failed to get proper final answer format"},
        {
            "id": 2,
            "Prediction": "[ERROR] Failed to get proper final answer format",
            "Recovery": {"rung": 3, "max_input_tokens": 120},
        },
    ]
    (runner.output / "results.jsonl").write_text("".join(json.dumps(result) + "\n" for result in told))
    first, second = run(runner, 100_000, "--ids", "1,2")

    assert "Recovery" not in first
    assert (second["Recovery"]["rung"], second["Recovery"]["max_input_tokens"]) == (3, 120)


def test_results_of_other_programs_start_at_the_rung_of_their_error(runner: Runner) -> None:
    runner.benchmark.add_table("large", MANY_ROWS)
    runner.benchmark.ask(10, "large", "How many boats lie in Harbour 3?", "3")
    runner.output.mkdir()
    foreign = {"id": 10, "Prediction": "[ERROR] OOM: Text too large (565518 tokens)"}
    (runner.output / "checkpoint.json").write_text(json.dumps({"results": [foreign], "processed_ids": [10]}))
    (answered,) = run(runner, 6000, "--ids", "10")

    # The whole table is within 8,000 tokens, so that the second rung cuts nothing of it.
    assert answered["Recovery"] == {"rung": 2, "max_input_tokens": 8000}


def test_the_rung_is_found_in_other_folders_of_the_config(large: Runner, tmp_path: Path) -> None:
    run(large, 2500, "--ids", "10")
    run(large, 2500, "--max-rungs", "3", "--ids", "10")
    before = (large.output / "results.jsonl").read_bytes()
    first, large.output = large.output, tmp_path / "output_shard0"
    (answered,) = run(large, 2500, "--ids", "10", "--earlier", first, "--earlier", tmp_path / "nowhere")

    assert answered["Recovery"]["rung"] == 4
    assert (first / "results.jsonl").read_bytes() == before
    assert [result["id"] for result in large.snapshot["results"]] == [10]
    assert run(large, 2500, "--ids", "10", "--earlier", first) == []


def test_a_run_killed_on_the_way_up_goes_on_above(large: Runner) -> None:
    run(large, 2500, "--ids", "10")
    options = ("--resume", *LIMIT, "--demo-memory-tokens", "2500", "--demo-seconds", "1", "--ids", "10")
    process = large.start(*options)
    large.wait_for_results(2)
    process.kill()
    process.wait()
    added = run(large, 2500, "--ids", "10")

    assert rungs(large.journal) == [None, 3, 4]
    assert added == large.journal[2:]


@pytest.mark.parametrize(
    ("recovery", "tried"),
    [
        ({}, Rung()),
        ({"max_input_tokens": 50, "pixel_share": 0.5}, Rung()),
        ({"rung": 0, "gpus": 0}, Rung()),
        ({"rung": True, "gpus": True}, Rung()),
        ({"rung": "3", "gpus": "2"}, Rung()),
        ({"gpus": 2}, Rung(gpus=2)),
        ({"rung": 1}, Rung(1)),
        ({"rung": 3, "max_input_tokens": 50, "pixel_share": 0.5, "gpus": 4}, Rung(3, 50, 0.5, 4)),
        ({"rung": 3, "max_input_tokens": -1, "pixel_share": 0.0}, Rung(3)),
        ({"rung": 3, "max_input_tokens": "50", "pixel_share": 1.5}, Rung(3)),
        ({"rung": 3, "pixel_share": "0.5"}, Rung(3)),
    ],
)
def test_which_rung_a_result_names(recovery: dict[str, object], tried: Rung) -> None:
    assert tried_rung(recovery) == tried
    # And what is said of that rung names it again, without what was not changed.
    assert tried_rung(tried.recovery) == tried
    assert tried.recovery.items() <= recovery.items()


def test_where_a_rerun_starts() -> None:
    ladder = Ladder(200_000, has_image=True)
    assert ladder.rerun(IMAGE, {}) == Rung(1, None, 0.5)
    assert ladder.rerun(f"{TEXT}, image too large", {}) == Rung(2, 100_000)
    assert ladder.rerun(f"{TEXT} (100000 tokens)", {}) == Rung(3, 50_000)
    # What is not told is as many as were allowed.
    assert ladder.rerun(TEXT, {"rung": 2, "max_input_tokens": 50_000}) == Rung(4, 25_000)
    assert ladder.rerun(IMAGE, {"rung": 4, "max_input_tokens": 25_000}) is None
    assert Ladder(80_000).rerun(TEXT, {}) == Rung(3, 40_000)
    assert Ladder(200_000, 1).rerun(TEXT, {}) == Rung(1)
    assert Ladder(200_000, 0).rerun(TEXT, {"rung": 2}) == Rung()
    assert Ladder(2).rerun(TEXT, {"rung": 3, "max_input_tokens": 1}) is None
    picture = Ladder(9, has_image=True, has_table=False)
    assert picture.rerun(TEXT, {}) == Rung(2, None, 0.5)
    assert picture.rerun(IMAGE, {"rung": 2, "pixel_share": 0.25}) == Rung(3, None, 0.125)
    assert ladder.above(Rung(), f"{TEXT} (100000 tokens)", 50_000) == Rung(4, 25_000)
    assert ladder.above(Rung(), "[ERROR] else") is ladder.above(Rung(), "Image too large") is None
    # On how many GPUs it was tried is said of that try alone.
    assert ladder.rerun("[ERROR] else", {"rung": 2, "gpus": 2}) == Rung(2)
    assert ladder.rerun(TEXT, {"rung": 2, "gpus": 2, "max_input_tokens": 100_000}) == Rung(3, 50_000)
    wider = Ladder(200_000, gpus=2)
    assert wider.rerun(TEXT, {"rung": 4}) == Rung(gpus=2, is_wider=True)
    assert wider.rerun(TEXT, {"gpus": 2}) == Rung(2, 100_000, gpus=2)
    assert wider.rerun("[ERROR] else", {}) == Rung(gpus=2)
    assert Ladder(9, 0, gpus=2).rerun(TEXT, {}) == Rung(gpus=2)
    assert Ladder(9, has_table=False, gpus=2).rerun(TEXT, {"gpus": 2}) == Rung(4, gpus=2)
