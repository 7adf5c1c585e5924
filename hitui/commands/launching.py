"""What `hitui run` and `hitui rerun` share: submit jobs, say so, and wait for them where asked."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.commands.job_naming import mend_of_wait, pauses
from hitui.commands.saying import harmless, warn
from hitui.commands.scheduling import add_schedule_arguments, whole_number, words_of
from hitui.domain.configs import Config, ConfigState
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running
from hitui.domain.progress import JobProgress
from hitui.domain.schedule import Schedule
from hitui.domain.tasks import Task, TaskId, TaskStatus, select_pending
from hitui.domain.units import counted, duration_words
from hitui.errors import SupervisorError
from hitui.factory import Services

PROGRESS_SECONDS = 5.0
"""How often `--wait` says how far a job is."""


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of both commands."""
    parser.add_argument(
        "--gpus",
        type=parse_names,
        metavar="GPU,…",
        help="on exactly these GPUs, all of them for each job, by index or UUID (default: one that is free)",
    )
    parser.add_argument(
        "--shards",
        type=shard_count,
        metavar="N",
        help="split each config by tables into up to N jobs, as far as there are free GPUs; `--gpus` are shared out"
        " among them (default: as the settings say)",
    )
    add_force_argument(parser)
    parser.add_argument("--executor", default="local", help="how to start it (default: %(default)s)")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait until all have ended, new tries too; status 0 only if every task that was to be run has an"
        " answer",
    )
    add_schedule_arguments(parser)


def add_force_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="also where the answers that are there were made with other settings; they are mixed then",
    )


def launch(
    services: Services,
    catalogue: Catalogue,
    wanted: Sequence[tuple[Config, JobRequest]],
    wait: bool,
    schedule: Schedule,
    each: bool = False,
    again: bool = True,
) -> int:
    """Submits what has something pending, prints a line each, and returns the exit status.

    All of it or nothing; with `each`, what can be started, and a line on stderr for what cannot. `again`: also a config
    that counts lines, files or steps and has all of them, since only its runner knows what else there is to do.
    """
    tasks: dict[str, tuple[TaskId, ...] | None] = {}
    left_out: dict[str, str] = {}
    requests = []
    for config, request in wanted:
        reading = catalogue.read(config)
        if not reading.state.hides_answers:
            # Of such a config its refusal says the same.
            for problem in reading.state.problems:
                warn(f"{config.name}: {problem}")
        if reading.state.lists_tasks:
            ids = select_pending(reading.tasks, request.error_class)
            if request.ids is not None:
                asked = set(map(str, request.ids))
                known = {str(task.id) for task in reading.tasks}
                # What the question list does not have is for the supervisor to refuse.
                ids = tuple(task for task in ids if str(task) in asked) if asked <= known else request.ids
                left_out[config.name] = _left_out(reading.tasks, asked)
            if not ids:
                print(harmless(f"{config.name}: {_nothing_to_run(reading.state, request)}"))
                continue
            tasks[config.name] = ids
        elif not again and reading.state.total is not None and not reading.state.pending:
            print(harmless(f"{config.name}: {_nothing_to_run(reading.state, request)}"))
            continue
        else:
            tasks[config.name] = None
        requests.append(request)
    if not requests:
        return 0
    jobs, refusals = (
        services.jobs.submit_each(requests, schedule)
        if each
        else (services.jobs.submit(requests, schedule), ())
    )
    for job in jobs:
        count = tasks[job.request.config]
        many = "" if count is None else f", {counted(len(count), 'task')}"
        besides = left_out.get(job.request.config, "")
        print(harmless(f"job {job.id}: {job.request.config}{many}{besides}{words_of(job)}"))
    for refusal in refusals:
        warn(refusal)
    if jobs:
        for pause in pauses(services.jobs.read_once().queue, {job.schedule.group for job in jobs}):
            warn(pause)
    if not wait:
        return 1 if refusals else 0
    ended = wait_for_ends(services, jobs)
    failures = [
        line
        for name, ids in tasks.items()
        if (on_it := [job for job in ended if name in job.request.configs])
        and (line := _failure(catalogue, on_it, name, ids)) is not None
    ]
    for line in failures:
        warn(line)
    return 1 if failures or refusals else 0


def _nothing_to_run(state: ConfigState, request: JobRequest) -> str:
    """Why no task of a config is run; what else is pending in it is said, or it would pass for whole."""
    if not state.pending:
        nothing = "nothing is pending"
    elif request.error_class is not None:
        nothing = f"nothing has the error {request.error_class.value}, {state.pending} pending otherwise"
    else:
        nothing = f"nothing of those named is pending, {state.pending} of the others"
    return nothing + (f", {state.blocked} blocked" if state.blocked else "")


def _left_out(tasks: Iterable[Task], asked: Collection[str]) -> str:
    """What is not run of the tasks that were asked for, which `12 tasks` alone would keep to itself."""
    counts = Counter(task.status for task in tasks if str(task.id) in asked and not task.pending)
    said = ", ".join(f"{count} {status.value}" for status, count in sorted(counts.items()))
    return f" (of those named {said})" if said else ""


