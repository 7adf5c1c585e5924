"""Takes down what jobs and GPUs do, in a thread of its own, so that no job's start or end waits for it.

What a job ran and what came of it is read from the files in its folder, so that a supervisor which died in
between loses nothing: the next one takes down what it finds missing. What only the supervisor itself saw, the
GPUs and the commit at the start, is written as soon as it is known, and GPU memory once a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
from msgspec.structs import replace

from hitui import __version__
from hitui.adapters.events import EventFile
from hitui.adapters.git_head import read_head
from hitui.decoding import json_decoder
from hitui.domain.gpu_history import GpuBin, bins_of, merged
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.jobs import Job, Running
from hitui.domain.records import GpuUse, JobRecord, telling_environment, used_gpus
from hitui.domain.units import counted
from hitui.paths import RuntimePaths
from hitui.settings import Settings
from hitui.supervisor.history_tables import HistoryTables, connect
from hitui.supervisor.pruning import prune, rotate_log
from hitui.supervisor.rows import COLUMNS, job_of
from hitui.supervisor.trouble import note, note_error

WRITE_SECONDS = 60.0
"""How often readings of the GPUs are written."""
TEND_SECONDS = 600.0
"""How often the supervisor's log is looked at."""
FRESH_SECONDS = 60.0
"""What the workspace is so long after a start is no longer what was started."""
PRUNE_SECONDS = 24 * 3600.0


