"""Which tasks a run runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from hitui_runners.errors import RunnerError
from hitui_runners.output import named, say, warn
from hitui_runners.realhitbench.questions import InputFiles, Question
from hitui_runners.realhitbench.store import ResultStore


def select(
    arguments: argparse.Namespace,
    questions: Sequence[Question],
    inputs: InputFiles,
    store: ResultStore,
) -> tuple[Question, ...]:
    """The questions to run, in the order of the question list. Raises RunnerError.

    With `--ids` or `--ids-file` those, else all whose input files are there: a task that is blocked gets no
    result unless it was asked for by its id. With `--resume` the answered ones are left out.
    """
    wanted = _wanted_ids(arguments)
    if wanted is not None:
        known = {str(question.id): question for question in questions}
        unknown = [identifier for identifier in wanted if identifier not in known]
        if unknown:
            warn(f"{arguments.questions}: no question has id {named(unknown)}; the others run")
        chosen = [question for question in questions if str(question.id) in wanted]
        if wanted and not chosen:
            raise RunnerError(f"{arguments.questions}: none of the ids asked for is in this question list")
    else:
        chosen = list(questions)
        blocked = [question for question in chosen if inputs.absent(question)]
        if blocked:
            warn(
                f"{inputs.data}: tasks without their input files are left out: {named([q.id for q in blocked])}"
            )
            blocked_ids = {question.id for question in blocked}
            chosen = [question for question in chosen if question.id not in blocked_ids]
    if arguments.resume:
        answered = sum(store.is_answered(question.id) for question in chosen)
        chosen = [question for question in chosen if not store.is_answered(question.id)]
        if answered:
            say(f"Resuming: {answered} tasks have an answer already")
    chosen = chosen[: arguments.max_queries]
    say(f"{len(chosen)} tasks to run out of {len(questions)} questions")
    return tuple(chosen)


def _wanted_ids(arguments: argparse.Namespace) -> frozenset[str] | None:
    """Ids as text, so that `5` from a command line finds 5 and "5"; None when all are wanted."""
    if arguments.ids is not None:
        return frozenset(filter(None, (identifier.strip() for identifier in arguments.ids.split(","))))
    if arguments.ids_file is None:
        return None
    path: Path = arguments.ids_file
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunnerError(f"{path}: the ids cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunnerError(f"{path}: the ids are no JSON: {error}") from error
    ids = data.get("ids") if isinstance(data, dict) else None
    if not isinstance(ids, list):
        raise RunnerError(f'{path}: an object with a list "ids" is expected')
    return frozenset(str(identifier) for identifier in ids)
