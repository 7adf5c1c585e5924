"""The program `judge`: every verdict is stored as it comes, and nothing is asked twice or lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.realhitbench import judge
from hitui_runners.realhitbench.judge_verdicts import VerdictJournal

from tests.runners.conftest import PLAIN_PYTHON, RUNNERS, environment, json_lines
from tests.tools.benchmark import Benchmark
from tests.tools.chat_server import Chat, ChatServer, chat_server
from tests.tools.eventually import eventually

RIGHT = "It is near.\n[Score]: 80/100"


def summary(task: object, answer: object = "Boats lie in four harbours.", **more: Any) -> dict[str, Any]:
    return {
        "id": task,
        "FileName": "harbours",
        "QuestionType": "Data Analysis",
        "SubQType": "Summary Analysis",
        "Question": f"What does the table say? (No. {task})",
        "Reference": "Four harbours, their boats and their catch.",
        "Prediction": answer,
        "Metrics": {"GPT_EVAL": "N/A (no eval_api_key)"},
        **more,
    }


def anomaly(task: int, answer: str = "Saltby") -> dict[str, Any]:
    return summary(
        task, answer, SubQType="Anomaly Analysis", Question=f"Which falls out of line? (No. {task})"
    )


def plain(task: int) -> dict[str, Any]:
    return summary(task, SubQType="Ranking", QuestionType="Fact Checking", Metrics={"EM": 0.0})


RESULTS = [summary(1), plain(2), anomaly(3), summary(4), summary(5, "[ERROR] OOM: Text too large (9 tokens)")]


class Judging:
    """Judges one folder of results by one server, in this process."""

    def __init__(self, benchmark: Benchmark, server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.benchmark = benchmark
        self.server = server
        self.folder = benchmark.folder / "result"
        self.folder.mkdir()
        self._capsys = capsys
        self.errors = ""
        self.write(*RESULTS)

    def write(self, *results: object) -> None:
        (self.folder / "results.json").write_text(json.dumps({"results": list(results)}))

    def words(self, *options: object, model: str = "gpt-4o", data: bool = True) -> list[str]:
        words: list[object] = [self.folder, "--base-url", self.server.url, "--model", model, "--json"]
        words += ["--data", self.benchmark.data] if data else []
        return [*map(str, words), *map(str, options)]

    def run(self, *options: object, status: int = 0, **choices: Any) -> list[dict[str, Any]]:
        """What it prints; fails where it ends in another way."""
        ended = judge.main(self.words(*options, **choices))
        output, self.errors = self._capsys.readouterr()
        assert ended == status, self.errors
        reports: list[dict[str, Any]] = json.loads(output)
        return reports

    def score(self) -> dict[str, Any]:
        """The report of `score`, which has signals of its own."""
        run = subprocess.run(
            [sys.executable, str(RUNNERS), "score", str(self.folder), "--json"],
            capture_output=True,
            check=True,
            env=environment(),
            timeout=120,
        )
        (report,) = json.loads(run.stdout)
        assert isinstance(report, dict)
        return report

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        return json_lines(self.folder / "verdicts.jsonl")

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.errors.splitlines() if line.startswith("error: ")]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as made:
        made.act = lambda chat: chat.answer(RIGHT)
        yield made


@pytest.fixture
def judging(benchmark_data: Benchmark, server: ChatServer, capsys: pytest.CaptureFixture[str]) -> Judging:
    return Judging(benchmark_data, server, capsys)


def gives(scores: dict[int, object]) -> Any:
    """A judge that has a reply for each task."""
    return lambda chat: chat.answer(f"[Score]: {scores[chat.number - 1]}/100")


def test_summaries_and_anomalies_are_judged_and_scored_and_no_result_is_changed(judging: Judging) -> None:
    judging.server.act = gives({1: 80, 3: 55, 4: 91})
    before = (judging.folder / "results.json").read_bytes()
    (report,) = judging.run()
    assert (report["judged_now"], report["failed"], report["unjudged"]) == (3, [5], [])
    assert report["means"] == {"Summary Analysis": 85.5, "Anomaly Analysis": 55.0, "Overall": 75.33}
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
    # The failed question counts as 0, as it does in every mean.
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
    judging.run(status=1)
    assert "1 by the program that made them" in judging.error_lines[0]
    (report,) = judging.run("--again")
    assert report["judged_now"] == 2
    assert judging.score()["aggregate_metrics"]["overall"]["GPT_EVAL"] == 80.0


def test_what_cannot_be_asked_costs_itself_alone(judging: Judging) -> None:
    def act(chat: Chat) -> object:
        if chat.number - 1 == 3:
            return chat.error(
                400, "This model's maximum context length is 9 tokens; you requested 1234 tokens."
            )
        return chat.answer(RIGHT)

    judging.server.act = act
    outside = judging.benchmark.folder / "secret.txt"
    outside.write_text("a secret")
    judging.write(
        *RESULTS[:3],
        summary(4, FileName="../../secret"),
        summary(6, FileName="gone"),
        summary(7, None),
        summary(8, Question=None),
    )
    (report,) = judging.run(status=1)
    assert report["judged_now"] == 1
    reasons = {entry["id"]: entry["reason"] for entry in report["unjudged"]}
    gone = judging.benchmark.data / "latex" / "gone.txt"
    assert reasons == {
        3: "its prompt has more tokens than the judge takes; set max_input_tokens to what it takes",
        4: "its FileName is no name of a table",
        6: f"its table cannot be read: {gone}: No such file or directory",
        7: "its Prediction is no text",
        8: "its Question is no text",
    }
    assert not any("a secret" in chat.text for chat in judging.server.chats)


def test_a_judge_that_fails_at_everything_is_not_asked_about_everything(judging: Judging) -> None:
    judging.server.act = lambda chat: chat.error(400, "max_tokens is not known here")
    judging.write(*map(summary, range(1, 30)))
    (report,) = judging.run("--concurrency", "1", status=1)
    (line,) = judging.error_lines
    assert (
        "the judge failed 5 times in a row, the last time with: Server: 400: max_tokens is not known" in line
    )
    assert len(judging.server.chats) == 5
    assert [entry["reason"] for entry in report["unjudged"]].count("not asked yet") == 24


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


@pytest.mark.parametrize("status", [401, 404])
def test_a_judge_that_is_none_ends_it_with_one_line(judging: Judging, status: int) -> None:
    judging.server.act = lambda chat: chat.error(status, "there is no such model")
    judging.run(status=1)
    (line,) = judging.error_lines
    assert line.startswith(f"error: {judging.server.url}: {status}: there is no such model")
    assert judging.verdicts == []


def test_the_key_comes_from_the_environment_and_is_never_shown(
    judging: Judging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    judging.server.act = lambda chat: chat.error(401, f"bad key {chat.headers['Authorization']}")
    judging.run("--api-key-env", "JUDGE_KEY", status=1)
    assert judging.server.chats[0].headers["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in judging.errors
    monkeypatch.delenv("JUDGE_KEY")
    judging.run("--api-key-env", "JUDGE_KEY", status=1)
    assert "the variable JUDGE_KEY is not set" in judging.error_lines[0]


def test_without_the_tables_nothing_is_asked(judging: Judging) -> None:
    judging.run(data=False, status=1)
    assert judging.error_lines == [
        "error: the judge reads the tables, and no dataset is named; name it by --data ([workspace] data of hitui.toml)"
    ]
    (judging.benchmark.data / "latex").rename(judging.benchmark.data / "tex")
    judging.run(status=1)
    assert f"{judging.benchmark.data}/latex: the folder of tables" in judging.error_lines[0]
    assert judging.server.chats == []


def test_several_are_asked_at_once_and_no_more(judging: Judging) -> None:
    together = threading.Barrier(3, timeout=60)
    judging.server.act = lambda chat: (together.wait(), chat.answer(RIGHT))[1]
    judging.write(*map(summary, range(1, 7)))
    (report,) = judging.run("--concurrency", "3")
    assert (report["judged_now"], judging.server.most) == (6, 3)


def test_a_kill_costs_what_was_being_asked_and_the_next_call_goes_on(judging: Judging) -> None:
    judging.write(*map(summary, range(1, 7)))
    judging.server.act = lambda chat: chat.hang() if len(judging.server.chats) > 3 else chat.answer(RIGHT)
    words = judging.words("--concurrency", "1")
    process = subprocess.Popen(
        [*PLAIN_PYTHON, str(RUNNERS), "judge", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        eventually(lambda: len(judging.server.chats) == 4)
        assert [verdict["id"] for verdict in judging.verdicts] == [1, 2, 3]
        judging.run("--concurrency", "1", status=1)
        assert "these results are being judged already" in judging.error_lines[0]
    finally:
        process.kill()
        process.wait()
    path = judging.folder / "verdicts.jsonl"
    # As the kill would leave it in the middle of a line.
    path.write_bytes(path.read_bytes()[:-9])
    judging.server.act = lambda chat: chat.answer(RIGHT)
    (report,) = judging.run()
    assert (report["judged_before"], report["judged_now"]) == (2, 4)
    assert sorted(verdict["id"] for verdict in judging.verdicts) == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_ends_it_at_once_with_what_was_said_until_then(judging: Judging) -> None:
    judging.server.act = lambda chat: chat.hang() if chat.number - 1 == 3 else chat.answer(RIGHT)
    process = subprocess.Popen(
        [*PLAIN_PYTHON, str(RUNNERS), "judge", *judging.words("--concurrency", "2")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        eventually(lambda: len(judging.verdicts) == 2)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in errors
    (report,) = json.loads(output)
    assert [entry["id"] for entry in report["unjudged"]] == [3]


def test_a_disk_that_takes_no_more_keeps_all_that_it_took(
    judging: Judging, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = VerdictJournal.append

    def full(self: VerdictJournal, verdict: Any) -> None:
        if self.path.stat().st_size:
            # The device that is always full, in place of the journal.
            import os

            handle, self._handle = self._handle, os.open("/dev/full", os.O_RDWR)
            try:
                append(self, verdict)
            finally:
                os.close(self._handle)
                self._handle = handle
        else:
            append(self, verdict)

    monkeypatch.setattr(VerdictJournal, "append", full)
    judging.run("--concurrency", "1", status=1)
    (line,) = judging.error_lines
    assert "cannot be written: No space left on device; make room and run again" in line
    assert [verdict["id"] for verdict in judging.verdicts] == [1]


def test_lines_that_are_no_verdicts_are_passed_over_and_an_unreadable_journal_is_named(
    judging: Judging,
) -> None:
    path = judging.folder / "verdicts.jsonl"
    path.write_text(
        '7\n{"id": 1}\nnonsense\n{"id": 1, "GPT_EVAL": 999, "model": "m", "prompts": "p", "answer": "a"}\n'
    )
    (report,) = judging.run()
    assert report["judged_now"] == 3
    assert "2 lines are no verdicts and are passed over" in judging.errors
    assert "line 3 is no JSON and is passed over" in judging.errors

    path.unlink()
    path.mkdir()
    judging.run(status=1)
    assert judging.error_lines == [f"error: {path}: is no regular file; move it away"]
    assert len(judging.server.chats) == 3


def test_what_is_printed_for_people_says_what_to_do_next(
    judging: Judging, capsys: pytest.CaptureFixture[str]
) -> None:
    judging.server.act = lambda chat: chat.answer("?" if chat.number - 1 == 3 else RIGHT)
    words = judging.words()
    words.remove("--json")
    assert judge.main(words) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{judging.folder}: 2 of 3 answers judged by gpt-4o",
        "  Summary Analysis: GPT_EVAL 80.00 over 2",
        "  Overall: GPT_EVAL 80.00",
        "  without an answer: 1 (5), for which no judge is asked",
        "  unjudged: 1 (3): asked twice, its replies hold no score from 0 to 100",
        f"  verdicts in {judging.folder / 'verdicts.jsonl'}; `hitui score` takes them in",
    ]
