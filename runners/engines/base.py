"""What every engine is: it is loaded once, and answers one prompt after another.

An engine knows nothing of benchmarks, result files or scores.
"""

from __future__ import annotations

import argparse
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Prompt:
    """One question to a model. What it reads is image, `before`, `table`, `after`, in this order."""

    task_id: int | str
    before: str
    table: str
    """The only part that may be cut to fit a token budget; empty when the table is in the image alone."""
    after: str
    """Instructions and question; ends with the reminder when an earlier reply had no final answer."""
    question: str
    """The bare question, which is also part of `after`."""
    image: Path | None = None
    table_format: str | None = None
    failed_before: bool = False
    """An earlier run left an error for this task."""
    writes_code: bool = False
    """The answer asked for is a program."""
    max_input_tokens: int | None = None
    """At most so many, if that is less than the engine's own limit; None: as the engine does."""
    pixel_share: float = 1.0
    """Which share of the pixels the image gets that it would have otherwise."""


@dataclass(frozen=True)
class Reply:
    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    recovery: Mapping[str, object] = field(default_factory=dict)
    """What was changed to get this reply (`max_input_tokens` and `uncut_tokens`, `truncation` where it was not ours,
    `max_pixels`); empty when nothing was."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself beside its options, as values of JSON; before `load` what it knows by then."""

    settings: Mapping[str, object] = field(default_factory=dict)
    """What decides its answers: which model, how tokens are chosen, in which numbers it computes. Answers that were
    made with others are not mixed with them unasked."""
    beside: Mapping[str, object] = field(default_factory=dict)
    """What is good to know: on which devices, what the hub or the server calls the model."""


class TaskFailed(Exception):
    """This prompt has no reply, the next one may: the text behind `[ERROR] ` in its result."""

    def __init__(self, message: str, *, input_tokens: int | None = None, unexpected: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.input_tokens = input_tokens
        self.unexpected = unexpected
        """No failure that a task can have: when several come in a row, the fault is not in the tasks."""
        self.recovery: Mapping[str, object] = {}
        """What had been changed for this attempt, as in `Reply`."""


Answer = Reply | TaskFailed | OSError
"""What comes of a prompt: an OSError where the disk does not give its picture."""


def text_too_large(tokens: int) -> TaskFailed:
    """Out of memory at a prompt of text; worded as in the stored results of RealHiTBench runs."""
    return TaskFailed(f"OOM: Text too large ({tokens} tokens)", input_tokens=tokens)


def image_too_large(size: tuple[int, int], tokens: int | None = None) -> TaskFailed:
    """Out of memory at a prompt with an image of `size` (width, height) pixels; worded as stored."""
    return TaskFailed(f"OOM: Image too large ({size})", input_tokens=tokens)


class Engine(ABC):
    """`load` may raise RunnerError, `answer` TaskFailed, OSError, or EngineLost, which ends the run."""

    name: str
    """What results carry under the key `Engine`."""
    libraries: tuple[str, ...] = ()
    """Whose versions decide what it answers."""
    speed_options: tuple[str, ...] = ()
    """Those of its own options (as attributes of the arguments) that no answer depends on, but how fast it comes, or
    for how long it is tried. All others count as deciding the answers."""
    at_once: int = 1
    """How many prompts it is asked at the same time. Above 1, `answer` is called by other threads than the main
    one, and `close` makes those end that wait in it."""
    most_input_tokens: int | None = None
    """Tokens of a prompt for which the model itself has room, whatever the options say; None: that is not known,
    or not before `load`."""
    needs_tables: bool = True
    """False: it makes something up of whatever stands in their place."""
    looks_ahead: int = 1
    """How many prompts wait where `answer_all` takes them from, if there are so many. Above 1, `at_once` is 1."""

    @classmethod
    @abstractmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Adds the engine's own options."""

    @classmethod
    @abstractmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Engine:
        """The engine, not yet loaded. Raises RunnerError when an option cannot be meant."""

    @abstractmethod
    def load(self) -> None:
        """Makes ready; may take minutes."""

    @abstractmethod
    def answer(self, prompt: Prompt) -> Reply:
        """The reply to one prompt."""

    def answer_all(self, waiting: deque[Prompt]) -> Iterator[Sequence[tuple[Prompt, Answer]]]:
        """What comes of the prompts that wait, and of those that are put there meanwhile: whatever comes at a time as soon
        as it comes. One that is begun is taken out at the left; where it has to be begun once more, it is put back. The
        end: none waits, and none is under way. May raise EngineLost on the way.
        """
        while waiting:
            prompt = waiting.popleft()
            yield [(prompt, self.answer_of(prompt))]

    def answer_of(self, prompt: Prompt) -> Answer:
        """What comes of one prompt. Raises EngineLost."""
        try:
            return self.answer(prompt)
        except (TaskFailed, OSError) as failure:
            return failure

    def facts(self) -> EngineFacts:
        """What is written down beside its answers; more after `load` than before."""
        return EngineFacts()

    @abstractmethod
    def close(self) -> None:
        """Gives back what `load` took; may be called without a `load`, and twice."""


def named_gpus() -> int:
    """How many GPUs CUDA_VISIBLE_DEVICES names, which CUDA reads up to the first that cannot be one."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return next((place for place, name in enumerate(named) if name in ("", "-1", "NoDevFiles")), len(named))


def visible_gpus() -> int:
    """How many GPUs this process is to use; 1 where none is named."""
    return max(1, named_gpus())
