"""One question: its prompts, the attempts, and what comes of it. Who puts the prompts to an engine, and how many of
them at a time, is not known here.

What ran out of memory before is tried in a lighter form, a rung of the recovery ladder at a time. Every attempt
that fails on the way is stored, so that a run that is stopped or killed there goes on above it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hitui_runners.engines.base import Answer, Prompt, Reply, TaskFailed, visible_gpus
from hitui_runners.output import say
from hitui_runners.realhitbench.answers import ERROR_PREFIX, NO_FINAL_ANSWER, final_answer
from hitui_runners.realhitbench.prompts import REMINDER, BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import VISUALIZATION, InputFiles, Question, read_table
from hitui_runners.realhitbench.recovery import (
    LAST_RUNG,
    Ladder,
    Rung,
    asked_rung,
    exhausted,
)
from hitui_runners.realhitbench.results import Result, is_error


@dataclass(frozen=True)
class RecoveryRules:
    """When a task that ran out of memory is tried in a lighter form."""

    limit: int = 100_000
    """Tokens that a prompt may have without any recovery."""
    when: str = "rerun"
    """`rerun`: where an earlier run has failed; `at-once`: in the first run already; `off`: never."""
    max_rungs: int = LAST_RUNG
    retry_exhausted: bool = False
    """Tasks that have tried every rung start again from the ground; else they keep their error."""
    gpus: int = 1
    """That the run has."""

    @classmethod
    def of_options(cls, arguments: argparse.Namespace) -> RecoveryRules:
        return cls(
            arguments.max_input_tokens,
            arguments.recovery,
            arguments.max_rungs,
            arguments.retry_exhausted,
            visible_gpus(),
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt."""

    prediction: str
    failed: bool
    reply: Reply
    unexpected: bool = False
    """The task does not explain it."""
    unread: bool = False
    """Its table or picture cannot be read."""
    recovery: Mapping[str, Any] = field(default_factory=dict)
    """What was changed for it, as its result says."""
    recorded: bool = False
    """It was not tried: the error that stands in the results already still holds."""


Steps = Generator[Prompt, Answer, Outcome]
"""What is done for one question: yields prompts, is sent what came of each, and returns what comes of the question."""


class Asker:
    """Asks the questions of one config."""

    def __init__(
        self,
        inputs: InputFiles,
        prompts: OwnPrompts | BenchmarkPrompts,
        rules: RecoveryRules,
        check: Callable[[], None],
        most_input_tokens: Callable[[], int | None] = lambda: None,
        *,
        needs_tables: bool = True,
    ) -> None:
        """`check` raises `Stopped` where a signal came: libraries can swallow the exception. `most_input_tokens`: for
        how many the model has room, once that is known; the ladder begins there where the rules allow more.
        `needs_tables`: a file without a table fails its tasks."""
        self._inputs = inputs
        self._prompts = prompts
        self._rules = rules
        self._check = check
        self._most_input_tokens = most_input_tokens
        self._needs_tables = needs_tables

    def ask(self, question: Question, before: Result | None, keep: Callable[[Outcome], None]) -> Steps:
        """What is done for a question whose newest result is `before`.

        `keep` takes each failed attempt after which a lighter one follows. Raises RunnerError.
        """
        ladder = self._ladder()
        failed_before = before is not None and is_error(before)
        rung: Rung | None = Rung(gpus=ladder.gpus)
        if before is not None and failed_before and ladder.max_rungs:
            rung = ladder.rerun(before["Prediction"], _recovery_of(before))
            if rung is None and not self._rules.retry_exhausted:
                return Outcome(before["Prediction"], True, Reply(""), recorded=True)
        rung = rung or Rung(gpus=ladder.gpus)
        climbs = failed_before or self._rules.when == "at-once"
        while True:
            outcome = yield from self._attempt(question, rung, failed_before)
            if not climbs or not outcome.failed:
                return outcome
            higher = ladder.above(rung, outcome.prediction, outcome.reply.input_tokens)
            if higher is None:
                return _exhausted(outcome, rung)
            keep(outcome)
            say(
                f"\nQuery ID: {question.id} | {outcome.prediction}: trying rung {higher.number} of the recovery ladder"
            )
            rung, failed_before = higher, True

    def _ladder(self) -> Ladder:
        return Ladder(
            min(self._rules.limit, self._most_input_tokens() or self._rules.limit),
            0 if self._rules.when == "off" else self._rules.max_rungs,
            has_image=self._inputs.modality != "text",
            has_table=self._inputs.modality != "image",
            gpus=self._rules.gpus,
        )

    def _attempt(self, question: Question, rung: Rung, failed_before: bool) -> Steps:
        outcome = yield from self._answer(question, rung, failed_before)
        said = {**rung.recovery, **outcome.reply.recovery} if rung.is_changed or outcome.failed else {}
        return replace(outcome, recovery=said or outcome.reply.recovery)

    def _answer(self, question: Question, rung: Rung, failed_before: bool) -> Steps:
        if absent := self._inputs.absent(question):
            return self._not_found(", ".join(absent))
        try:
            prompt = self._prompt(question, rung, failed_before)
            reply = yield from self._asked(prompt)
            answer = final_answer(reply.text, is_code=prompt.writes_code)
            if answer is None:
                say(f"\nQuery ID: {question.id} | no final answer in the reply; asking once more")
                reply = yield from self._asked(replace(prompt, after=prompt.after + REMINDER))
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
            # One that comes in the middle of a file names none.
            name = error.filename or " or ".join(map(str, self._inputs.files(question)))
            return replace(_failed(f"Input file cannot be read: {name}: {error.strerror}"), unread=True)
        if answer is None:
            return Outcome(NO_FINAL_ANSWER, True, reply)
        if answer.startswith("[ERROR"):
            # An answer may not look like a failure: readers of results tell them apart by this beginning.
            answer = " " + answer
        return Outcome(answer, False, reply)

    def _asked(self, prompt: Prompt) -> Generator[Prompt, Answer, Reply]:
        """Raises TaskFailed and OSError where they come in place of the reply."""
        answer = yield prompt
        self._check()
        if isinstance(answer, Reply):
            return answer
        raise answer

    def _not_found(self, names: str) -> Outcome:
        """Of a question whose input files are absent. Raises RunnerError when those of all questions are."""
        self._inputs.require_folders()
        return _failed(f"Input file not found: {names}")

    def _prompt(self, question: Question, rung: Rung, failed_before: bool) -> Prompt:
        wording = self._prompts.wording(question, self._inputs.modality, self._inputs.table_format)
        table = self._inputs.table(question)
        return Prompt(
            task_id=question.id,
            before=wording.before,
            table=read_table(table, is_needed=self._needs_tables) if table is not None else "",
            after=wording.after,
            question=question.text,
            image=self._inputs.image(question),
            table_format=self._inputs.table_format,
            failed_before=failed_before,
            writes_code=question.question_type == VISUALIZATION,
            max_input_tokens=rung.max_input_tokens,
            pixel_share=rung.pixel_share,
        )


def _recovery_of(result: Result) -> Mapping[str, object]:
    recovery = result.get("Recovery")
    return recovery if isinstance(recovery, dict) else {}


def _exhausted(outcome: Outcome, rung: Rung) -> Outcome:
    """The error of the last rung, which says so: whoever reads the results sees that a rerun would not help."""
    if not rung.number or asked_rung(outcome.prediction) is None:
        return outcome
    return replace(outcome, prediction=outcome.prediction + exhausted(rung.gpus))


def _failed(message: str) -> Outcome:
    return Outcome(ERROR_PREFIX + message, True, Reply(""))
