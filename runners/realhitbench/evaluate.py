"""Runs RealHiTBench questions through an engine and stores every result as it comes.

    python -m hitui_runners realhitbench --engine demo --questions QA_final.json --data DATA \\
        --modality text --format html --output RESULTS --resume

Exit status: 0 every given task has a result (errors included), 1 the run cannot go on (one line says why), 2
wrong usage; stopped by SIGTERM 143, SIGINT 130, SIGUSR1 75 ("put me back in the queue").
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hitui_runners.engines import engine_class
from hitui_runners.engines.base import Engine, Prompt, Reply, TaskFailed
from hitui_runners.errors import RunnerError
from hitui_runners.events import EventWriter
from hitui_runners.look import can_be_entered
from hitui_runners.output import complain, say, warn
from hitui_runners.progress import ProgressBar
from hitui_runners.realhitbench.answers import ERROR_PREFIX, NO_FINAL_ANSWER, final_answer
from hitui_runners.realhitbench.arguments import parse_arguments
from hitui_runners.realhitbench.prompts import REMINDER, BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import (
    VISUALIZATION,
    InputFiles,
    Question,
    load_questions,
    read_table,
)
from hitui_runners.realhitbench.results import Result
from hitui_runners.realhitbench.scoring import metrics_for, missing_libraries
from hitui_runners.realhitbench.selection import select
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.stopping import Stopped, StopSignals

SNAPSHOT_SECONDS = 60.0
STRANGE_FAILURES = 5
"""After so many unexpected failures in a row the run ends, rather than mark thousands of tasks as failed."""


def main(words: Sequence[str]) -> int:
    """The program; returns its exit status."""
    arguments = parse_arguments(words)
    signals = StopSignals()
    signals.install()
    try:
        engine = engine_class(arguments.engine).from_arguments(arguments)
        questions = load_questions(arguments.questions, warn)
        if not can_be_entered(arguments.data):
            raise RunnerError(
                f"{arguments.data}: there is no data folder that can be entered; give it by --data"
            )
        inputs = InputFiles(arguments.data, arguments.modality, arguments.format)
        prompts = (
            BenchmarkPrompts(arguments.prompts, arguments.modality) if arguments.prompts else OwnPrompts()
        )
        store = ResultStore(arguments.output, warn)
        chosen = select(arguments, questions, inputs, store)
        evaluation = Evaluation(engine, inputs, prompts, store, signals, EventWriter())
        return evaluation.run(chosen)
    except RunnerError as error:
        complain(f"error: {error}")
        return 1
    except Stopped as stopped:
        return stopped.exit_status


@dataclass(frozen=True)
class Outcome:
    """What came of one question."""

    prediction: str
    failed: bool
    reply: Reply
    unexpected: bool = False


class Evaluation:
    """One run: asks, scores, stores, tells."""

    def __init__(
        self,
        engine: Engine,
        inputs: InputFiles,
        prompts: OwnPrompts | BenchmarkPrompts,
        store: ResultStore,
        signals: StopSignals,
        events: EventWriter,
    ) -> None:
        self._engine = engine
        self._inputs = inputs
        self._prompts = prompts
        self._store = store
        self._signals = signals
        self._events = events
        self._done = 0
        self._errors = 0

    def run(self, questions: Sequence[Question]) -> int:
        """Runs the questions in their order; returns the exit status. Raises RunnerError and Stopped."""
        exit_status = 1
        try:
            if questions:
                self._events.phase("loading")
                self._engine.load()
                if absent := missing_libraries():
                    warn(
                        f"{' and '.join(absent)} cannot be computed here: "
                        "rouge_score or sacrebleu is not installed, or broken"
                    )
                self._events.phase("running")
                self._run_all(questions)
            exit_status = 0
        except Stopped as stopped:
            exit_status = stopped.exit_status
            say(f"\nStopped by a signal after {self._done} tasks")
            raise
        finally:
            self._finish(exit_status)
        return exit_status

    def _finish(self, exit_status: int) -> None:
        """Writes what is still to be written. Raises RunnerError, unless the run has failed already."""
        try:
            with self._signals.held():
                try:
                    self._store.save_snapshot()
                except RunnerError as error:
                    if exit_status == 0:
                        exit_status = 1
                        raise
                    warn(str(error))
                finally:
                    self._engine.close()
                    self._store.close()
                    self._events.end(self._done, self._errors, exit_status)
        except Stopped:
            # Everything is written; what ended the run before this decides the exit status.
            return

    def _run_all(self, questions: Sequence[Question]) -> None:
        label = f"Processing {self._inputs.modality}"
        bar = ProgressBar(label, len(questions))
        bar.show(0)
        self._events.progress(0, len(questions), 0)
        saved = time.monotonic()
        strange = 0
        try:
            for question in questions:
                started = time.monotonic()
                outcome = self._ask(question)
                seconds = round(time.monotonic() - started, 2)
                result = self._result(question, outcome, seconds)
                with self._signals.held():
                    self._store.append(result)
                    self._done += 1
                    self._errors += outcome.failed
                    self._tell(bar, result, outcome, seconds, len(questions))
                    if time.monotonic() - saved > SNAPSHOT_SECONDS:
                        self._save_snapshot()
                        saved = time.monotonic()
                strange = strange + 1 if outcome.unexpected else 0
                if strange == STRANGE_FAILURES:
                    raise RunnerError(
                        f"the last {strange} tasks failed with errors that are not theirs, the last one with: "
                        f"{outcome.prediction}; mend that and run again with --resume"
                    )
        finally:
            bar.close()

    def _ask(self, question: Question) -> Outcome:
        if absent := self._inputs.absent(question):
            return self._not_found(", ".join(absent))
        try:
            prompt = self._prompt(question)
            reply = self._engine.answer(prompt)
            self._signals.check()
            answer = final_answer(reply.text, is_code=prompt.writes_code)
            if answer is None:
                say("\nNo final answer in the reply; asking once more")
                reply = self._engine.answer(replace(prompt, after=prompt.after + REMINDER))
                self._signals.check()
                answer = final_answer(reply.text, is_code=prompt.writes_code)
        except TaskFailed as failure:
            return Outcome(
                ERROR_PREFIX + failure.message,
                True,
                Reply("", failure.input_tokens, recovery=failure.recovery),
                failure.unexpected,
            )
        except FileNotFoundError as error:
            return self._not_found(str(error.filename))
        except OSError as error:
            return _failed(f"Input file cannot be read: {error.filename}: {error.strerror}", unexpected=True)
        if answer is None:
            return Outcome(NO_FINAL_ANSWER, True, reply)
        if answer.startswith("[ERROR"):
            # An answer may not look like a failure: readers of results tell them apart by this beginning.
            answer = " " + answer
        return Outcome(answer, False, reply)

    def _not_found(self, names: str) -> Outcome:
        """Of a question whose input files are absent. Raises RunnerError when those of all questions are."""
        self._inputs.require_folders()
        return _failed(f"Input file not found: {names}")

    def _prompt(self, question: Question) -> Prompt:
        wording = self._prompts.wording(question, self._inputs.modality, self._inputs.table_format)
        table = self._inputs.table(question)
        return Prompt(
            task_id=question.id,
            before=wording.before,
            table=read_table(table) if table is not None else "",
            after=wording.after,
            question=question.text,
            image=self._inputs.image(question),
            table_format=self._inputs.table_format,
            failed_before=self._store.has_failed(question.id),
            writes_code=question.question_type == VISUALIZATION,
        )

    def _result(self, question: Question, outcome: Outcome, seconds: float) -> Result:
        result: dict[str, Any] = {
            "id": question.id,
            "FileName": question.file_name,
            "QuestionType": question.question_type,
            "SubQType": question.sub_type,
            "Question": question.text,
            "Reference": question.reference,
            "Prediction": outcome.prediction,
            "Metrics": metrics_for(question, outcome.prediction, failed=outcome.failed),
            "ProcessingTime": seconds,
        }
        if outcome.reply.recovery:
            result["Recovery"] = dict(outcome.reply.recovery)
        result["Engine"] = self._engine.name
        return result

    def _tell(self, bar: ProgressBar, result: Result, outcome: Outcome, seconds: float, total: int) -> None:
        changed = _changes(outcome.reply)
        bar.write(
            f"Query ID: {result['id']} | {result['QuestionType']} | {result['SubQType']}{changed}\n"
            f"  answer:    {result['Prediction']}\n"
            f"  reference: {result['Reference']}\n"
            f"  {result['Metrics']} {seconds:.2f} s"
        )
        bar.show(self._done)
        self._events.task(
            result["id"],
            failed=outcome.failed,
            seconds=seconds,
            input_tokens=outcome.reply.input_tokens,
            output_tokens=outcome.reply.output_tokens,
        )
        self._events.progress(self._done, total, self._errors)

    def _save_snapshot(self) -> None:
        try:
            self._store.save_snapshot()
        except RunnerError as error:
            # The journal has everything, and the end of the run tries again.
            warn(str(error))


def _changes(reply: Reply) -> str:
    """What was changed for a reply, for people."""
    words = ""
    if "token_budget" in reply.recovery:
        words += f" | cut to {reply.input_tokens} tokens of {reply.recovery.get('uncut_tokens')}"
    if "pixels" in reply.recovery:
        words += f" | image scaled to {reply.recovery['pixels']} pixels"
    return words


def _failed(message: str, *, unexpected: bool = False) -> Outcome:
    return Outcome(ERROR_PREFIX + message, True, Reply(""), unexpected)
