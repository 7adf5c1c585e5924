"""Questions put to an engine that answers several of them together.

The engine is shown the next prompts and says how many of the first of them it takes. Which ones are answered together
follows from the questions alone, not from time: the same questions make the same batches, except where memory runs
out. What comes of a batch is stored before the next one begins; a stop or a kill costs the batch at hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from time import monotonic

from hitui_runners.engines.base import Answer, Engine, Prompt
from hitui_runners.realhitbench.asking import Outcome, Steps
from hitui_runners.realhitbench.at_once import Ask, Attempt, Take
from hitui_runners.realhitbench.questions import Question
from hitui_runners.stopping import StopSignals


def ask_in_batches(
    questions: Sequence[Question], ask: Ask, engine: Engine, take: Take, signals: StopSignals
) -> None:
    """Asks the questions in their order, as many at a time as the engine says.

    A question that is asked once more, in other words or in a lighter form, is next. Raises what the engine or `take`
    raises, and Stopped; what was answered by then is taken first.
    """
    waiting: deque[_Asked] = deque()
    following = iter(questions)
    while True:
        _look_ahead(waiting, following, ask, take, engine.looks_ahead)
        if not waiting:
            return
        batch = [waiting.popleft() for _ in range(engine.together([asked.prompt for asked in waiting]))]
        again: dict[int, _Asked] = {}
        began = monotonic()
        for answers in engine.answer_all([asked.prompt for asked in batch]):
            share = (monotonic() - began) / max(1, len(answers))
            # All of these were answered: a stop that comes while they are taken waits for the last of them.
            with signals.held():
                for place, answer in answers.items():
                    if batch[place].go_on(answer, share):
                        again[place] = batch[place]
            began = monotonic()
        waiting.extendleft(again[place] for place in sorted(again, reverse=True))


def _look_ahead(
    waiting: deque[_Asked], following: Iterable[Question], ask: Ask, take: Take, length: int
) -> None:
    """Begins questions until so many prompts are waiting; what ends without a prompt is taken at once."""
    if len(waiting) >= length:
        return
    for question in following:
        asked = _Asked(question, ask, take)
        if asked.go_on(None, 0.0):
            waiting.append(asked)
            if len(waiting) >= length:
                return


class _Asked:
    """A question that was begun."""

    prompt: Prompt
    """What it waits for an answer to."""

    def __init__(self, question: Question, ask: Ask, take: Take) -> None:
        self._question = question
        self._take = take
        self._seconds = 0.0
        self._steps: Steps = ask(question, lambda outcome: self._bring(outcome, is_last=False))

    def go_on(self, answer: Answer | None, seconds: float) -> bool:
        """Whether there is one more prompt after this answer, which took so long; None: it begins."""
        self._seconds += seconds
        try:
            self.prompt = next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self._bring(end.value, is_last=True)
            return False
        return True

    def _bring(self, outcome: Outcome, *, is_last: bool) -> None:
        self._take(Attempt(self._question, outcome, round(self._seconds, 2), is_last))
