"""Questions put to an engine that answers several of them together, or one after the other.

The engine is shown the next prompts and says how many of the first of them it takes. Which ones are answered together
follows from the questions alone, not from time: the same questions make the same batches, except where memory runs
out. What comes of a prompt is stored as soon as it comes, also while others of its batch go on: a stop or a kill costs
those that were being answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from time import monotonic

from hitui_runners.engines.base import Engine
from hitui_runners.realhitbench.attempts import Ask, Asked, Take
from hitui_runners.realhitbench.questions import Question
from hitui_runners.stopping import StopSignals


def ask_in_batches(
    questions: Sequence[Question], ask: Ask, engine: Engine, take: Take, signals: StopSignals
) -> None:
    """Asks the questions in their order, as many at a time as the engine says.

    A question that is asked once more, in other words or in a lighter form, is next. Raises what the engine or `take`
    raises, and Stopped; what was answered by then is taken first.
    """
    waiting: deque[Asked] = deque()
    following = iter(questions)
    while True:
        _look_ahead(waiting, following, ask, take, engine.looks_ahead)
        if not waiting:
            return
        batch = [waiting.popleft() for _ in range(engine.together([asked.prompt for asked in waiting]))]
        again: dict[int, Asked] = {}
        began, share, under_way = monotonic(), 0.0, len(batch)
        for answers in engine.answer_all([asked.prompt for asked in batch]):
            # The time that all took who were under way is that of each of them in equal parts.
            share += (monotonic() - began) / max(1, under_way)
            under_way -= len(answers)
            # All of these were answered: a stop that comes while they are taken waits for the last of them.
            with signals.held():
                for place, answer in answers.items():
                    if batch[place].go_on(answer, share):
                        again[place] = batch[place]
            began = monotonic()
        waiting.extendleft(again[place] for place in sorted(again, reverse=True))


def _look_ahead(
    waiting: deque[Asked], following: Iterable[Question], ask: Ask, take: Take, length: int
) -> None:
    """Begins questions until so many prompts are waiting; what ends without a prompt is taken at once."""
    if len(waiting) >= length:
        return
    for question in following:
        asked = Asked(question, ask, take)
        if asked.go_on():
            waiting.append(asked)
            if len(waiting) >= length:
                return
