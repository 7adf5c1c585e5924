"""Whose turn it is: which of the prompts that wait join those that are answered together, and what becomes of all of them
when memory runs out, or something else goes wrong.

Who joins follows from the prompts and their answers, not from time. A prompt that finds no company is answered alone.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from hitui_runners.engines.base import Answer, Prompt, Reply, TaskFailed
from hitui_runners.engines.batch_budget import BatchBudget
from hitui_runners.engines.continuous_batch import ContinuousBatch
from hitui_runners.engines.memory import free_memory, out_of_memory
from hitui_runners.errors import words_of
from hitui_runners.output import say


@dataclass(frozen=True)
class Ready:
    """A prompt as the model gets it."""

    prompt: Prompt
    tokens: int
    recovery: dict[str, object]
    is_short: bool
    """To be computed together with others that are."""
    inputs: Any
    """None where it is computed."""
    picture: object
    """The same object for the same picture; None where there is none."""


@dataclass(frozen=True)
class _Failure:
    words: str
    ran_out_of_memory: bool


READY_AT_MOST = 2
"""The one whose turn it is, and the one behind it: the pixels of a picture take memory."""
Answers = Sequence[tuple[Prompt, Answer]]


class Turns:
    """Answers prompts together, as many as there is room for."""

    def __init__(
        self,
        batch: ContinuousBatch,
        budget: BatchBudget,
        make_ready: Callable[[Prompt], Ready | Answer | None],
        answer: Callable[[Prompt, Ready | None], Reply],
        decode: Callable[[Any], str],
    ) -> None:
        """`make_ready`: the prompt as the model gets it, what comes of one that cannot be asked, or None where that shows
        when it is answered, or where it is answered with no other. `answer`: the reply to one by itself, which may be made
        ready; it raises what `Engine.answer` does. `decode`: the text of token ids."""
        self._batch = batch
        self._budget = budget
        self._make_ready = make_ready
        self._answer = answer
        self._decode = decode
        self._numbers = count()
        self._under_way: dict[int, Ready] = {}
        self._room = 0
        """Tokens for those under way: as many as the budget had when the last of them joined."""
        self._ready: dict[Prompt, Ready | Answer | None] = {}
        """Of those whose turn is next."""

    def answer_all(self, waiting: deque[Prompt]) -> Iterator[Answers]:
        """As `Engine.answer_all`."""
        try:
            while waiting or self._under_way:
                yield from self._let_join(waiting)
                if self._under_way:
                    yield from self._go_on(waiting)
            if self._computing(self._batch.settle) is not None:
                self._forget()
        except BaseException:
            # Also where nobody waits for the rest any more.
            self._forget()
            raise

    def _let_join(self, waiting: deque[Prompt]) -> Iterator[Answers]:
        """Computes those for whom there is room; gives what comes of those that are answered alone."""
        if waiting and (failure := self._computing(self._batch.settle)) is not None:
            yield from self._lose(failure, waiting)
        short: dict[int, Ready] = {}
        while waiting:
            ready = self._made_ready(waiting[0])
            if ready is not None and not isinstance(ready, Ready):
                yield [(self._taken(waiting), ready)]
                continue
            needs = [*self._needs(), *(self._budget.needs(other.tokens) for other in short.values())]
            if not needs and (ready is None or not self._has_company(ready, waiting)):
                yield self._alone(self._taken(waiting), ready)
                continue
            if ready is None or not self._budget.has_room_for([*needs, self._budget.needs(ready.tokens)]):
                break
            self._taken(waiting)
            if ready.is_short:
                short[next(self._numbers)] = ready
            elif not (yield from self._join({next(self._numbers): ready}, waiting)):
                # There is less room now.
                waiting.extendleft(reversed([other.prompt for other in short.values()]))
                return
        if short:
            yield from self._join(short, waiting)

    def _has_company(self, first: Ready, waiting: Sequence[Prompt]) -> bool:
        """Whether the one behind it would join."""
        needs = self._budget.needs(first.tokens)
        # It need not be made ready to see that nothing has room.
        if len(waiting) < 2 or not self._budget.has_room_for([needs, 0]):
            return False
        second = self._made_ready(waiting[1])
        return isinstance(second, Ready) and self._budget.has_room_for(
            [needs, self._budget.needs(second.tokens)]
        )

    def _join(self, joining: Mapping[int, Ready], waiting: deque[Prompt]) -> Generator[Answers, None, bool]:
        """Computes one, or some that are short; gives what comes of them where they cannot join. Returns whether others may
        follow."""
        failure = self._computing(lambda: self._compute(joining))
        if failure is None:
            for number, ready in joining.items():
                self._under_way[number] = replace(ready, inputs=None, picture=None)
            self._room = self._budget.tokens
            return True
        needs = [*self._needs(), *(self._budget.needs(ready.tokens) for ready in joining.values())]
        if failure.ran_out_of_memory and len(needs) > 1:
            self._have_fewer(needs)
            waiting.extendleft(reversed([ready.prompt for ready in joining.values()]))
            return False
        for ready in joining.values():
            yield self._alone(ready.prompt, ready)
        return True

    def _go_on(self, waiting: deque[Prompt]) -> Iterator[Answers]:
        """What comes of those whose answers end next, or of all that are under way."""
        leaving = self._batch.make_room(self._room)
        waiting.extendleft(reversed([self._under_way.pop(number).prompt for number in leaving]))
        ended: dict[int, Any] = {}
        failure = self._computing(lambda: ended.update(self._batch.go_on(self._room)))
        if failure is None:
            if ended:
                yield from self._replies(
                    [(self._under_way.pop(number), new) for number, new in ended.items()]
                )
        else:
            yield from self._lose(failure, waiting)

    def _lose(self, failure: _Failure, waiting: deque[Prompt]) -> Iterator[Answers]:
        """What comes of those under way, whose keys and values are lost: they wait once more, to be fewer together, or are
        asked alone."""
        lost, needs = list(self._under_way.values()), self._needs()
        self._forget()
        free_memory()
        if len(lost) > 1 and failure.ran_out_of_memory:
            self._have_fewer(needs)
            waiting.extendleft(ready.prompt for ready in reversed(lost))
            return
        if len(lost) > 1:
            say(f"\n{len(lost)} prompts together: {failure.words}; asking each alone")
        for ready in lost:
            yield self._alone(ready.prompt, None)

    def _compute(self, joining: Mapping[int, Ready]) -> None:
        ((number, first), *_) = joining.items()
        if first.is_short:
            self._batch.join_short(
                {number: ready.inputs["input_ids"][0] for number, ready in joining.items()}
            )
        else:
            # A copy: the model takes what is in it to where it computes.
            self._batch.join(number, copy.copy(first.inputs), first.picture)

    def _computing(self, work: Callable[[], None]) -> _Failure | None:
        """How the work failed, and whose it is does not show; None: it did not."""
        import torch

        try:
            # Without gradients in its own steps only, not in what is done between them.
            with torch.inference_mode():
                work()
        except Exception as error:  # noqa: BLE001  (it shows when each is asked alone)
            failure = _Failure(f"{type(error).__name__}: {words_of(error)}", out_of_memory(error))
        else:
            return None
        free_memory()
        return failure

    def _forget(self) -> None:
        """Lets go of those under way, and of those whose turn is next."""
        self._under_way.clear()
        self._ready.clear()
        self._batch.clear()

    def _needs(self) -> list[int]:
        """What those under way are expected to take."""
        return [self._budget.needs(*lengths) for lengths in self._batch.lengths]

    def _have_fewer(self, needs: Sequence[int]) -> None:
        self._budget.ran_out(needs)
        say(f"\nOut of memory with {len(needs)} prompts together; from now on fewer at a time")

    def _alone(self, prompt: Prompt, ready: Ready | None) -> Answers:
        try:
            reply = self._answer(prompt, ready)
        except (TaskFailed, OSError) as failure:
            # It may have failed for want of memory.
            self._ready.clear()
            return [(prompt, failure)]
        if reply.output_tokens is not None:
            self._budget.has_ended(reply.output_tokens)
        return [(prompt, reply)]

    def _taken(self, waiting: deque[Prompt]) -> Prompt:
        """The one whose turn it is."""
        prompt = waiting.popleft()
        self._ready.pop(prompt, None)
        return prompt

    def _made_ready(self, prompt: Prompt) -> Ready | Answer | None:
        if prompt not in self._ready:
            while len(self._ready) >= READY_AT_MOST:
                del self._ready[next(iter(self._ready))]
            self._ready[prompt] = self._make_ready(prompt)
        return self._ready[prompt]

    def _replies(self, ended: Sequence[tuple[Ready, Any]]) -> Iterator[Answers]:
        replies: list[tuple[Prompt, Reply]] = []
        strange: list[Prompt] = []
        for ready, new in ended:
            self._budget.has_ended(len(new))
            try:
                replies.append(
                    (ready.prompt, Reply(self._decode(new), ready.tokens, len(new), ready.recovery))
                )
            except Exception:  # noqa: BLE001  (it is told when the prompt is asked alone)
                strange.append(ready.prompt)
        if replies:
            yield replies
        for prompt in strange:
            yield self._alone(prompt, None)