def _failure(
    catalogue: Catalogue, jobs: Sequence[Job], name: str, ids: tuple[TaskId, ...] | None
) -> str | None:
    """Why the jobs, one or the shards of one, did not do all that they were to do on a config; None: they did."""
    failed = [job for job in jobs if job.word != Ending.SUCCEEDED.value]
    job = (failed or jobs)[0]
    assert isinstance(job.state, Ended)
    how = f"job {job.id} {job.state.ending.value}" + (f": {job.state.reason}" if job.state.reason else "")
    if ids is None:
        return f"{name}: {how}" if failed else None
    catalogue.refresh()
    states = {task.id: task for task in catalogue.read(catalogue.find(name)).tasks}
    open_tasks = [task for task in ids if task not in states or states[task].status is not TaskStatus.DONE]
    if not open_tasks:
        print(harmless(f"{name}: {counted(len(ids), 'task')} answered"))
        return None
    return f"{name}: {len(open_tasks)} of {counted(len(ids), 'task')} without an answer; {how}"


def wait_for_ends(services: Services, jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Returns the jobs as they ended; one that another took the place of as that one ended, one that was split as
    its shards did."""
    followed = _Followed(jobs)
    services.progress.start(followed.say.progress)
    try:
        while followed.waiting:
            services.jobs.ensure_supervisor()
            try:
                watch = services.jobs.client.open_watch()
            except OSError:
                # It was killed a moment ago; the next one takes its jobs over.
                continue
            for snapshot in watch:
                if not followed.waiting.keys() <= {job.id for job in snapshot.jobs}:
                    # So many others ended meanwhile that the supervisor does not name it any more.
                    try:
                        snapshot = services.jobs.client.jobs(every=True)
                    except SupervisorError:
                        # It was killed since.
                        break
                followed.take(snapshot)
                services.progress.follow(JobsSnapshot(tuple(followed.waiting.values())))
                if not followed.waiting:
                    break
            watch.close()
    except KeyboardInterrupt:
        for job_id in followed.waiting:
            print(
                f"job {job_id} goes on: `hitui logs {job_id} -f` follows it, `hitui stop {job_id}` ends it",
                file=sys.stderr,
            )
        raise
    finally:
        services.progress.close()
    return tuple(followed.ended.values())


class _Followed:
    """Jobs that someone waits for, with those as which they go on."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.waiting = {job.id: job for job in jobs}
        self.ended: dict[int, Job] = {}
        self.say = Teller()
        self._seen = set(self.waiting)

    def take(self, snapshot: JobsSnapshot) -> None:
        known = {job.id: job for job in snapshot.jobs}
        self._take_shards(snapshot)
        numbers = sorted(self.waiting)
        # One that joined another has a successor that is older than itself.
        while numbers:
            job = known.get(numbers.pop(0))
            if job is None:
                continue
            self.waiting[job.id] = job
            self.say(job)
            if not isinstance(job.state, Ended):
                continue
            del self.waiting[job.id]
            successor = known.get(job.successor) if job.successor is not None else None
            if successor is None:
                self.ended[job.id] = job
                continue
            print(f"job {job.id} goes on as job {successor.id}", flush=True)
            if self._add(successor):
                # It may have been split since the last look.
                numbers += [successor.id, *self._take_shards(snapshot)]

    def _take_shards(self, snapshot: JobsSnapshot) -> list[int]:
        """The other shards of jobs that were split, as far as they are new."""
        new = []
        for job in snapshot.jobs:
            shard = job.request.shard
            if shard is not None and shard.split in self._seen and job.replaces is None and self._add(job):
                print(f"job {shard.split} was split: job {job.id} runs shard {shard.label}", flush=True)
                new.append(job.id)
        return new

    def _add(self, job: Job) -> bool:
        """Whether the job is a new one."""
        if job.id in self._seen:
            return False
        self._seen.add(job.id)
        self.waiting[job.id] = job
        return True


class Teller:
    """Prints what happens to jobs, each thing once."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}
        self._progress_at = time.monotonic()

    def __call__(self, job: Job) -> None:
        line = key = job.word
        match job.state:
            case Queued(waits_for=waits_for) if waits_for:
                # What stands behind the colon changes from second to second.
                line, key = f"waits for {waits_for}", job.state.wait.short
                mend = mend_of_wait(job)
                line += f"; `{mend}` does" if mend else ""
            case Running(pid=pid):
                line = key = f"running, pid {pid}"
            case Ended(reason=reason) if reason:
                line = key = f"{line}: {reason}"
        if self._said.get(job.id) != key:
            self._said[job.id] = key
            print(harmless(f"job {job.id} {line}"), flush=True)

    def progress(self, jobs: Mapping[int, JobProgress]) -> None:
        """How far the running ones are, now and then."""
        if time.monotonic() - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = time.monotonic()
        # This is another thread than the one that waits, which finds out by its own next line.
        with contextlib.suppress(OSError):
            for job_id, progress in jobs.items():
                print(harmless(f"job {job_id} {progress_line(progress)}"), flush=True)


def progress_line(progress: JobProgress) -> str:
    """`running 12/17, 1 error, 3.9 a minute, 4 min left`, as far as it is known."""
    # Its process takes a moment more to end, which no rate of tasks tells anything of.
    through = progress.through
    parts = ["finishing" if through and progress.phase not in ("loading", "scoring") else progress.phase]
    if progress.done is not None:
        parts[0] += f" {progress.done}" + (f"/{progress.total}" if progress.total is not None else "")
    if progress.errors:
        parts.append(counted(progress.errors, "error"))
    if progress.rate is not None and not through:
        parts.append(f"{progress.rate * 60:.1f} a minute")
    if progress.eta_seconds is not None and not through:
        parts.append(f"{duration_words(progress.eta_seconds)} left")
    return ", ".join(parts).strip()


def shard_count(text: str) -> int:
    return whole_number(text, 1, 999, "a number from 1 to 999 is expected")


def parse_names(text: str) -> tuple[str, ...]:
    """`0,1` as names. Raises argparse's error for an empty list."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("a list such as 0,1 is expected")
    return names
