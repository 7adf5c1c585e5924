"""What a run's answers depend on, gathered in one place: options, engine, model, prompts, versions.

Every option of the command line counts as deciding the answers, unless it is named here as one that says where and what
is run, or by its engine as one of speed. So an option that is new, and of which nobody thought here, is written down and
compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hitui_runners.engines.base import Engine
from hitui_runners.errors import RunnerError
from hitui_runners.realhitbench.plan import PlannedConfig
from hitui_runners.realhitbench.prompts import DATA_ANALYSIS, REMINDER, BenchmarkPrompts, OwnPrompts
from hitui_runners.realhitbench.questions import Question
from hitui_runners.versions import own_version, versions

OF_THE_RUN = frozenset((
    "questions", "data", "plan", "output", "earlier", "ids", "ids_file", "resume", "force", "max_queries", "sync_seconds",
    # What they change for a task stands beside its answer.
    "recovery", "max_rungs", "retry_exhausted",
    # Said otherwise: of each config, by the engine, and word by word.
    "modality", "format", "model", "adapter", "dtype", "prompts",
))  # fmt: skip
"""Options (as attributes of the arguments) that say what is run and where, and decide no answer by themselves."""
DECIDING_NOTHING = {
    "text": frozenset(("max_pixels",)),
    "image": frozenset(("max_input_tokens", "truncation", "prompt_order")),
}
"""Modality → options that its answers do not depend on: a runner has one of each for all its configs, with pictures or
without, with tables as text or without."""
LIBRARIES_OF_SCORES = ("sacrebleu", "rouge-score")
DIGITS = 12


@dataclass(frozen=True)
class RunSettings:
    """What a run's answers depend on, as values of JSON."""

    settings: Mapping[str, object] = field(default_factory=dict)
    """What decides them. A key that is not known yet is not there; one with an object as its value has parts."""
    versions: Mapping[str, object] = field(default_factory=dict)
    """What may change them a little: of programs and libraries, and a digest of the question list."""
    beside: Mapping[str, object] = field(default_factory=dict)
    """What changes how fast they come, and what is good to know."""

    @property
    def id(self) -> str:
        """Eight digits that no other settings have."""
        return digest(json.dumps([self.settings, self.versions, self.beside], sort_keys=True).encode())[:8]


def gather(
    arguments: argparse.Namespace,
    config: PlannedConfig,
    engine: Engine,
    prompts: OwnPrompts | BenchmarkPrompts,
    questions: Sequence[Question],
) -> RunSettings:
    """The settings of the run of one config; complete when the engine is loaded.

    `questions`: the whole list, whichever of them are run.
    """
    facts = engine.facts()
    deciding, of_speed = options(vars(arguments), engine)
    nothing = DECIDING_NOTHING.get(config.modality, frozenset())
    found = RunSettings(
        {
            "engine": engine.name,
            "modality": config.modality,
            "format": config.table_format,
            **{name: value for name, value in deciding.items() if name not in nothing},
            **facts.settings,
            "prompts": prompt_digests(questions, prompts, config),
        },
        {
            **versions((*engine.libraries, *LIBRARIES_OF_SCORES)),
            "hitui_runners": own_version(),
            "question list": digest(repr(tuple(questions)).encode("utf-8", "surrogatepass")),
        },
        {**of_speed, **facts.beside},
    )
    # As they are read again: with lists, where someone gave tuples.
    return RunSettings(
        *(json.loads(json.dumps(part)) for part in (found.settings, found.versions, found.beside))
    )


def options(
    arguments: Mapping[str, object], engine: Engine | type[Engine]
) -> tuple[dict[str, object], dict[str, object]]:
    """The options that decide answers, and those of speed."""
    deciding: dict[str, object] = {}
    of_speed: dict[str, object] = {}
    for name, value in arguments.items():
        if name != "engine" and name not in OF_THE_RUN:
            (of_speed if name in engine.speed_options else deciding)[name] = (
                str(value) if isinstance(value, Path) else value
            )
    return deciding, of_speed


def prompt_digests(
    questions: Iterable[Question], prompts: OwnPrompts | BenchmarkPrompts, config: PlannedConfig
) -> dict[str, str]:
    """Kind of question → digest of the words around table and question. A kind that has no prompt is not there."""
    kinds = sorted({(question.question_type, question.sub_type) for question in questions})
    words: dict[str, set[str]] = {}
    for question_type, sub_type in kinds:
        # What no question can be: so that all of a kind have one wording, whatever each of them asks.
        stand_in = Question(0, "", "\0", question_type, sub_type, "")
        try:
            wording = prompts.wording(stand_in, config.modality, config.table_format)
        except RunnerError:
            continue
        kind = sub_type if question_type == DATA_ANALYSIS else question_type
        words.setdefault(kind, set()).add(f"{wording.before}\0\0{wording.after}")
    return {kind: digest("\0\0\0".join((*sorted(of_kind), REMINDER)).encode("utf-8", "surrogatepass"))
            for kind, of_kind in words.items()}  # fmt: skip


def digest(content: bytes) -> str:
    """The first digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]
