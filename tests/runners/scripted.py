"""An engine that does as a test says, and a run of all questions of the made-up benchmark with it, in this process."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable

import pytest
from hitui_runners.engines.base import Engine, Prompt, Reply
from hitui_runners.errors import EngineLost
from hitui_runners.events import EventWriter
from hitui_runners.realhitbench.asking import Asker, RecoveryRules
from hitui_runners.realhitbench.evaluate import Launch
from hitui_runners.realhitbench.evaluation import Evaluation
from hitui_runners.realhitbench.prompts import OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, load_questions
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.stopping import StopSignals

from tests.runners.conftest import Runner

SEVEN = Reply("[Final Answer]: 7")


class Scripted(Engine):
    """Does with each prompt what a function says, in the thread that asks; waits no longer once it is closed."""

    name = "scripted"
    at_once = 3

    def __init__(self, act: Callable[[Prompt], Reply]) -> None:
        self._act = act
        self.closed = threading.Event()
        self.threads: set[str] = set()
        self._lock = threading.Lock()

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """It has no options."""

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Scripted:
        raise NotImplementedError

    def load(self) -> None:
        """There is nothing to load."""

    def answer(self, prompt: Prompt) -> Reply:
        with self._lock:
            self.threads.add(threading.current_thread().name)
        return self._act(prompt)

    def hang(self) -> Reply:
        """Returns when the engine is closed."""
        self.closed.wait()
        raise EngineLost("closed")

    def close(self) -> None:
        self.closed.set()


def launch(runner: Runner, engine: Engine, signals: StopSignals, when: str = "rerun") -> Launch:
    questions = load_questions(runner.benchmark.questions_file, pytest.fail)
    inputs = InputFiles(runner.benchmark.data, "text", "html")
    asker = Asker(inputs, OwnPrompts(), RecoveryRules(8000, when), signals.check)
    events = EventWriter(str(runner.events_file))
    store = ResultStore(runner.output, pytest.fail)
    made = Launch(engine, signals, events)
    made.add(Evaluation(None, questions, asker, engine, store, signals, events, "Processing"))
    return made
