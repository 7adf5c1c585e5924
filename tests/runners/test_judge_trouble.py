"""The program `judge` where something is wrong: it costs itself alone, and no verdict is lost."""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Engine, Prompt, Reply, TaskFailed
from hitui_runners.errors import RunnerError
from hitui_runners.realhitbench.judge_asking import Item, JudgeAsker, ask_all, item_of
from hitui_runners.realhitbench.judge_prompts import judge_prompts
from hitui_runners.realhitbench.judge_verdicts import (
    Judge,
    OfThisUnit,
    Verdict,
    VerdictJournal,
    digest_of,
)
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import RUNNERS, environment, json_lines
from tests.runners.judging import RESULTS, RIGHT, Judging, judging_by_server, summary
from tests.tools.benchmark import Benchmark
from tests.tools.chat_server import Chat
from tests.tools.eventually import eventually
from tests.tools.plain_python import PLAIN_PYTHON


@pytest.fixture
def judging(benchmark_data: Benchmark, capsys: pytest.CaptureFixture[str]) -> Iterator[Judging]:
    with judging_by_server(benchmark_data, capsys) as made:
        yield made


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
        summary(9, FileName="a\0b"),
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
        9: "its FileName is no name of a table",
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


def test_answers_about_one_table_that_are_refused_keep_no_others_from_being_judged(judging: Judging) -> None:
    for name in ("a", "b", "c", "quays"):
        judging.benchmark.add_table(name)
    refused = [summary(number, FileName="abc"[number // 3]) for number in range(9)]
    others = [summary(number, FileName="quays") for number in range(10, 14)]

    def act(chat: Chat) -> object:
        bad = any(f"(No. {number})" in chat.text for number in range(9))
        return chat.error(400, "content filter") if bad else chat.answer(RIGHT)

    judging.server.act = act
    judging.write(*refused[:6], *others)
    (report,) = judging.run("--concurrency", "1", status=1)
    assert (report["judged_now"], len(report["unjudged"])) == (4, 6)
    # With those alone left it is the same, and not one that fails at everything.
    judging.server.chats.clear()
    (report,) = judging.run("--concurrency", "1", status=1)
    assert (report["judged_now"], len(report["unjudged"]), len(judging.server.chats)) == (0, 6, 6)
    assert not judging.error_lines

    # Of three tables in a row: that is told, and the next call asks first what was not asked.
    (judging.folder / "verdicts.jsonl").unlink()
    judging.write(*refused, *others)
    for judged in (0, 4):
        (report,) = judging.run("--concurrency", "1", status=1)
        assert report["judged_now"] == judged
        (line,) = judging.error_lines
        assert "in a row, the last time with: Server: 400: content filter" in line


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


def test_what_another_call_judged_meanwhile_is_not_asked_again(judging: Judging) -> None:
    list_models = judging.server.act_on_models

    def act(chat: Chat) -> object:
        # While the server is waited for, another call judges all.
        judging.server.act_on_models = list_models
        other = [*PLAIN_PYTHON, str(RUNNERS), "judge", *judging.words()]
        subprocess.run(other, check=True, capture_output=True, env=environment(), timeout=60)
        return list_models(chat)

    judging.server.act_on_models = act
    (report,) = judging.run()
    assert (report["judged_before"], report["judged_now"], len(judging.server.chats)) == (3, 0, 3)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_at_once_with_what_was_said_until_then(
    judging: Judging, number: signal.Signals, status: int
) -> None:
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
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status
    assert "Traceback" not in errors
    (report,) = json.loads(output)
    assert [entry["id"] for entry in report["unjudged"]] == [3]


class LateJudge(Engine):
    """Fails at every task but the first, of which it has a verdict when it is told to end."""

    at_once = 2

    def __init__(self) -> None:
        self.closed = threading.Event()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        raise NotImplementedError

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Engine:
        raise NotImplementedError

    def load(self) -> None:
        raise NotImplementedError

    def answer(self, prompt: Prompt) -> Reply:
        if prompt.task_id != 1:
            raise TaskFailed("broken", unexpected=True)
        assert self.closed.wait(60)
        return Reply(RIGHT)

    def close(self) -> None:
        self.closed.set()


def test_a_verdict_that_comes_while_all_is_ended_is_kept(benchmark_data: Benchmark) -> None:
    prompts = judge_prompts(None)
    asker = JudgeAsker(LateJudge(), prompts, benchmark_data.data, Judge("gpt-4o", prompts.digest))
    items = [item for item in map(item_of, map(summary, range(1, 9))) if isinstance(item, Item)]
    taken: list[Verdict] = []
    with pytest.raises(RunnerError, match="the judge failed 5 times in a row"):
        ask_all(items, asker, taken.append, StopSignals(), tables=1)
    assert [verdict.task for verdict in taken if verdict.score == 80.0] == [1]
    assert len(taken) == 6


def test_a_disk_that_takes_no_more_keeps_all_that_it_took(
    judging: Judging, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = VerdictJournal.append

    def full(self: VerdictJournal, verdict: Any) -> None:
        if self.path.stat().st_size:
            # The device that is always full, in place of the journal.
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


@pytest.mark.parametrize("end", [b"", b'\n{"id": 2, "GPT_EV'], ids=["no line end", "torn"])
def test_a_verdict_stands_on_a_line_of_its_own_whatever_a_kill_left(tmp_path: Path, end: bytes) -> None:
    first, second = (Verdict(task, "a", Judge("gpt-4o", "p"), 80.0) for task in (1, 3))
    path = tmp_path / "verdicts.jsonl"
    path.write_bytes(json.dumps(first.line()).encode() + end)
    with contextlib.closing(VerdictJournal(tmp_path, pytest.fail)) as journal:
        journal.append(second)
    assert json_lines(path) == [first.line(), second.line()]


def test_of_a_verdict_for_which_there_is_no_room_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = Verdict(1, "a", Judge("gpt-4o", "p"), 80.0)
    real_write = os.write

    def write(handle: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(handle, data[:-10])

    with contextlib.closing(VerdictJournal(tmp_path, pytest.fail)) as journal:
        journal.append(verdict)
        before = journal.path.read_bytes()
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(RunnerError, match="the verdict on task 1 cannot be written"):
            journal.append(verdict)
        monkeypatch.undo()
        assert journal.path.read_bytes() == before


def test_results_are_judged_by_one_program_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        contextlib.closing(VerdictJournal(tmp_path, pytest.fail)),
        pytest.raises(OfThisUnit, match="these results are being judged already"),
    ):
        VerdictJournal(tmp_path, pytest.fail)

    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    told: list[str] = []
    monkeypatch.setattr(fcntl, "flock", flock)
    VerdictJournal(tmp_path, told.append).close()
    assert "cannot be locked on this file system (No locks available)" in told[0]


def test_lines_that_are_no_verdicts_are_passed_over_and_an_unreadable_journal_is_named(
    judging: Judging,
) -> None:
    path = judging.folder / "verdicts.jsonl"
    rest = f'"model": "m", "prompts": "p", "answer": "{digest_of(RESULTS[0])}"}}'
    path.write_text(f'7\n{{"id": 1}}\nnonsense\n{{"id": 1, {rest}\n{{"id": 1, "GPT_EVAL": 999, {rest}\n')
    (report,) = judging.run()
    assert report["judged_now"] == 3
    assert "lines that are no verdicts, passed over: 3" in judging.errors
    assert "line 3 is no JSON and is passed over" in judging.errors

    path.unlink()
    path.mkdir()
    other = judging.folder.with_name("other")
    other.mkdir()
    shutil.copy(judging.folder / "results.json", other)
    # What is wrong with one folder costs the others nothing.
    (report,) = judging.run(other, status=1)
    assert judging.error_lines == [f"error: {path}: is no regular file; move it away"]
    assert (report["name"], report["judged_now"]) == (str(other), 3)
