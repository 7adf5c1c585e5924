"""Which tasks of a config a run runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hitui_runners.errors import SetupError
from hitui_runners.output import counted, named, say, warn
from hitui_runners.realhitbench.plan import PlannedConfig
from hitui_runners.realhitbench.questions import InputFiles, Question
from hitui_runners.realhitbench.results import is_error
from hitui_runners.realhitbench.store import ResultStore


def select(
    config: PlannedConfig,
    questions: Sequence[Question],
    questions_file: Path,
    inputs: InputFiles,
    store: ResultStore,
    *,
    resume: bool,
    at_most: int | None,
) -> tuple[Question, ...]:
    """The questions to run, in the order of the question list. Raises SetupError.

    With ids those, else all whose input files are there: a task that is blocked gets no result unless it was
    asked for by its id. With `resume` the answered ones are left out.
    """
    of_config = f"{config.name}: " if config.name else ""
    if config.ids is not None:
        known = {str(question.id) for question in questions}
        unknown = [identifier for identifier in sorted(config.ids) if identifier not in known]
        if unknown:
            warn(f"{of_config}{questions_file}: no question has id {named(unknown)}; the others run")
        chosen = [question for question in questions if str(question.id) in config.ids]
        if config.ids and not chosen:
            raise SetupError(f"{questions_file}: none of the ids asked for is in this question list")
    else:
        chosen = list(questions)
        blocked = [question for question in chosen if inputs.absent(question)]
        if blocked:
            warn(
                f"{of_config}{inputs.data}: tasks without their input files are left out: "
                f"{named([q.id for q in blocked])}"
            )
            blocked_ids = {question.id for question in blocked}
            chosen = [question for question in chosen if question.id not in blocked_ids]
    if resume:
        answered = sum(store.is_answered(question.id) for question in chosen)
        chosen = [question for question in chosen if not store.is_answered(question.id)]
        if answered:
            say(f"{of_config}Resuming: {counted(answered, 'task')} answered already")
        # Whichever are asked now: what was answered may not be among them.
        if others := [question.id for question in questions if _was_another(question, store)]:
            warn(
                f"{of_config}{questions_file}: answered tasks whose question is another there now: {named(others)}; "
                "their answers stay, unless they are asked for by --ids without --resume"
            )
    chosen = chosen[:at_most]
    say(f"{of_config}{counted(len(chosen), 'task')} to run out of {counted(len(questions), 'question')}")
    return tuple(chosen)


def _was_another(question: Question, store: ResultStore) -> bool:
    """Whether it is answered, and its answer says that it is one to another question."""
    result = store.result(question.id)
    if result is None or is_error(result):
        return False
    asked = result.get("Question")
    return isinstance(asked, str) and asked != question.text
