"""Several questions at a time: stored as they come, by one thread, with nothing lost that was answered."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.engines.base import Prompt, Reply, TaskFailed, text_too_large
from hitui_runners.errors import EngineLost
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.stopping import Stopped, StopSignals

from tests.runners.conftest import Runner, json_lines
from tests.runners.scripted import SEVEN, Scripted, launch


def test_so_many_are_asked_at_a_time_and_each_is_stored_once(runner: Runner, signals: StopSignals) -> None:
    # Nobody gets past it but in threes.
    together = threading.Barrier(3, timeout=30)

    def act(prompt: Prompt) -> Reply:
        together.wait()
        return SEVEN

    engine = Scripted(act)
    assert launch(runner, engine, signals).run() == 0

    assert len(engine.threads) == 3
    assert threading.current_thread().name not in engine.threads
    assert sorted(result["id"] for result in runner.journal) == [1, 2, 3, 4, 5, 6]
    assert sorted(runner.snapshot["processed_ids"]) == [1, 2, 3, 4, 5, 6]
    progress = [line["done"] for line in runner.events if line["event"] == "progress"]
    assert progress == [0, 1, 2, 3, 4, 5, 6]


def test_what_comes_first_is_on_disk_while_others_are_still_asked(
    runner: Runner, signals: StopSignals
) -> None:
    def act(prompt: Prompt) -> Reply:
        if prompt.task_id == 1:
            while len(json_lines(runner.output / "results.jsonl")) < 5:
                assert not engine.closed.wait(0.01)
        return SEVEN

    engine = Scripted(act)
    assert launch(runner, engine, signals).run() == 0

    assert [result["id"] for result in runner.journal][-1] == 1


def test_the_ladder_is_climbed_by_each_for_itself_and_every_attempt_is_stored(
    runner: Runner, signals: StopSignals
) -> None:
    def act(prompt: Prompt) -> Reply:
        if prompt.task_id in (2, 5) and prompt.max_input_tokens != 2000:
            raise text_too_large(9000)
        return SEVEN

    assert launch(runner, Scripted(act), signals, "at-once").run() == 0

    rungs = [(result["id"], result.get("Recovery", {}).get("rung")) for result in runner.journal]
    for task in (2, 5):
        assert [rung for identifier, rung in rungs if identifier == task] == [None, 2, 3, 4]
    assert len(rungs) == 6 + 2 * 3
    assert runner.events[-1]["errors"] == 0


def test_an_engine_that_is_lost_ends_the_run_and_blames_no_task(runner: Runner, signals: StopSignals) -> None:
    def act(prompt: Prompt) -> Reply:
        if prompt.task_id == 1:
            return engine.hang()
        if prompt.task_id == 4:
            raise EngineLost("the server is gone")
        return SEVEN

    engine = Scripted(act)
    with pytest.raises(EngineLost, match="the server is gone"):
        launch(runner, engine, signals).run()

    # What ends the run was asked behind at least one that was answered.
    assert runner.journal
    assert {result["id"] for result in runner.journal} <= {2, 3, 5, 6}
    assert {result["Prediction"] for result in runner.journal} == {"7"}
    assert runner.events[-1]["exit"] == 1


def test_what_was_answered_behind_the_end_is_stored_and_nothing_else_is_begun(
    runner: Runner, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    storing, lost, answered = threading.Event(), threading.Event(), threading.Event()
    real = ResultStore.append

    def act(prompt: Prompt) -> Reply:
        begun.append(prompt.task_id)
        if prompt.task_id == 1:
            return SEVEN
        if prompt.task_id == 2:
            storing.wait(60)
            lost.set()
            raise EngineLost("the server is gone")
        if prompt.task_id == 3:
            lost.wait(60)
            # Behind what ends the run.
            time.sleep(0.05)
            answered.set()
            return SEVEN
        return engine.hang()

    def append(self: ResultStore, result: Any) -> None:
        if not storing.is_set():
            storing.set()
            answered.wait(60)
            time.sleep(0.05)
            # What was not stored yet keeps its thread from the next question.
            assert sorted(map(str, begun)) == ["1", "2", "3"]
        real(self, result)

    engine = Scripted(act)
    monkeypatch.setattr(ResultStore, "append", append)
    with pytest.raises(EngineLost, match="the server is gone"):
        launch(runner, engine, signals).run()

    assert [result["id"] for result in runner.journal] == [1, 3]
    # The thread of one of the two had begun another when the end came.
    time.sleep(0.05)
    assert set(begun) <= {1, 2, 3, 4}


def test_strange_failures_in_a_row_end_the_run(
    runner: Runner, signals: StopSignals, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(prompt: Prompt) -> Reply:
        if prompt.task_id == 1:
            return engine.hang()
        raise TaskFailed("RuntimeError: no kernel image", unexpected=True)

    engine = Scripted(act)
    assert launch(runner, engine, signals).run() == 1

    assert sorted(result["id"] for result in runner.journal) == [2, 3, 4, 5, 6]
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "the last 5 tasks failed with errors that are not theirs" in said


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)]
)
def test_a_signal_ends_it_at_once_and_keeps_what_was_answered(
    runner: Runner, signals: StopSignals, number: int, status: int
) -> None:
    signals.install()

    def act(prompt: Prompt) -> Reply:
        if prompt.task_id in (1, 2):
            return engine.hang()
        if prompt.task_id == 5:
            os.kill(os.getpid(), number)
            return engine.hang()
        return SEVEN

    engine = Scripted(act)
    with pytest.raises(Stopped) as stopped:
        launch(runner, engine, signals).run()

    assert stopped.value.exit_status == status
    assert [result["id"] for result in runner.journal] == [3, 4]
    assert runner.snapshot["processed_ids"] == [3, 4]
    assert runner.events[-1]["exit"] == status


def test_a_full_disk_ends_it_with_whole_results(
    runner: Runner, signals: StopSignals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = launch(runner, Scripted(lambda prompt: SEVEN), signals)
    real = os.write
    full = threading.Event()

    def write(handle: int, data: bytes) -> int:
        if len(runner.journal) == 2 and data.startswith(b'{"id"'):
            full.set()
            raise OSError(28, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(os, "write", write)
    assert made.run() == 1

    assert full.is_set()
    assert len(runner.journal) == 2
    assert runner.events[-1]["exit"] == 1
