"""How a job ended of which nothing lives any more, why, and what follows it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection

from msgspec.structs import replace

from hitui.adapters.events import EventFile, read_tail
from hitui.adapters.executors.base import ExitRecord
from hitui.domain.jobs import Ending, Job, Running, Stopping, decide_ending
from hitui.domain.last_words import last_words
from hitui.domain.progress import EventTally
from hitui.domain.succession import (
    END,
    HowItEnded,
    RetryRules,
    StopAim,
    StopWish,
    Successor,
    left_because,
    out_of_memory,
    setup_at_fault,
    successor,
    toll_of,
)
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store

RESTARTED = "interrupted: the machine was restarted while it ran"
_BY_A_SHUTDOWN = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL})


class Conclusions:
    """Writes the ends of jobs into the store, each with what follows it as one change.

    `asked`, wherever it stands: to what end the job was asked to stop; None: nobody asked.
    """

    def __init__(self, store: Store, retry_rules: Callable[[Collection[str]], RetryRules]) -> None:
        self._store = store
        self._retry_rules = retry_rules

    def end(self, job: Job, record: ExitRecord | None, otherwise: str, asked: StopWish | None) -> None:
        """Ends a job by its launcher's record, else by the runner's own `end` line, else as lost."""
        stop_asked = asked is not None
        tail = read_tail(job.log) if job.log else ""
        said = last_words(tail)
        if otherwise == RESTARTED and record is not None and not stop_asked:
            number = record.signal if record.signal is not None else (record.status or 0) - 128
            if number in _BY_A_SHUTDOWN:
                # Nobody here sent it: the machine did, as it went down.
                record = None
        if record is not None:
            ending, reason = decide_ending(
                status=record.status,
                signal=record.signal,
                error=record.error,
                stop_asked=stop_asked,
                last_words=said,
                out_of_memory=record.out_of_memory,
            )
            if ending is Ending.SUCCEEDED and record.outlived:
                reason = (
                    f"ended {record.outlived} of its processes that outlived the runner;"
                    " a runner must not go into the background"
                )
            if record.left:
                reason = f"{reason}; {record.left} of its processes {'hangs' if record.left == 1 else 'hang'} in the kernel".removeprefix(
                    "; "
                )
            self.conclude(
                job,
                End(ending, reason, record.ended_at, record.status, record.signal, record.peak_memory),
                asked,
                tail,
                record,
            )
            return
        status = EventFile(job.events).read().exit_status if job.events else None
        if status is not None:
            ending, reason = decide_ending(
                status=status, signal=None, error=None, stop_asked=stop_asked, last_words=said
            )
            self.conclude(job, End(ending, reason, exit_status=status), asked, tail)
        elif stop_asked:
            self.conclude(job, End(Ending.STOPPED, "on request"), asked)
        else:
            end = End(Ending.LOST, f"{otherwise}; what was answered is kept")
            self.conclude(job, end, asked, tail, interrupted=otherwise == RESTARTED)

    def conclude(
        self,
        job: Job,
        end: End,
        asked: StopWish | None,
        tail: str = "",
        record: ExitRecord | None = None,
        *,
        interrupted: bool = False,
    ) -> None:
        """Ends the job, and puts into its place what is to follow it. `tail` is the end of its log."""
        ended_at = end.at or time.time()
        ran_seconds = None if record is None else record.ran_seconds
        started_at = job.state.started_at if isinstance(job.state, (Running, Stopping)) else None
        if ran_seconds is None and started_at is not None:
            # Nobody has measured it; a clock that was set back in between makes it no shorter than nothing.
            ran_seconds = max(0.0, ended_at - started_at)
        wish = asked if asked is not None and end.ending is Ending.STOPPED else END
        if wish.aim is StopAim.RETRY:
            end = replace(end, ending=Ending.FAILED, reason=wish.reason, exit_status=None, signal=None)
        rules = self._retry_rules(job.request.configs)
        how = HowItEnded(
            end.ending,
            ended_at,
            ran_seconds,
            end.exit_status,
            tail,
            interrupted,
            end.signal,
            out_of_memory=record is not None and record.out_of_memory,
        )
        if setup_at_fault(how) or (ran_seconds is not None and ran_seconds <= rules.quick):
            # Asked only of those that may have died at once: the event lines of a long run are many.
            how = replace(how, answered=_answered(job))
        follows = successor(job, how, wish, rules)
        end = _explained(job, end, how, wish, follows, rules)
        toll = toll_of(
            job,
            replace(how, ending=end.ending),
            self._store.quick_deaths(job.schedule.group),
            self._store.queued(),
            rules.quick,
            end.reason if end.ending is Ending.NOT_STARTED else last_words(tail),
        )
        if toll is not None and toll.pause and self._store.queue().group(job.schedule.group).paused:
            # Why it was paused before is not to be forgotten.
            toll = replace(toll, pause="")
        self._store.end(job.id, end, follows, toll)


def _answered(job: Job) -> int:
    """Tasks with an answer, by the runner's event lines; 0 where it writes none."""
    tally = EventFile(job.events).read() if job.events else EventTally()
    return max(0, (tally.done or 0) - tally.errors)


def _explained(
    job: Job, end: End, how: HowItEnded, wish: StopWish, follows: Successor | None, rules: RetryRules
) -> End:
    """The end with all that is to be said of why it came and what follows."""
    if follows is not None and wish.aim.pauses:
        told = wish.reason if wish.reason.startswith("paused") else f"paused: {wish.reason}"
        return replace(end, reason=told)
    if follows is not None and wish.aim is StopAim.REQUEUE:
        return replace(end, ending=Ending.REQUEUED, reason=f"{wish.reason}; it goes on elsewhere")
    if end.ending is Ending.REQUEUED and follows is None:
        return replace(
            end,
            ending=Ending.FAILED,
            reason=f"exit status {end.exit_status} within {rules.quick:g} s of its start, "
            f"{job.attempt} times: it was not queued again",
        )
    if follows is not None and follows.why:
        return replace(end, reason=f"{end.reason}; {follows.why}".removeprefix("; "))
    if end.ending is Ending.FAILED and rules.retries and (why := left_because(job, how, rules)):
        last = "" if out_of_memory(end.reason) or not out_of_memory(how.last_words) else " (see its log)"
        return replace(end, reason=f"{end.reason}; not tried again: {why}{last}")
    return end
