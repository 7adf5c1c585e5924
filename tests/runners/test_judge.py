"""The program `judge`: what it asks of whom, what it keeps of that, and what `score` makes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench.judge import judge
from hitui_runners.stopping import StopSignals

from tests.runners.judging import RESULTS, RIGHT, Judging, judging_by_server, plain, summary
from tests.tools.benchmark import Benchmark
from tests.tools.chat_server import Chat


@pytest.fixture
def judging(benchmark_data: Benchmark, capsys: pytest.CaptureFixture[str]) -> Iterator[Judging]:
    with judging_by_server(benchmark_data, capsys) as made:
        yield made


def gives(scores: dict[int, object]) -> Any:
    """A judge that has a reply for each task."""
    return lambda chat: chat.answer(f"[Score]: {scores[chat.number - 1]}/100")


def test_summaries_and_anomalies_are_judged_and_scored_and_no_result_is_changed(judging: Judging) -> None:
    judging.server.act = gives({1: 80, 3: 55, 4: 91})
    # What failed makes no mean of what nobody has judged.
    assert "GPT_EVAL" not in judging.score()["aggregate_metrics"]["overall"]
    before = (judging.folder / "results.json").read_bytes()
    (report,) = judging.run()
    assert (report["judged_now"], report["failed"], report["unjudged"]) == (3, [5], [])
    # The failed question counts as 0, as it does in every mean.
    assert report["means"] == {"Summary Analysis": 57.0, "Anomaly Analysis": 55.0, "Overall": 56.5}
    assert (judging.folder / "results.json").read_bytes() == before
    # No bar where nobody watches it.
    assert judging.errors.splitlines() == [f"Asking gpt-4o at {judging.server.url}, up to 8 prompts at once"]

    asked = {chat.number - 1: chat for chat in judging.server.chats}
    assert sorted(asked) == [1, 3, 4]
    body, text = asked[1].body, asked[1].text
    assert (body["model"], body["temperature"]) == ("gpt-4o", 0)
    for part in (
        r"Lower Quay & 41 & 1270.5 \\",
        "What does the table say? (No. 1)",
        "Four harbours, their boats and their catch.",
        "Boats lie in four harbours.",
    ):
        assert part in text
    verdict = next(verdict for verdict in judging.verdicts if verdict["id"] == 3)
    assert (verdict["GPT_EVAL"], verdict["replies"]) == (55.0, ["[Score]: 55/100"])
    assert (verdict["model"], verdict["prompts"]) == ("gpt-4o", report["prompts"])

    scored = judging.score()
    assert scored["aggregate_metrics"]["by_question_type"]["Data Analysis"]["GPT_EVAL"] == 56.5
    assert scored["counts"]["Overall"]["unjudged"] == 0
    assert scored["notes"] == [f"judged: 3 by gpt-4o (prompts {report['prompts']})"]
    metrics = json.loads((judging.folder / "scores.json").read_bytes())["metrics"]
    assert [metrics[task] for task in "345"] == [{"GPT_EVAL": 55.0}, {"GPT_EVAL": 91.0}, {"GPT_EVAL": 0.0}]


def test_what_has_a_verdict_is_not_asked_again_and_a_new_answer_is(judging: Judging) -> None:
    judging.run()
    (report,) = judging.run()
    assert (report["judged_before"], report["judged_now"], len(judging.server.chats)) == (3, 0, 3)

    judging.write(*RESULTS[:3], summary(4, "Another answer."))
    (report,) = judging.run()
    assert (report["judged_before"], report["judged_now"]) == (2, 1)
    assert judging.server.chats[-1].number - 1 == 4
    judging.write(*RESULTS[:3], summary(4, "A third one."))
    assert judging.score()["counts"]["Overall"]["unjudged"] == 1
    # So is one that is measured by something else.
    judging.write({**RESULTS[0], "Question": "What else? (No. 1)"}, {**RESULTS[2], "Reference": "Northaven"})
    (report,) = judging.run()
    assert (report["judged_before"], report["judged_now"]) == (0, 2)
    # Where nothing is judged, there is no mean either.
    judging.write(RESULTS[4])
    (report,) = judging.run()
    assert (report["failed"], report["means"]) == ([5], {})


def test_a_reply_without_a_score_is_asked_for_once_more_and_then_left_unjudged(judging: Judging) -> None:
    def act(chat: Chat) -> object:
        if chat.number - 1 == 1:
            return chat.answer("Quite good." if "Give it now." not in chat.text else "[Score]: 70/100")
        return chat.answer("No idea.") if chat.number - 1 == 3 else chat.answer(RIGHT)

    judging.server.act = act
    (report,) = judging.run(status=1)
    reason = "asked twice, its replies hold no score from 0 to 100"
    assert report["unjudged"] == [{"id": 3, "reason": reason}]
    assert f"warning: {judging.folder}: task 3 is not judged: {reason}" in judging.errors.splitlines()
    found = {verdict["id"]: verdict for verdict in judging.verdicts}
    assert (found[1]["GPT_EVAL"], found[1]["replies"]) == (70.0, ["Quite good.", "[Score]: 70/100"])
    assert (found[3]["GPT_EVAL"], found[3]["reason"]) == (None, reason)
    assert found[3]["replies"] == ["No idea.", "No idea."]
    assert judging.score()["counts"]["Overall"]["unjudged"] == 1

    judging.server.act = lambda chat: chat.answer(RIGHT)
    judging.server.chats.clear()
    (report,) = judging.run()
    assert [chat.number - 1 for chat in judging.server.chats] == [3]
    assert report["judged_before"] == 2


def test_another_judge_is_refused_with_the_difference_and_asked_of_all_again(
    judging: Judging, tmp_path: Path
) -> None:
    (first,) = judging.run("--concurrency", "1")
    judging.write(*RESULTS, summary(6))
    assert judging.run(model="other-9b", status=1) == []
    (line,) = judging.error_lines
    assert f"3 by gpt-4o (prompts {first['prompts']}), and this judge is other-9b" in line
    assert "--again" in line
    assert len(judging.server.chats) == 3

    # It goes where the server goes, and on from there.
    judging.server.act = lambda chat: (
        chat.error(401, "no") if chat.number - 1 == 4 else chat.answer("[Score]: 10")
    )
    (report,) = judging.run("--again", "--concurrency", "1", model="other-9b", status=1)
    assert (report["judged_now"], [entry["id"] for entry in report["unjudged"]]) == (2, [4, 6])
    assert judging.score()["notes"] == [
        f"several judges in one mean: judged 2 by other-9b (prompts {first['prompts']}), "
        f"1 by gpt-4o (prompts {first['prompts']}); `hitui judge --again` asks one of all"
    ]
    judging.server.act = lambda chat: chat.answer("[Score]: 10")
    judging.server.chats.clear()
    (report,) = judging.run("--again", model="other-9b")
    assert (report["judged_before"], report["judged_now"]) == (2, 2)
    assert sorted(chat.number - 1 for chat in judging.server.chats) == [4, 6]

    prompts = tmp_path / "prompts.py"
    prompts.write_text('Summary_Analysis = Anomaly_Analysis = "{Question} {User_Answer}"', encoding="utf-8")
    assert judging.run("--prompts", prompts, model="other-9b", status=1) == []
    judging.server.chats.clear()
    # These prompts hold no table.
    (report,) = judging.run("--prompts", prompts, "--again", model="other-9b", data=False)
    assert report["judged_now"] == len(judging.server.chats) == 4


def test_scores_that_the_program_itself_stored_count_and_are_another_judges(judging: Judging) -> None:
    judging.write(summary(1, Metrics={"GPT_EVAL": "85"}), summary(2))
    scored = judging.score()
    assert scored["aggregate_metrics"]["overall"]["GPT_EVAL"] == 85.0
    assert scored["counts"]["Overall"]["unjudged"] == 1
    failed = {"Prediction": "[ERROR] OOM: Text too large (9 tokens)"}
    judging.write(summary(1, Metrics={"GPT_EVAL": "85"}), {**summary(3), **failed}, {**plain(4), **failed})
    means = judging.score()["aggregate_metrics"]["by_question_type"]
    assert means["Data Analysis"]["GPT_EVAL"] == 42.5
    assert (means["Fact Checking"]["F1"], "GPT_EVAL" in means["Fact Checking"]) == (0.0, False)
    judging.write(summary(1, Metrics={"GPT_EVAL": "85"}), summary(2))
    judging.run(status=1)
    assert "1 by the program that made them" in judging.error_lines[0]
    (report,) = judging.run("--again")
    assert report["judged_now"] == 2
    assert judging.score()["aggregate_metrics"]["overall"]["GPT_EVAL"] == 80.0
    judging.write(summary(1), summary(2), summary(4, Metrics={"GPT_EVAL": 90}))
    (note,) = judging.score()["notes"]
    assert note.startswith("several judges in one mean: judged 2 by gpt-4o")
    assert "), 1 when they were made; " in note


def test_a_model_that_takes_no_temperature_and_counts_tokens_by_another_name_is_asked_as_it_wants(
    judging: Judging,
) -> None:
    def act(chat: Chat) -> object:
        if "max_tokens" in chat.body:
            return chat.error(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
                "instead.",
            )
        if "temperature" in chat.body:
            return chat.error(400, "Unsupported value: 'temperature' does not support 0 with this model.")
        return chat.answer(RIGHT)

    judging.server.act = act
    (report,) = judging.run("--concurrency", "1", "--max-new-tokens", "99")
    # Learned once, and said with every verdict: such a one may be another when it is asked for again.
    assert (report["judged_now"], len(judging.server.chats)) == (3, 5)
    assert judging.server.chats[-1].body["max_completion_tokens"] == 99
    assert [verdict["recovery"] for verdict in judging.verdicts] == [{"temperature": "the server's own"}] * 3


def test_what_lies_in_other_folders_than_the_configs_own_is_judged_into_that_one(
    judging: Judging, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    unit = {"name": "g/c", "folders": [str(judging.folder)], "output": str(tmp_path / "g" / "c")}
    plan.write_text(json.dumps({"units": [unit]}))
    words = judging.words("--plan", plan)
    assert judge(words[1:], StopSignals()) == 0
    assert len((tmp_path / "g" / "c" / "verdicts.jsonl").read_bytes().splitlines()) == 3


def test_several_are_asked_at_once_and_no_more(judging: Judging) -> None:
    together = threading.Barrier(3, timeout=60)
    judging.server.act = lambda chat: (together.wait(), chat.answer(RIGHT))[1]
    judging.write(*map(summary, range(1, 7)))
    (report,) = judging.run("--concurrency", "3")
    assert (report["judged_now"], judging.server.most) == (6, 3)


def test_what_is_printed_for_people_says_what_to_do_next(
    judging: Judging, capsys: pytest.CaptureFixture[str]
) -> None:
    judging.server.act = lambda chat: chat.answer("?" if chat.number - 1 == 3 else RIGHT)
    words = judging.words()
    words.remove("--json")
    assert judge(words, StopSignals()) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{judging.folder}: 2 of 3 answers judged by gpt-4o",
        "  Summary Analysis: GPT_EVAL 53.33 over 3",
        "  Overall: GPT_EVAL 53.33 over 3",
        "  failed: 1 (5), for which no judge is asked; each counts as 0",
        "  unjudged: 1 (3): asked twice, its replies hold no score from 0 to 100",
        f"  verdicts in {judging.folder / 'verdicts.jsonl'}; `hitui score` takes them in",
    ]
