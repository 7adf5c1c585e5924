"""Several questions answered together: one begins when another has ended, and nothing answered is lost."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import pytest
from hitui_runners.engines.base import Answer, Prompt, Reply, TaskFailed, text_too_large
from hitui_runners.errors import EngineLost
from hitui_runners.stopping import Stopped, StopSignals

from tests.runners.conftest import Runner
from tests.runners.scripted import SEVEN, Scripted, launch

Act = Callable[[Prompt], Reply]


class Batching(Scripted):
    """Has up to `together` prompts under way; all but the first of them end before others join."""

    at_once = 1
    looks_ahead = 4

    def __init__(self, act: Act, together: int = 3) -> None:
        super().__init__(act)
        self._together = together
        self.waited: list[int] = []
        self.under_way: list[list[int | str]] = []

    def answer_all(self, waiting: deque[Prompt]) -> Iterator[Sequence[tuple[Prompt, Answer]]]:
        begun: list[Prompt] = []
        while waiting or begun:
            self.waited.append(len(waiting))
            while waiting and len(begun) < self._together:
                begun.append(waiting.popleft())
            self.under_way.append([prompt.task_id for prompt in begun])
            ended = begun[1:] or begun
            begun = [prompt for prompt in begun if prompt not in ended]
            yield [(prompt, self.answer_of(prompt)) for prompt in ended]


def test_the_engine_takes_as_many_as_it_likes_and_each_is_stored_once(
    runner: Runner, signals: StopSignals
) -> None:
    engine = Batching(lambda prompt: SEVEN)
    assert launch(runner, engine, signals).run() == 0

    assert engine.under_way == [[1, 2, 3], [1, 4, 5], [1, 6], [1]]
    # So many are ready before one is begun, and no more.
    assert engine.waited == [4, 3, 1, 0]
    # As they come.
    assert [result["id"] for result in runner.journal] == [2, 3, 4, 5, 6, 1]
    assert [line["done"] for line in runner.events if line["event"] == "progress"] == [0, 1, 2, 3, 4, 5, 6]


def test_an_engine_that_says_nothing_is_asked_one_after_the_other(
    runner: Runner, signals: StopSignals
) -> None:
    class Silent(Scripted):
        at_once = 1
        looks_ahead = 4

    assert launch(runner, Silent(lambda prompt: SEVEN), signals).run() == 0
    assert [result["id"] for result in runner.journal] == [1, 2, 3, 4, 5, 6]


def test_what_is_asked_once_more_is_next_and_together(
    runner: Runner, signals: StopSignals, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(prompt: Prompt) -> Reply:
        if prompt.task_id in (1, 3) and "Give it now." not in prompt.after:
            return Reply("Seven, I think.")
        if prompt.task_id == 4 and prompt.max_input_tokens is None:
            raise text_too_large(9000)
        return SEVEN

    engine = Batching(act)
    assert launch(runner, engine, signals, "at-once").run() == 0

    assert engine.under_way == [[1, 2, 3], [1, 3, 4], [1, 4, 5], [1, 6], [1], [1]]
    assert [(result["id"], result.get("Recovery", {}).get("rung")) for result in runner.journal] == [
        (2, None), (3, None), (4, None), (4, 2), (5, None), (6, None), (1, None),
    ]  # fmt: skip
    assert runner.events[-1]["errors"] == 0
    # Several are under way: it is said of which.
    said = [line for line in capsys.readouterr().out.splitlines() if "once more" in line or "rung" in line]
    assert [said[0], said[1], said[-1]] == [
        "Query ID: 3 | no final answer in the reply; asking once more",
        "Query ID: 4 | [ERROR] OOM: Text too large (9000 tokens): trying rung 2 of the recovery ladder",
        "Query ID: 1 | no final answer in the reply; asking once more",
    ]


def test_what_has_no_prompt_takes_no_place(runner: Runner, signals: StopSignals) -> None:
    runner.benchmark.ask(7, "gone", "How many boats?", "1")
    runner.benchmark.ask(8, "harbours", "How many boats lie in Saltby?", "63")
    engine = Batching(lambda prompt: SEVEN, 4)
    assert launch(runner, engine, signals).run() == 0

    assert engine.under_way == [[1, 2, 3, 4], [1, 5, 6, 8], [1]]
    (absent,) = [result for result in runner.journal if result["id"] == 7]
    assert absent["Prediction"].startswith("[ERROR] Input file not found: ")
    assert runner.events[-1]["errors"] == 1


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 75)]
)
def test_a_signal_keeps_what_was_answered_together(
    runner: Runner, signals: StopSignals, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    signals.install()
    real = os.write

    def write(handle: int, data: bytes) -> int:
        if data.startswith(b'{"id": 2,') or data.startswith(b'{"id":2,'):
            os.kill(os.getpid(), number)
        return real(handle, data)

    monkeypatch.setattr(os, "write", write)
    engine = Batching(lambda prompt: SEVEN)
    with pytest.raises(Stopped) as stopped:
        launch(runner, engine, signals).run()

    assert stopped.value.exit_status == status
    assert [result["id"] for result in runner.journal] == [2, 3]
    assert runner.snapshot["processed_ids"] == [2, 3]
    assert runner.events[-1]["exit"] == status


def test_a_signal_in_a_batch_costs_what_was_being_answered(runner: Runner, signals: StopSignals) -> None:
    signals.install()

    def act(prompt: Prompt) -> Reply:
        if prompt.task_id == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return SEVEN

    with pytest.raises(Stopped):
        launch(runner, Batching(act), signals).run()

    assert [result["id"] for result in runner.journal] == [2, 3]


def test_an_answer_that_looks_like_an_error_is_none(runner: Runner, signals: StopSignals) -> None:
    engine = Batching(lambda prompt: Reply("[Final Answer]: [ERROR] in Saltby"))
    assert launch(runner, engine, signals).run() == 0

    assert {result["Prediction"] for result in runner.journal} == {" [ERROR] in Saltby"}
    assert sorted(runner.snapshot["processed_ids"]) == [1, 2, 3, 4, 5, 6]
    assert runner.events[-1]["errors"] == 0


def test_an_engine_that_is_lost_in_a_batch_blames_no_task(runner: Runner, signals: StopSignals) -> None:
    def act(prompt: Prompt) -> Reply:
        if prompt.task_id == 1:
            raise EngineLost("the GPU is gone")
        return SEVEN

    with pytest.raises(EngineLost, match="the GPU is gone"):
        launch(runner, Batching(act), signals).run()

    assert [result["id"] for result in runner.journal] == [2, 3, 4, 5, 6]


def test_strange_failures_end_the_run_within_a_batch(
    runner: Runner, signals: StopSignals, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(prompt: Prompt) -> Reply:
        raise TaskFailed("RuntimeError: no kernel image", unexpected=True)

    assert launch(runner, Batching(act, 6), signals).run() == 1

    assert len(runner.journal) == 5
    assert "the last 5 tasks failed with errors that are not theirs" in capsys.readouterr().err


def test_what_took_a_batch_its_time_is_shared(
    runner: Runner, signals: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all that are under way at a time: whoever sums it up knows how long the run took, and none has the time of all."""
    now = iter(range(0, 1000, 6))
    monkeypatch.setattr("hitui_runners.realhitbench.in_batches.monotonic", lambda: float(next(now)))
    monkeypatch.setattr("hitui_runners.realhitbench.attempts.monotonic", lambda: 0.0)
    assert launch(runner, Batching(lambda prompt: SEVEN), signals).run() == 0

    assert {result["id"]: result["ProcessingTime"] for result in runner.journal} == {
        1: 2.0 + 2.0 + 3.0 + 6.0, 2: 2.0, 3: 2.0, 4: 2.0, 5: 2.0, 6: 3.0,
    }  # fmt: skip
