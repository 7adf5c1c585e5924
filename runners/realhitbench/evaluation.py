"""The run of one config: every question asked, its result stored and told as soon as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hitui_runners.engines.base import Engine
from hitui_runners.errors import RunnerError
from hitui_runners.events import EventWriter
from hitui_runners.output import warn
from hitui_runners.progress import ProgressBar
from hitui_runners.realhitbench.asking import Asker, Outcome, Steps
from hitui_runners.realhitbench.at_once import ask_at_once
from hitui_runners.realhitbench.attempts import Attempt
from hitui_runners.realhitbench.in_batches import ask_in_batches
from hitui_runners.realhitbench.questions import Question
from hitui_runners.realhitbench.results import Result
from hitui_runners.realhitbench.scoring import metrics_for
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.realhitbench.strange_failures import StrangeFailures
from hitui_runners.stopping import StopSignals


class Evaluation:
    """Asks, scores, stores, tells."""

    def __init__(
        self,
        name: str | None,
        questions: Sequence[Question],
        asker: Asker,
        engine: Engine,
        store: ResultStore,
        signals: StopSignals,
        events: EventWriter,
        label: str,
        tables: int | None = None,
    ) -> None:
        """`name`: of the config, where a launch has several. `label`: of the progress bar. `tables`: how many its whole
        question list is about; None: as many as these questions."""
        self.name = name
        self.questions = tuple(questions)
        self.done = 0
        self.errors = 0
        self._asker = asker
        self._engine = engine
        self._store = store
        self._signals = signals
        self._events = events
        self._label = label
        self._tables = tables or len({question.file_name for question in self.questions})
        self._finished = False

    def tell_progress(self) -> None:
        """The event line that says how far it is."""
        self._events.progress(self.done, len(self.questions), self.errors)

    def tell_running(self) -> None:
        """The event line that says that it is its turn."""
        self._events.phase("running")

    def tell_end(self, exit_status: int) -> None:
        """The event line that says how it ended."""
        self._events.end(self.done, self.errors, exit_status)

    def run(self, after_task: Callable[[], None], strange: StrangeFailures) -> None:
        """Asks the questions in their order, as many at a time as the engine takes; `after_task` is called when one
        has ended.

        `strange`: unexpected failures in a row, those of the configs before included.

        Raises RunnerError, EngineLost and Stopped.
        """
        before = {question.id: self._store.result(question.id) for question in self.questions}

        def ask(question: Question, keep: Callable[[Outcome], None]) -> Steps:
            return self._asker.ask(question, before[question.id], keep)

        bar = ProgressBar(self._label, len(self.questions))
        bar.show(0)

        def take(attempt: Attempt) -> None:
            with self._signals.held():
                self._take(attempt, bar, after_task)
                if self._store.snapshot_is_due:
                    self._save_snapshot()
            if attempt.is_last:
                table, outcome = attempt.question.file_name, attempt.outcome
                failed = strange.not_theirs(table, outcome.unexpected, self._tables, unread=outcome.unread)
                if failed:
                    raise RunnerError(
                        f"the last {failed} tasks failed with errors that are not theirs, the last one with: "
                        f"{outcome.prediction}; mend that and run again with --resume"
                    )

        try:
            engine = self._engine
            if engine.at_once > 1:
                ask_at_once(self.questions, ask, engine.answer_of, take, engine.at_once, self._signals)
            else:
                ask_in_batches(self.questions, ask, engine, take, self._signals)
        finally:
            bar.close()

    def finish(self) -> None:
        """Writes what is still to be written and gives the folder back; does nothing the second time.

        Raises RunnerError where the snapshot cannot be written.
        """
        if self._finished:
            return
        self._finished = True
        try:
            self._store.save_snapshot()
        finally:
            self._store.close()

    def _take(self, attempt: Attempt, bar: ProgressBar, after_task: Callable[[], None]) -> None:
        """Stores what came of a question, and tells of it where nothing follows."""
        result = self._result(attempt)
        if not attempt.outcome.recorded:
            self._store.append(result)
        if attempt.is_last:
            self.done += 1
            self.errors += attempt.outcome.failed
            self._tell(bar, result, attempt)
            after_task()

    def _result(self, attempt: Attempt) -> Result:
        question, outcome = attempt.question, attempt.outcome
        result: dict[str, Any] = {
            "id": question.id,
            "FileName": question.file_name,
            "QuestionType": question.question_type,
            "SubQType": question.sub_type,
            "Question": question.text,
            "Reference": question.reference,
            "Prediction": outcome.prediction,
            "Metrics": metrics_for(question, outcome.prediction, failed=outcome.failed),
            "ProcessingTime": attempt.seconds,
        }
        if outcome.recovery:
            result["Recovery"] = dict(outcome.recovery)
        result["Engine"] = self._engine.name
        return result

    def _tell(self, bar: ProgressBar, result: Result, attempt: Attempt) -> None:
        outcome, seconds = attempt.outcome, attempt.seconds
        changed = " | not tried again" if outcome.recorded else _changes(outcome)
        bar.write(
            f"Query ID: {result['id']} | {result['QuestionType']} | {result['SubQType']}{changed}\n"
            f"  answer:    {result['Prediction']}\n"
            f"  reference: {result['Reference']}\n"
            f"  {result['Metrics'] or 'unscored, for `hitui score` runs charts:'} {seconds:.2f} s"
        )
        bar.show(self.done)
        self._events.task(
            result["id"],
            failed=outcome.failed,
            seconds=seconds,
            input_tokens=outcome.reply.input_tokens,
            output_tokens=outcome.reply.output_tokens,
        )
        self.tell_progress()

    def _save_snapshot(self) -> None:
        try:
            self._store.save_snapshot()
        except RunnerError as error:
            # The journal has everything, and the end of the run tries again.
            warn(str(error))


def _changes(outcome: Outcome) -> str:
    """What was changed for a reply, for people."""
    recovery: Mapping[str, Any] = outcome.recovery
    words = f" | rung {recovery['rung']}" if "rung" in recovery else ""
    if "uncut_tokens" in recovery:
        words += f" | cut to {outcome.reply.input_tokens} tokens of {recovery['uncut_tokens']}"
    if "max_pixels" in recovery:
        words += f" | image scaled to {recovery['max_pixels']} pixels"
    return words
