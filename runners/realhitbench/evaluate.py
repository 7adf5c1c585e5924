"""Runs RealHiTBench questions through an engine and stores every result as it comes.

    python -m hitui_runners realhitbench --engine demo --questions QA_final.json --data DATA \\
        --modality text --format html --output RESULTS --resume

With `--plan FILE` several configs, one after the other, with one load of the model.

Exit status: 0 every given task has a result (errors included), 1 the run cannot go on, or a config of the plan could
not be run (one line says why), 78 the same, and it would be so again until a person changes something (a library, the
model folder, a list, an option), 2 wrong usage, or `--resume` was refused because the answers there were made with other
settings; of several configs the first of these in this order that befell one. Stopped by SIGTERM 143, SIGINT 130, SIGUSR1
75 ("put me back in the queue").
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence

from hitui_runners.engines import engine_class
from hitui_runners.engines.base import Engine
from hitui_runners.errors import EngineLost, RunnerError, SetupError
from hitui_runners.events import EventWriter
from hitui_runners.look import can_be_entered
from hitui_runners.output import complain, counted, named, say, warn
from hitui_runners.realhitbench.arguments import parse_arguments
from hitui_runners.realhitbench.asking import Asker, RecoveryRules
from hitui_runners.realhitbench.evaluation import Evaluation
from hitui_runners.realhitbench.order import by_beginning, failed_last
from hitui_runners.realhitbench.plan import PlannedConfig, config_of_options, read_plan
from hitui_runners.realhitbench.prompts import BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import InputFiles, Question, load_questions
from hitui_runners.realhitbench.run_record import ResumeRefused, RunRecord
from hitui_runners.realhitbench.run_settings import gather
from hitui_runners.realhitbench.scoring import missing_scores
from hitui_runners.realhitbench.selection import select
from hitui_runners.realhitbench.store import ResultStore
from hitui_runners.realhitbench.strange_failures import StrangeFailures
from hitui_runners.stopping import Stopped, StopSignals

WORST_FIRST = (RunnerError.exit_status, SetupError.exit_status, ResumeRefused.exit_status)
"""Exit statuses of configs that could not be run: whether a new try may help is what matters most."""


def main(words: Sequence[str]) -> int:
    """The program; returns its exit status."""
    arguments = parse_arguments(words)
    signals = StopSignals()
    signals.install()
    try:
        engine = made(arguments)
        questions = load_questions(arguments.questions, warn)
        if not can_be_entered(arguments.data):
            raise SetupError(
                f"{arguments.data}: there is no data folder that can be entered; give it by --data"
            )
        launch = Launch(engine, signals, EventWriter())
        if arguments.plan is None:
            launch.add(*prepare(arguments, config_of_options(arguments), engine, questions, signals))
        else:
            for config in read_plan(arguments.plan, lambda name, why: launch.refuse(name, SetupError(why))):
                try:
                    launch.add(*prepare(arguments, config, engine, questions, signals))
                except RunnerError as error:
                    launch.refuse(config.name, error)
        return launch.run()
    except RunnerError as error:
        complain(f"error: {error}")
        return error.exit_status
    except Stopped as stopped:
        return stopped.exit_status


def made(arguments: argparse.Namespace) -> Engine:
    """The engine, not yet loaded. Raises SetupError where an option cannot be meant."""
    try:
        return engine_class(arguments.engine).from_arguments(arguments)
    except RunnerError as error:
        raise SetupError(str(error)) from error


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
        chosen = failed_last(by_beginning(chosen, prompts, inputs), lambda one: store.failures(one.id))
        if chosen:
            record.check()
    except RunnerError:
        store.close()
        raise
    asker = Asker(
        inputs,
        prompts,
        RecoveryRules.of_options(arguments),
        signals.check,
        lambda: engine.most_input_tokens,
        needs_tables=engine.needs_tables,
    )
    events = EventWriter() if config.name is None else EventWriter().of(config.name)
    label = f"Processing {config.name or config.modality}"
    tables = len({question.file_name for question in questions})
    return Evaluation(config.name, chosen, asker, engine, store, signals, events, label, tables), record


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
        self._left: dict[type[RunnerError], list[tuple[str, str]]] = {ResumeRefused: [], SetupError: []}
        """Names of the configs that a new try does not help, and why."""
        self._strange = StrangeFailures()

    def add(self, evaluation: Evaluation, record: RunRecord | None = None) -> None:
        """One more config, behind the others; `record` of the runs in its folder, None: nothing is written down."""
        self._evaluations.append(evaluation)
        if record is not None:
            self._records[evaluation] = record

    def refuse(self, name: str | None, why: RunnerError) -> None:
        """Says why a config of the plan cannot be run; the others are."""
        status = self._fail(name, why)
        if name:
            self._events.of(name).end(0, 0, status)

    def _fail(self, name: str | None, why: RunnerError) -> int:
        """Says why a config failed, and returns its exit status; of several the worst counts."""
        complain(f"error: {name}: {why}" if name else f"error: {why}")
        if name and type(why) in self._left:
            self._left[type(why)].append((name, str(why)))
        known = {self._exit_status, why.exit_status}
        self._exit_status = next(status for status in WORST_FIRST if status in known)
        return why.exit_status

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
            say(f"\nStopped by a signal after {counted(self._done, 'task')}")
            raise
        except RunnerError as error:
            exit_status = error.exit_status
            raise
        finally:
            exit_status = self._finish(exit_status)
        if self._done or sum(map(len, self._left.values())) > 1:
            # Who looks at the end of a log is to find them there: its last line is said of each of the configs.
            for left in filter(None, self._left.values()):
                complain(f"error: not run: {named([name for name, _ in left], at_most=2)}: {left[0][1]}")
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
