"""Questions put to an engine that answers several of them together, or one after the other.

The engine takes prompts from those that wait, and may take more while others are under way. What comes of a prompt is
stored as soon as it comes: a stop or a kill costs those that were being answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from time import monotonic

from hitui_runners.engines.base import Answer, Engine, Prompt
from hitui_runners.realhitbench.attempts import Ask, Asked, Take
from hitui_runners.realhitbench.questions import Question
from hitui_runners.stopping import StopSignals


def ask_in_batches(
    questions: Sequence[Question], ask: Ask, engine: Engine, take: Take, signals: StopSignals
) -> None:
    """Asks the questions in their order, as many at a time as the engine takes.

    A question that is asked once more, in other words or in a lighter form, is next. Raises what the engine or `take`
    raises, and Stopped; what was answered by then is taken first.
    """
    begun = _Begun((Asked(question, ask, take) for question in questions), engine.looks_ahead)
    begun.look_ahead()
    while begun.waiting:
        began = monotonic()
        for answers in engine.answer_all(begun.waiting):
            begun.spend(monotonic() - began)
            # All of these were answered: a stop that comes while they are taken waits for the last of them.
            with signals.held():
                begun.go_on(answers)
            begun.look_ahead()
            began = monotonic()


class _Begun:
    """Questions that were begun and have not ended."""

    def __init__(self, following: Iterator[Asked], looks_ahead: int) -> None:
        self.waiting: deque[Prompt] = deque()
        """Whom the engine has not taken."""
        self._following = following
        self._looks_ahead = looks_ahead
        self._asked: dict[int, Asked] = {}
        """By the identity of the prompt that waits, or is under way."""
        self._seconds: dict[int, float] = {}
        """What each has taken by now, likewise."""

    def look_ahead(self) -> None:
        """Begins questions until so many prompts are waiting; what ends without a prompt is taken at once."""
        while len(self.waiting) < self._looks_ahead:
            asked = next(self._following, None)
            if asked is None:
                return
            if asked.go_on():
                self.waiting.append(self._prompt_of(asked))

    def spend(self, seconds: float) -> None:
        """Shares the time that all took who are under way: each has an equal part of it."""
        waiting = set(map(id, self.waiting))
        under_way = [prompt for prompt in self._asked if prompt not in waiting]
        for prompt in under_way:
            self._seconds[prompt] += seconds / len(under_way)

    def go_on(self, answers: Sequence[tuple[Prompt, Answer]]) -> None:
        """Takes what came; who is asked once more is next."""
        again: list[Prompt] = []
        for prompt, answer in answers:
            asked = self._asked.pop(id(prompt))
            if asked.go_on(answer, self._seconds.pop(id(prompt))):
                again.append(self._prompt_of(asked))
        self.waiting.extendleft(reversed(again))

    def _prompt_of(self, asked: Asked) -> Prompt:
        self._asked[id(asked.prompt)] = asked
        self._seconds[id(asked.prompt)] = 0.0
        return asked.prompt
