"""A job: one launch of a runner for a config on one set of GPUs, and the states it goes through.

    Queued ──► Starting ──► Running ──► Stopping ──► Ended
       └──────────┴────────────┴──────────────────────►

Each state carries only the data of that state; each ending has a name.
"""

from __future__ import annotations

import signal as signals
from enum import Enum

import msgspec

from hitui.domain.schedule import Queue, Schedule
from hitui.domain.tasks import ErrorClass, TaskId
from hitui.domain.waits import Wait, WaitKind


# Of these there may be a hundred thousand. No two of them ever hold each other, so Python's search for such (`gc`)
# leaves them out: in a listing of all it took a third of the time.
class Shard(msgspec.Struct, frozen=True, gc=False):
    """A part of a config's tasks, run by a job of its own beside the others of the same split."""

    split: int
    """The job that was split, which runs shard 0 itself."""
    number: int
    """From 0 on."""
    count: int
    """How many the split came to."""
    ids: tuple[TaskId, ...]
    """What was pending of its tables when the job was split."""

    @property
    def label(self) -> str:
        """`2/3`: the second of three, as people count."""
        return f"{self.number + 1}/{self.count}"


class JobRequest(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What someone asked for."""

    config: str
    """Name of the config."""
    ids: tuple[TaskId, ...] | None = None
    """Exactly these tasks; None: what is pending when the job starts."""
    error_class: ErrorClass | None = None
    """Only pending tasks whose newest result is this error; None: all pending."""
    gpus: tuple[str, ...] | None = None
    """Only on these GPUs, by index, label or UUID; None: any that is free by the rules."""
    executor: str = "local"
    also: tuple[JobRequest, ...] = ()
    """What joined it at its start: other configs whose tasks the same runner process answers."""
    gpu_count: int | None = None
    """On how many GPUs, where none are named; None: as the settings say."""
    shards: int | None = None
    """Into how many jobs at most it may be split, each on GPUs of its own; None: as the settings say."""
    shard: Shard | None = None
    """Only these of its tasks, in a folder of their own; None: it was not split."""
    force: bool = False
    """Also where the answers that are there were made with other settings: they are mixed then."""

    @property
    def parts(self) -> tuple[JobRequest, ...]:
        """One for each config, itself first."""
        return (self, *self.also)

    @property
    def configs(self) -> tuple[str, ...]:
        return tuple(part.config for part in self.parts)

    def keeps_off(self, other: JobRequest) -> bool:
        """Whether the two may not run at one time: they could answer the same task, or write the same file."""
        if not set(self.configs) & set(other.configs):
            return False
        own, others = self.shard, other.shard
        return own is None or others is None or own.split != others.split or own.number == others.number


class Ending(str, Enum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    """The runner ended with status 0."""
    FAILED = "failed"
    """The runner ended with another status, or by a signal that nobody here sent."""
    STOPPED = "stopped"
    """Someone asked for it."""
    LOST = "lost"
    """Launcher and runner are gone and left no record: killed, or the machine went down."""
    NOT_STARTED = "not started"
    """The command could not be run at all."""
    REQUEUED = "requeued"
    """The runner asked for it (exit status 75), or its GPU was lost; a new job took its place."""
    JOINED = "joined"
    """It never started by itself: its tasks are part of another job, which loads the same model once for all."""


FAILURES = (Ending.FAILED, Ending.LOST, Ending.NOT_STARTED)
"""The endings that nobody asked for."""


class Queued(msgspec.Struct, frozen=True, gc=False):
    waits_for: str = ""
    """One line: what must come about before it starts."""
    kind: WaitKind = WaitKind.TURN
    """What that is, for whoever decides by it."""

    @property
    def wait(self) -> Wait:
        return Wait(self.kind, self.waits_for)


class Starting(msgspec.Struct, frozen=True, gc=False):
    gpus: tuple[str, ...]
    """UUIDs that the job holds."""
    since: float


class Running(msgspec.Struct, frozen=True, gc=False):
    gpus: tuple[str, ...]
    pid: int
    """Of the runner, which leads a session of its own."""
    started_at: float
    stalled_since: float | None = None
    """Since when nothing came of it any more, in seconds since the epoch; None: it is not taken for stalled."""


class Stopping(msgspec.Struct, frozen=True, gc=False):
    gpus: tuple[str, ...]
    pid: int | None
    started_at: float | None
    asked_at: float


class Ended(msgspec.Struct, frozen=True, gc=False):
    ending: Ending
    ended_at: float
    reason: str = ""
    """One line, for every ending but `succeeded`."""
    started_at: float | None = None
    exit_status: int | None = None
    signal: int | None = None
    peak_memory: int | None = None
    """Bytes of main memory, the whole process tree; None: not recorded."""
    gpus: tuple[str, ...] = ()
    """UUIDs that the job held."""


JobState = Queued | Starting | Running | Stopping | Ended


class Job(msgspec.Struct, frozen=True, gc=False):
    id: int
    request: JobRequest
    created_at: float
    state: JobState
    log: str = ""
    """Absolute path of the runner's stdout and stderr; empty before the start."""
    events: str = ""
    """Absolute path of the runner's event lines; empty before the start."""
    task_count: int | None = None
    """How many tasks it was started with; None before the start, or when the runner decides."""
    schedule: Schedule = Schedule()
    """As it stands now."""
    place: float = 0.0
    """Among jobs of one priority the lower place starts first."""
    attempt: int = 1
    """1, and one more for each time that it took the place of a job that failed."""
    replaces: int | None = None
    """The job whose place in the queue it took."""
    successor: int | None = None
    """The job that took its place, or that it joined."""

    @property
    def active(self) -> bool:
        return not isinstance(self.state, Ended)

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs that it holds now, or held."""
        return () if isinstance(self.state, Queued) else self.state.gpus

    @property
    def refused_to_mix(self) -> bool:
        """Whether it ended because its answers would have been mixed with those of other settings."""
        return (
            isinstance(self.state, Ended)
            and self.state.ending is Ending.FAILED
            and RESUME_REFUSED in self.state.reason
        )

    @property
    def setup_at_fault(self) -> bool:
        """Whether it ended because its runner would fail the same way until someone changes its setup."""
        return (
            isinstance(self.state, Ended)
            and self.state.ending is Ending.FAILED
            and self.state.exit_status == SETUP_STATUS
        )

    @property
    def word(self) -> str:
        """The state in one word, as listings print it."""
        match self.state:
            case Queued():
                return "queued"
            case Starting():
                return "starting"
            case Running():
                return "running"
            case Stopping():
                return "stopping"
            case Ended(ending=ending):
                return ending.value


class JobsSnapshot(msgspec.Struct, frozen=True):
    """All jobs at one moment, oldest first."""

    jobs: tuple[Job, ...] = ()
    supervisor_pid: int | None = None
    """None: no supervisor answers; the jobs are the last that were heard of."""
    queue: Queue = Queue()
    supervisor_code: str = ""
    """A digest of its code; empty: it says none."""
    notice: str = ""
    """One line that whoever follows the jobs is to be told; empty: there is none."""

    def active_for(self, config: str) -> Job | None:
        """The job that is on the config, the first shard of several, else the first that waits for it."""
        active = [job for job in self.jobs if job.active and config in job.request.configs]
        return next(
            (job for job in active if not isinstance(job.state, Queued)), active[0] if active else None
        )

    def holders_of(self, gpu_uuid: str) -> tuple[Job, ...]:
        """The jobs on a GPU, oldest first: several only where they share it."""
        return tuple(job for job in self.jobs if job.active and gpu_uuid in job.gpus)


RESUME_REFUSED = "resume refused"
"""What our own runner says where it would mix answers with those of other settings."""
REQUEUE_STATUS = 75
"""Exit status with which a runner asks to be put back into the queue (EX_TEMPFAIL of sysexits.h)."""
SETUP_STATUS = 78
"""Exit status with which a runner says that its setup is at fault, and that it would fail the same way until someone
changes that (EX_CONFIG of sysexits.h)."""


def decide_ending(
    *,
    status: int | None,
    signal: int | None,
    error: str | None,
    stop_asked: bool,
    last_words: str = "",
    out_of_memory: bool = False,
) -> tuple[Ending, str]:
    """How a job whose runner's end was recorded ended, and the reason in one line.

    `error` says why its program could not be executed. A runner that still ended with status 0 after it was
    asked to stop had nothing left to do, so it succeeded. `last_words` is the end of its log; `out_of_memory`:
    the kernel ended it for lack of main memory.
    """
    if error is not None:
        return Ending.NOT_STARTED, error
    if status == 0:
        return Ending.SUCCEEDED, ""
    if stop_asked:
        return Ending.STOPPED, "on request"
    if status == REQUEUE_STATUS:
        return Ending.REQUEUED, "the runner asked for it"
    if signal is not None:
        # What it said last need not be why: it may have known nothing of its end.
        said = f"; last in its log: {last_words}" if last_words else ""
        hint = "; if nobody here did it, the machine ran out of memory (see dmesg)" if signal == 9 else ""
        hint = "; the kernel ended it for lack of memory" if out_of_memory else hint
        return Ending.FAILED, f"ended by {signal_name(signal)}{hint}{said}"
    return Ending.FAILED, f"exit status {status}" + (f": {last_words}" if last_words else "")


def signal_name(number: int) -> str:
    """`SIGKILL`, or `signal 40`."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def one_line(text: str, limit: int = 200) -> str:
    """The last line of a text that says something, harmless to print: without controls, cut to `limit`."""
    for line in reversed(text.replace("\r", "\n").split("\n")):
        harmless = " ".join("".join(c if c.isprintable() else " " for c in line).split())
        if harmless:
            return harmless if len(harmless) <= limit else harmless[: limit - 1] + "…"
    return ""
