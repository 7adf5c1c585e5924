"""Runs RealHiTBench questions through an engine and stores every result as it comes.

    python -m hitui_runners realhitbench --engine demo --questions QA_final.json --data DATA \\
        --modality text --format html --output RESULTS --resume

With `--plan FILE` several configs, one after the other, with one load of the model.

Exit status: 0 every given task has a result (errors included), 1 the run cannot go on, or a config of the plan
could not be run (one line says why), 2 wrong usage, or `--resume` was refused because the answers there were made with
other settings, and nothing else failed; stopped by SIGTERM 143, SIGINT 130, SIGUSR1 75 ("put me back in the queue").
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence

from hitui_runners.engines import engine_class
from hitui_runners.engines.base import Engine
from hitui_runners.errors import EngineLost, RunnerError
from hitui_runners.events import EventWriter
from hitui_runners.look import can_be_entered
from hitui_runners.output import complain, named, say, warn
from hitui_runners.realhitbench.arguments import parse_arguments
from hitui_runners.realhitbench.asking import Asker, RecoveryRules
from hitui_runners.realhitbench.evaluation import Evaluation
from hitui_runners.realhitbench.order import by_beginning
from hitui_runners.realhitbench.plan import PlannedConfig, config_of_options, read_plan
from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, Question, load_questions
from hitui_runners.realhitbench.run_record import ResumeRefused, RunRecord
from hitui_runners.realhitbench.run_settings import gather
from hitui_runners.realhitbench.scoring import missing_scores
from hitui_runners.realhitbench.selection import select
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.stopping import Stopped, StopSignals

REFUSED = 2


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
        launch = Launch(engine, signals, EventWriter())
        if arguments.plan is None:
            launch.add(*prepare(arguments, config_of_options(arguments), engine, questions, signals))
        else:
            for config in read_plan(arguments.plan, launch.refuse):
                try:
                    launch.add(*prepare(arguments, config, engine, questions, signals))
                except RunnerError as error:
                    launch.refuse(config.name, error)
        return launch.run()
    except RunnerError as error:
        complain(f"error: {error}")
        return REFUSED if isinstance(error, ResumeRefused) else 1
    except Stopped as stopped:
        return stopped.exit_status


def prepare(
    arguments: argparse.Namespace,
    config: PlannedConfig,
    engine: Engine,
    questions: Sequence[Question],
    signals: StopSignals,
) -> tuple[Evaluation, RunRecord]:
    """One config, ready to run: its folder locked, its tasks chosen, its settings compared. Raises RunnerError."""
    inputs = InputFiles(arguments.data, config.modality, config.table_format)
    prompts: OwnPrompts | BenchmarkPrompts = OwnPrompts()
    if arguments.prompts:
        table_first = arguments.prompt_order == "table-first"
        prompts = BenchmarkPrompts(arguments.prompts, config.modality, table_first=table_first)
    store = ResultStore(config.output, warn, config.earlier, arguments.sync_seconds)
    record = RunRecord(
        store,
        (config.output, *config.earlier),
        functools.partial(gather, arguments, config, engine, prompts, questions),
        resume=arguments.resume,
        force=arguments.force,
    )
    try:
        chosen = select(
            config,
            questions,
            arguments.questions,
            inputs,
            store,
            resume=arguments.resume,
            at_most=arguments.max_queries,
        )
        chosen = by_beginning(chosen, prompts, inputs)
        if chosen:
            record.check()
    except RunnerError:
        store.close()
        raise
    asker = Asker(
        inputs, prompts, RecoveryRules.of_options(arguments), signals.check, lambda: engine.most_input_tokens
    )
    events = EventWriter() if config.name is None else EventWriter().of(config.name)
    label = f"Processing {config.name or config.modality}"
    return Evaluation(config.name, chosen, asker, engine, store, signals, events, label), record


class Launch:
    """One load of the engine, and the configs that share it."""

    def __init__(self, engine: Engine, signals: StopSignals, events: EventWriter) -> None:
        self._engine = engine
        self._signals = signals
        self._events = events
        self._evaluations: list[Evaluation] = []
        self._records: dict[Evaluation, RunRecord] = {}
        self._exit_status = 0
        """As far as it is decided by configs that could not be run."""
        self._refusals: list[tuple[str, str]] = []
        """Names of configs whose resume was refused, and why."""
        self._strange = 0
        """Unexpected failures in a row, over all configs."""

    def add(self, evaluation: Evaluation, record: RunRecord | None = None) -> None:
        """One more config, behind the others; `record` of the runs in its folder, None: nothing is written down."""
        self._evaluations.append(evaluation)
        if record is not None:
            self._records[evaluation] = record

    def refuse(self, name: str | None, why: str | RunnerError) -> None:
        """Says why a config of the plan cannot be run; the others are."""
        status = self._fail(name, why)
        if name:
            self._events.of(name).end(0, 0, status)

    def _fail(self, name: str | None, why: str | RunnerError) -> int:
        """Says why a config failed, and returns its exit status. Of several, that of a plain failure counts."""
        complain(f"error: {name}: {why}" if name else f"error: {why}")
        status = 1
        if isinstance(why, ResumeRefused):
            status = REFUSED
            if name:
                self._refusals.append((name, str(why)))
        self._exit_status = status if self._exit_status == 0 else min(self._exit_status, status)
        return status

    def run(self) -> int:
        """Runs the configs in their order; returns the exit status. Raises RunnerError and Stopped."""
        exit_status = 1
        try:
            pending = [evaluation for evaluation in self._evaluations if evaluation.questions]
            if pending:
                self._load(pending)
                for evaluation in pending:
                    self._signals.check()
                    self._run_one(evaluation)
            exit_status = self._exit_status
        except Stopped as stopped:
            exit_status = stopped.exit_status
            say(f"\nStopped by a signal after {self._done} tasks")
            raise
        finally:
            exit_status = self._finish(exit_status)
        if self._refusals and (self._done or len(self._refusals) > 1):
            # Who looks at the end of a log is to find them there: its last line is said of each of the configs.
            names = [name for name, _ in self._refusals]
            complain(f"error: not run: {named(names, at_most=2)}: {self._refusals[0][1]}")
        return exit_status

    @property
    def _done(self) -> int:
        return sum(evaluation.done for evaluation in self._evaluations)

    @property
    def _errors(self) -> int:
        return sum(evaluation.errors for evaluation in self._evaluations)

    def _load(self, pending: Sequence[Evaluation]) -> None:
        self._events.start(self._engine.libraries)
        self._events.phase("loading")
        for evaluation in pending:
            if evaluation.name is not None:
                evaluation.tell_progress()
        self._engine.load()
        if absent := missing_scores():
            warn(
                f"{' and '.join(absent)} cannot be computed here; install rouge-score and sacrebleu for them"
            )
        self._events.phase("running")
        self._tell_progress()

    def _tell_progress(self) -> None:
        total = sum(len(evaluation.questions) for evaluation in self._evaluations)
        self._events.progress(self._done, total, self._errors)

    def _run_one(self, evaluation: Evaluation) -> None:
        """Raises EngineLost and Stopped; what befalls this config alone is said, and the others go on."""
        planned = evaluation.name is not None
        if planned:
            evaluation.tell_running()
        failure: RunnerError | None = None
        try:
            if evaluation in self._records:
                self._records[evaluation].begin()
            evaluation.run(self._tell_progress if planned else _nothing, self._strange)
        except EngineLost:
            raise
        except RunnerError as error:
            failure = error
        self._strange = evaluation.strange
        self._end(evaluation, failure)

    def _end(self, evaluation: Evaluation, failure: RunnerError | None) -> None:
        """Writes what is still to be written of one config, and says how it ended."""
        try:
            with self._signals.held():
                try:
                    evaluation.finish()
                except RunnerError as error:
                    if failure is None:
                        failure = error
                    else:
                        warn(str(error))
                status = 0 if failure is None else self._fail(evaluation.name, failure)
                if evaluation.name is not None:
                    evaluation.tell_end(status)
        except Stopped:
            # Everything of this config is written; it is noticed before the next one.
            return

    def _finish(self, exit_status: int) -> int:
        """Writes what is still to be written; returns the exit status, which is 1 where that failed."""
        try:
            with self._signals.held():
                for evaluation in self._evaluations:
                    try:
                        evaluation.finish()
                    except RunnerError as error:
                        if exit_status == 0:
                            exit_status = 1
                            complain(f"error: {error}")
                        else:
                            warn(str(error))
                self._engine.close()
                self._events.end(self._done, self._errors, exit_status)
        except Stopped:
            # Everything is written; what ended the run before this decides the exit status.
            pass
        return exit_status


def _nothing() -> None:
    """Where there is one config, its progress is that of all."""
