"""What someone wishes for the queue, and the requests that it takes, one wish after the other.

Keys come faster than answers. A wish is worked out only when the one before it is to be seen on the screen, from
the queue as it stands then; what was pressed again meanwhile is added up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from hitui.domain.filtering import has_words
from hitui.domain.jobs import Job, JobsSnapshot, Queued
from hitui.domain.queue import in_order
from hitui.errors import HituiError
from hitui.ui.job_words import job_name
from hitui.ui.messages import QueueAnswered

if TYPE_CHECKING:
    from hitui.ui.app import Dashboard

Request = tuple[str, dict[str, object]]
"""A verb of the queue and what it takes: the arguments of `JobsSource.change_queue`."""

TO_THE_END = 1_000_000
PATIENCE_SECONDS = 2.0
"""So long an answer may take to be seen in a snapshot; then the next wish goes on without it."""


class Wish(msgspec.Struct, frozen=True):
    verb: Literal["move", "prioritize", "pause", "resume", "retry"]
    job: int | None = None
    """None with a group: the group; without one: the whole queue."""
    amount: int = 0
    """Places to move, below zero towards the front; or by how much the priority changes."""
    group: str | None = None
    force: bool = False
    """Of another try: answers may be mixed with those of other settings."""
    wanted: str = ""
    """The filter: a job moves past those that are shown."""


def matches(job: Job, wanted: str) -> bool:
    """Every word of the filter stands in what is known of the job, case aside."""
    if not wanted:
        return True
    state = job.state
    reason = state.waits_for if isinstance(state, Queued) else getattr(state, "reason", "")
    schedule = job.schedule
    configs = " ".join(job.request.configs)
    return has_words(f"#{job.id} {configs} {schedule.group} {job.word} {schedule.held} {reason}", wanted)


def requests_for(wish: Wish, snapshot: JobsSnapshot) -> list[Request]:
    """What to ask for now; nothing where the job is no longer where it could be done, or is there already."""
    if wish.job is None:
        return [(wish.verb, {} if wish.group is None else {"group": wish.group})]
    if wish.verb not in ("move", "prioritize"):
        return [(wish.verb, {"jobs": [wish.job], **({"force": True} if wish.force else {})})]
    queued = [job for job in snapshot.jobs if isinstance(job.state, Queued)]
    job = next((job for job in queued if job.id == wish.job), None)
    if job is None or not wish.amount:
        return []
    if wish.verb == "prioritize":
        return [("prioritize", {"jobs": [job.id], "priority": job.schedule.priority + wish.amount})]
    order = [other for other in in_order(queued) if other is job or matches(other, wish.wanted)]
    at = order.index(job)
    target = max(0, min(len(order) - 1, at + wish.amount))
    if target == at:
        return []
    if target < at:
        return [_move(job, order[target])]
    if target == len(order) - 1 and not wish.wanted:
        return [("move", {"jobs": [job.id], "before": None})]
    # Behind another one, without taking the priority of what comes after that.
    return [_move(job, order[target]), _move(order[target], job)]


def _move(job: Job, before: Job) -> Request:
    return "move", {"jobs": [job.id], "before": before.id}


class QueueWishes:
    """Carries wishes out in their order."""

    def __init__(self, app: Dashboard) -> None:
        self._app = app
        self._waiting: list[Wish] = []
        self._asking = False
        self._answer: tuple[Job, ...] = ()
        """What must be seen in a snapshot before the next wish is worked out."""
        self._answered_at = 0.0

    def add(self, wish: Wish) -> None:
        last = self._waiting[-1] if self._waiting else None
        if last is not None and wish.amount and replace(wish, amount=last.amount) == last:
            self._waiting[-1] = replace(wish, amount=last.amount + wish.amount)
        else:
            self._waiting.append(wish)
        self._go_on_in_time()

    def go_on(self) -> None:
        """Asks for the next wish, if nothing is under way. To be called at every snapshot."""
        if self._asking or not self._waiting or not self._answer_is_seen():
            return
        wish = self._waiting.pop(0)
        requests = requests_for(wish, self._app.jobs_snapshot)
        if not requests:
            self.go_on()
            return
        self._asking = True
        self._app.run_worker(
            lambda: self._ask(wish, requests), thread=True, group="requests", exit_on_error=False
        )

    def answered(self, message: QueueAnswered) -> None:
        self._asking = False
        self._answer, self._answered_at = message.jobs, time.monotonic()
        if message.problem:
            self._answer = ()
            self._app.tell(message.problem, "error")
        else:
            self._tell(message)
        self._go_on_in_time()

    def _go_on_in_time(self) -> None:
        """Asks for the next wish, or sees to it that patience with the last answer ends."""
        self.go_on()
        if self._waiting and not self._asking:
            self._app.set_timer(PATIENCE_SECONDS, self.go_on)

    def _ask(self, wish: Wish, requests: Sequence[Request]) -> None:
        jobs: tuple[Job, ...] = ()
        try:
            for verb, what in requests:
                jobs = self._app.services.jobs.change_queue(verb, **what)
        except (HituiError, OSError) as error:
            self._app.post_message(QueueAnswered(wish.verb, (), str(error)))
        except Exception as error:  # noqa: BLE001 - the wishes behind it must not be held up
            self._app.post_message(QueueAnswered(wish.verb, (), f"{type(error).__name__}: {error}"))
        else:
            self._app.post_message(QueueAnswered(wish.verb, jobs))

    def _tell(self, message: QueueAnswered) -> None:
        """Says what the screen does not show by itself at once."""
        for job in message.jobs:
            name = job_name(job, short=True)
            if message.verb == "retry":
                self._app.tell(f"queued {name}")
            elif message.verb == "pause" and not isinstance(job.state, Queued):
                self._app.tell(f"asked {name} to pause: it stops and goes back into the queue")

    def _answer_is_seen(self) -> bool:
        if self._answer and time.monotonic() - self._answered_at < PATIENCE_SECONDS:
            known = {job.id: job for job in self._app.jobs_snapshot.jobs}
            for job in self._answer:
                seen = known.get(job.id)
                if seen is None or (
                    isinstance(seen.state, Queued)
                    and (seen.schedule, seen.place) != (job.schedule, job.place)
                ):
                    return False
        self._answer = ()
        return True
