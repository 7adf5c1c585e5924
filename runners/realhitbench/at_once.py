"""Several questions put to the engine at a time, each by a thread of its own.

Signals, results and event lines belong to the main thread. The other threads only ask: what comes of a question
waits until the main thread takes it, and a stop that comes meanwhile takes what waits before it goes on. No thread
begins another question before its last one was taken: however fast the engine is and however slow the disk, a kill
costs no more than the questions that were being asked.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic

from hitui_runners.engines.base import Answer, Prompt
from hitui_runners.realhitbench.attempts import Ask, Asked, Attempt, Take
from hitui_runners.realhitbench.questions import Question
from hitui_runners.stopping import StopSignals

LOOK_SECONDS = 0.5
"""After so long the main thread wakes by itself: a system may hand a signal to another thread, which does not wake
the one that Python lets answer it."""


def ask_at_once(
    questions: Sequence[Question],
    ask: Ask,
    answer: Callable[[Prompt], Answer],
    take: Take,
    at_once: int,
    signals: StopSignals,
) -> None:
    """Asks up to `at_once` questions at a time, begun in their order; `take` runs in this thread alone.

    Raises what `answer` or `take` raises, and Stopped. Answers that had come by then are taken first, except where
    `take` itself failed. Questions still with the engine then are not waited for: closing it ends their threads.
    """
    crowd = _Crowd(questions, ask, answer, min(at_once, len(questions)))
    taking = False
    try:
        working = crowd.start()
        while working:
            try:
                crowd.bell.get(timeout=LOOK_SECONDS)
            except Empty:
                continue
            with signals.held():
                arrival = crowd.arrived.popleft()
                if isinstance(arrival, BaseException):
                    raise arrival
                if arrival is None:
                    working -= 1
                    continue
                taking = True
                take(arrival)
                taking = False
                if arrival.is_last:
                    crowd.go_on()
    except BaseException:
        crowd.dismiss()
        if not taking:
            with signals.held():
                for arrival in crowd.drain():
                    take(arrival)
        raise


class _Crowd:
    """Threads that ask, and what they have brought."""

    def __init__(
        self, questions: Sequence[Question], ask: Ask, answer: Callable[[Prompt], Answer], size: int
    ) -> None:
        self._waiting = deque(questions)
        self._ask = ask
        self._answer = answer
        self._size = size
        self._free = threading.Semaphore(size)
        """How many more questions may be begun before the outcome of one is taken."""
        self.arrived: deque[Attempt | BaseException | None] = deque()
        """Attempts; what ended a thread; None for one that found nothing left to ask."""
        self.bell: SimpleQueue[None] = SimpleQueue()
        """Rings once for each arrival, behind it: who was interrupted between the two loses none."""

    def start(self) -> int:
        """Starts the threads, and returns their number."""
        for number in range(self._size):
            # Daemons: one that waits for the engine for ever must not keep the process from its end.
            threading.Thread(target=self._work, name=f"asking-{number}", daemon=True).start()
        return self._size

    def go_on(self) -> None:
        """The outcome of a question was taken: another may be begun."""
        self._free.release()

    def dismiss(self) -> None:
        """No further question is begun; threads that wait for one end."""
        self._waiting.clear()
        self._free.release(self._size)

    def drain(self) -> list[Attempt]:
        """The attempts that have come and were not taken."""
        drained = []
        while self.arrived:
            arrival = self.arrived.popleft()
            if isinstance(arrival, Attempt):
                drained.append(arrival)
        return drained

    def _work(self) -> None:
        try:
            while True:
                self._free.acquire()
                try:
                    question = self._waiting.popleft()
                except IndexError:
                    break
                self._put(Asked(question, self._ask, self._bring))
        except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
            self._bring(error)
        else:
            self._bring(None)

    def _put(self, asked: Asked) -> None:
        more = asked.go_on()
        while more:
            began = monotonic()
            answer = self._answer(asked.prompt)
            more = asked.go_on(answer, monotonic() - began)

    def _bring(self, arrival: Attempt | BaseException | None) -> None:
        self.arrived.append(arrival)
        self.bell.put(None)