class _Specification(msgspec.Struct):
    """What `spec.json` in a job's folder says of it."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    cwd: str


class Historian:
    """One workspace's history. All but `tend` returns at once; trouble goes to the supervisor's log alone."""

    def __init__(self, paths: RuntimePaths, settings: Callable[[], Settings]) -> None:
        self._paths = paths
        self._settings = settings
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._tables: HistoryTables | None = None
        """Of the worker alone."""
        self._trouble = ""
        self._bins: list[GpuBin] = []
        self._uses: dict[int, tuple[GpuUse, ...]] = {}
        """GPUs of the jobs that run, by job, as far as this supervisor has seen them."""
        self._unwritten: set[int] = set()
        """Jobs whose GPUs were seen to do more than what was written last."""
        self._written = time.monotonic()
        self._closing = False

    def begun(self, job: Job) -> None:
        """Takes down a job that runs; more than once is harmless."""
        if job.id not in self._uses:
            self._uses[job.id] = tuple(map(GpuUse, job.gpus))
            self._submit(self._take_down_start, job, self._uses[job.id])

    def ended(self, job: Job, then: Callable[[JobRecord], None]) -> None:
        """Takes down a job that has ended. `then` gets its record in the worker, whether or not it was written."""
        uses = self._uses.pop(job.id, tuple(map(GpuUse, job.gpus)))
        self._unwritten.discard(job.id)
        self._submit(self._take_down_end, job, uses, then)

    def afterwards(self, work: Callable[[], None]) -> None:
        """Does something once all was written that was asked for until now."""
        self._submit(work)

    def observe(self, snapshot: GpuSnapshot, started: Iterable[Job]) -> None:
        """Takes note of a reading of the GPUs, and of what the jobs that run use of them."""
        self._bins = list(merged((*self._bins, *bins_of(snapshot))))
        for job in started:
            if isinstance(job.state, Running) and job.gpus:
                known = self._uses.get(job.id, ())
                now = used_gpus(job.gpus, known, snapshot, job.state.pid)
                if now != known:
                    self._uses[job.id] = now
                    self._unwritten.add(job.id)
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was observed since the last time."""
        self._written = time.monotonic()
        uses = {job_id: self._uses[job_id] for job_id in self._unwritten}
        if self._bins or uses:
            self._submit(self._take_down_readings, tuple(self._bins), uses, time.time())
        self._bins = []
        self._unwritten = set()

    async def tend(self) -> None:
        """Makes up for what an earlier supervisor left, and takes away what is old; for ever."""
        self._submit(self._make_up)
        pruned: float | None = None
        while True:
            await asyncio.to_thread(rotate_log, self._paths)
            if pruned is None or time.monotonic() - pruned >= PRUNE_SECONDS:
                pruned = time.monotonic()
                await asyncio.to_thread(self._prune)
            await asyncio.sleep(TEND_SECONDS)

    def close(self) -> None:
        """Writes what there is to write, and ends."""
        self.flush()
        self._closing = True
        self._submit(self._close_tables)
        self._worker.shutdown()

    def _prune(self) -> None:
        try:
            gone = prune(
                self._paths, self._settings().history.keep_seconds, time.time(), lambda: self._closing
            )
            if gone:
                note(f"took away {counted(gone, 'job')} that had ended long ago ([history] keep)")
        except Exception:  # noqa: BLE001 - it is tried again tomorrow
            note_error()

    def _submit(self, work: Callable[..., None], *values: object) -> None:
        with contextlib.suppress(RuntimeError):  # closed: the supervisor ends
            self._worker.submit(self._surely, partial(work, *values))

    def _surely(self, work: Callable[[], None]) -> None:
        """Runs in the worker. The same trouble, as of a full disk, is told once."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - nothing that goes wrong with the history concerns a job
            if (said := f"{type(error).__name__}: {error}") != self._trouble:
                self._trouble = said
                note("the history is not written now:")
                note_error()
        else:
            self._trouble = ""

    def _open(self) -> HistoryTables:
        if self._tables is None:
            self._tables = HistoryTables(connect(self._paths.database))
        return self._tables

    def _close_tables(self) -> None:
        if self._tables is not None:
            self._tables.close()
            self._tables = None

    def _take_down_start(self, job: Job, uses: tuple[GpuUse, ...]) -> None:
        if self._open().record(job.id) is not None:
            # An earlier supervisor saw the start.
            return
        record = replace(self._begun(job), gpus=uses)
        if isinstance(job.state, Running) and abs(time.time() - job.state.started_at) < FRESH_SECONDS:
            head = read_head(self._settings().root)
            record = replace(
                record,
                versions={"hitui": __version__},
                commit=head.commit if head is not None else "",
                branch=head.branch if head is not None else "",
            )
        self._open().put_record(job.id, record, complete=False)

    def _take_down_end(self, job: Job, uses: tuple[GpuUse, ...], then: Callable[[JobRecord], None]) -> None:
        record = JobRecord(gpus=uses)
        try:
            if job.log:
                record = self._finished(job, uses)
                self._open().put_record(job.id, record, complete=True)
        finally:
            then(record)

    def _take_down_readings(
        self, bins: tuple[GpuBin, ...], uses: dict[int, tuple[GpuUse, ...]], now: float
    ) -> None:
        tables = self._open()
        tables.add_bins(bins, now)
        for job_id, seen in uses.items():
            record = tables.record(job_id)
            if record is not None:
                tables.put_record(job_id, replace(record, gpus=_together(record.gpus, seen)), complete=False)

    def _make_up(self) -> None:
        tables = self._open()
        missing = tables.incomplete()
        if not missing:
            return
        with contextlib.closing(connect(self._paths.database)) as database:
            database.row_factory = sqlite3.Row
            for job_id in missing:
                row = database.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
                if self._closing or row is None:
                    continue
                job = job_of(row)
                tables.put_record(job_id, self._finished(job, tuple(map(GpuUse, job.gpus))), complete=True)

    def _finished(self, job: Job, uses: tuple[GpuUse, ...]) -> JobRecord:
        """The record of a job that has ended, with what was recorded while it ran."""
        known = self._open().record(job.id)
        record = known if known is not None else self._begun(job)
        tally = EventFile(job.events).read()
        return replace(
            record,
            versions=record.versions | dict(tally.versions),
            gpus=_together(record.gpus, uses),
            done=None if tally.done is None else max(0, tally.done - tally.errors),
            failed=None if tally.done is None else tally.errors,
        )

    def _begun(self, job: Job) -> JobRecord:
        """What the job's folder says of its start."""
        try:
            text = (self._paths.job(job.id) / "spec.json").read_bytes()
            told = json_decoder(_Specification)(text)
        except (OSError, msgspec.DecodeError):
            return JobRecord()
        own = {name for runner in self._settings().runners.values() for name in runner.env}
        return JobRecord(
            command=told.argv,
            cwd=told.cwd,
            environment=telling_environment(told.environment, own),
        )


def _together(known: Sequence[GpuUse], seen: Sequence[GpuUse]) -> tuple[GpuUse, ...]:
    """What two supervisors, one after the other, saw of the same GPUs."""
    before = {use.uuid: use for use in known}
    uses = []
    for use in seen:
        other = before.get(use.uuid, use)
        peaks = [peak for peak in (use.peak_memory, other.peak_memory) if peak is not None]
        uses.append(
            GpuUse(use.uuid, use.label or other.label, use.name or other.name, max(peaks, default=None))
        )
    return tuple(uses)
