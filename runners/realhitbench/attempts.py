"""A question that was begun: it waits for the answer to its prompt, goes on with it, and ends with an outcome.

Who asks, in which thread and how many at a time, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from hitui_runners.engines.base import Answer, Prompt
from hitui_runners.realhitbench.asking import Outcome, Steps
from hitui_runners.realhitbench.questions import Question


@dataclass(frozen=True)
class Attempt:
    """What came of asking a question, and when."""

    question: Question
    outcome: Outcome
    seconds: float
    """Since the question was first asked; of prompts that were answered together, its share."""
    is_last: bool
    """False: it failed, and a lighter one follows."""


Ask = Callable[[Question, Callable[[Outcome], None]], Steps]
"""What is done for a question; its steps give each failed outcome before the last one to its second argument."""
Take = Callable[[Attempt], None]


class Asked:
    """A question under way; `take` gets its attempts."""

    prompt: Prompt
    """What it waits for an answer to."""

    def __init__(self, question: Question, ask: Ask, take: Take) -> None:
        self._question = question
        self._take = take
        self._seconds = 0.0
        self._steps: Steps = ask(question, lambda outcome: self._bring(outcome, is_last=False))

    def go_on(self, answer: Answer | None = None, seconds: float = 0.0) -> bool:
        """Whether there is one more prompt after this answer, which took so long; None: it begins."""
        self._seconds += seconds
        began = monotonic()
        try:
            self.prompt = next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self._bring(end.value, is_last=True)
            return False
        self._seconds += monotonic() - began
        return True

    def _bring(self, outcome: Outcome, *, is_last: bool) -> None:
        self._take(Attempt(self._question, outcome, round(self._seconds, 2), is_last))
