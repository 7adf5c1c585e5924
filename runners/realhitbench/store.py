"""The results of one config on disk: a journal that is never rewritten, and a snapshot made from it.

`results.jsonl` gets one line a task, handed to the system before the next task starts; whatever kills the run, at most
the task at hand is lost. The system is made to put it on the disk once in a set time, so that slow disks hold up no
fast run: what a power failure may cost beside that is what came since, and the next run asks it again.
`checkpoint.json` is a snapshot in the format of the benchmark's own runs, of everything known in the folder, replaced
atomically; a `checkpoint.json` of someone else's is copied first. It is made anew so seldom that it takes no more than a
small share of the time, however many results there are. One process at a time writes into a folder, held by a lock on the journal.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from hitui_runners.errors import RunnerError, SetupError, setup_error
from hitui_runners.realhitbench.recovery import asked_rung
from hitui_runners.realhitbench.results import (
    MARK,
    Result,
    TaskId,
    Unreadable,
    counting,
    encode,
    is_error,
    is_torn,
    load_results,
    merge,
    newest_results,
    parse_journal,
    result_files,
    rungs_tried,
)

JOURNAL = "results.jsonl"
SNAPSHOT = "checkpoint.json"
COPY_SUFFIX = ".before-hitui"
SYNC_SECONDS = 1.0
SNAPSHOT_SECONDS = 60.0
"""Between two snapshots, at least."""
SNAPSHOT_SHARE = 0.02
"""Of the time, at most; a snapshot takes as long as there are results."""
RUN = "Settings"
"""Key of a result: the id of the run that made it, of those beside the results."""
_PARTIAL_SNAPSHOT = ".checkpoint.json.hitui-part"
_PARTIAL_COPY = ".checkpoint.json.before-hitui-part"


class ResultStore:
    """What is known of one output folder, and the way to add to it."""

    def __init__(
        self,
        folder: Path,
        warn: Callable[[str], None],
        earlier: Iterable[Path] = (),
        sync_seconds: float = SYNC_SECONDS,
    ) -> None:
        """Makes and locks the folder and reads what is there. Raises RunnerError with the mend.

        `earlier`: more folders with results of the same tasks, which are only read. `sync_seconds`: results are put on
        the disk when the last time is so long ago; 0: each of them.
        """
        self._folder = folder
        self._warn = warn
        self._known: dict[TaskId, Result] = {}
        self._elsewhere: dict[TaskId, Result] = {}
        self._own_snapshot: tuple[int, int, int] | None = None
        self._unsaved = False
        self._run: str | None = None
        self._record: Callable[[], None] | None = None
        self._sync_seconds = sync_seconds
        self._synced_at = -sync_seconds
        self._is_synced = True
        self._snapshot_at = time.monotonic() + SNAPSHOT_SECONDS
        self._failures: Counter[TaskId] = Counter()
        """By the lines of the journal."""
        self._journal = self._open_journal()
        try:
            self._read_everything()
        except BaseException:
            os.close(self._journal)
            raise
        others = dict.fromkeys(other for other in earlier if other.resolve() != folder.resolve())
        for result in newest_results(others, warn):
            before = self._elsewhere.get(result["id"])
            # The file of a shard changes with the other tasks of it: the later one may hold the earlier try.
            if before is None or not _went_further(before, result):
                merge(self._elsewhere, [result])

    def result(self, task_id: TaskId) -> Result | None:
        """The result that counts; None: there is none. Of failed ones, that which tried most."""
        own, other = counting(self._known, task_id), counting(self._elsewhere, task_id)
        if own is None or other is None:
            return own or other
        if is_error(own) and (not is_error(other) or rungs_tried(other) > rungs_tried(own)):
            return other
        return own

    def is_answered(self, task_id: TaskId) -> bool:
        result = self.result(task_id)
        return result is not None and not is_error(result)

    def failures(self, task_id: TaskId) -> int:
        """How often it has failed, as far as that is known; 0 for what is answered, or was never asked."""
        result = self.result(task_id)
        return max(1, self._failures[task_id]) if result is not None and is_error(result) else 0

    def runs_of_answers(self) -> frozenset[str | None]:
        """The ids of the runs that made the answers known here; with None where some name none."""
        answers = (
            result
            for known in (self._known, self._elsewhere)
            for result in known.values()
            if not is_error(result)
        )
        marks = (result.get(RUN) for result in answers)
        return frozenset(mark if isinstance(mark, str) else None for mark in marks)

    def mark(self, run: str, record: Callable[[], None]) -> None:
        """From now on results carry the id of this run; `record`, called before the first, writes down what it is."""
        self._run, self._record = run, record

    def append(self, result: Result) -> None:
        """Adds one result for good. Raises RunnerError when the disk does not take it; then it is not added."""
        if self._record is not None:
            self._record()
            self._record = None
        if self._run is not None:
            result = {**result, RUN: self._run}
        line = encode(result) + b"\n"
        start = os.fstat(self._journal).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._journal, line[written:])
            self._is_synced = False
            if time.monotonic() - self._synced_at >= self._sync_seconds:
                self._sync()
        except OSError as error:
            # Half a line would be dropped at the next start anyway; the space may matter now.
            with contextlib.suppress(OSError):
                os.ftruncate(self._journal, start)
            raise RunnerError(
                f"{self._folder / JOURNAL}: the result of task {result['id']} cannot be written: "
                f"{error.strerror}; make room, or make it writable, and run again with --resume, "
                "all earlier results are kept"
            ) from error
        merge(self._known, [result])
        self._unsaved = True

    @property
    def snapshot_is_due(self) -> bool:
        """Whether `checkpoint.json` has been left behind for long enough."""
        return self._unsaved and time.monotonic() >= self._snapshot_at

    def save_snapshot(self) -> None:
        """Brings `checkpoint.json` up to date; does nothing when it is. Raises RunnerError."""
        if not self._unsaved:
            return
        began = time.monotonic()
        try:
            self._save_snapshot()
        finally:
            ended = time.monotonic()
            self._snapshot_at = ended + max(SNAPSHOT_SECONDS, (ended - began) / SNAPSHOT_SHARE)

    def close(self) -> None:
        """Gives the lock back, with everything on the disk as far as that takes it."""
        try:
            if not self._is_synced:
                self._sync()
        except OSError as error:
            self._warn(
                f"{self._folder / JOURNAL}: the last results may not be on the disk: {error.strerror}; run again with "
                "--resume once that is mended"
            )
        finally:
            os.close(self._journal)

    def _sync(self) -> None:
        os.fdatasync(self._journal)
        self._is_synced = True
        self._synced_at = time.monotonic()

    def _save_snapshot(self) -> None:
        path = self._folder / SNAPSHOT
        try:
            if not self._keep_foreign_snapshot(path):
                return
            results = list(self._known.values())
            answered = [result["id"] for result in results if not is_error(result)]
            replace_file(
                path,
                self._folder / _PARTIAL_SNAPSHOT,
                encode({"results": results, "processed_ids": answered, **MARK}, indent=2),
            )
            self._own_snapshot = _identity(path)
        except OSError as error:
            raise RunnerError(
                f"{path}: the snapshot cannot be written: {error.strerror}; "
                f"nothing is lost, {JOURNAL} beside it holds every result; mend that and run again with --resume"
            ) from error
        self._unsaved = False

    def _open_journal(self) -> int:
        path = self._folder / JOURNAL
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _sync_folder(self._folder)
        except OSError as error:
            raise setup_error(
                f"{path}: cannot be written: {error.strerror}; give a folder that can be by --output", error
            ) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise SetupError(f"{path}: is no regular file; move it away, or give another folder by --output")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(handle)
                raise RunnerError(
                    f"{path}: another runner is writing it; wait for that one, or stop it"
                ) from error
            self._warn(
                f"{path}: cannot be locked on this file system ({error.strerror}); start no second runner"
            )
        return handle

    def _read_everything(self) -> None:
        for path in result_files([self._folder]):
            if path.name == JOURNAL:
                continue
            try:
                results, ours = load_results(path, self._warn)
            except Unreadable as error:
                self._warn(f"{path}: {error}; it is left as it is and not read")
                continue
            merge(self._known, results)
            if ours and path.name == SNAPSHOT:
                self._own_snapshot = _identity(path)
        results = self._read_journal(self._folder / JOURNAL)
        self._failures.update(result["id"] for result in results if is_error(result))
        before = dict(self._known)
        merge(self._known, results)
        self._unsaved = bool(results) and (self._own_snapshot is None or before != self._known)

    def _read_journal(self, path: Path) -> list[Result]:
        """The results in the journal, whose last line is ended or, where it was torn, cut off."""
        try:
            data = path.read_bytes()
            results, whole = parse_journal(data, lambda line: self._warn(f"{path}: {line}"))
            tail = data[whole:]
            if tail and is_torn(tail):
                self._warn(f"{path}: the last line was torn; its task runs again")
                os.ftruncate(self._journal, whole)
            elif b"\0" in tail:
                # Blocks of zeros are what a disk leaves that lost its power.
                self._warn(f"{path}: the last line is damaged; its task runs again")
                os.write(self._journal, b"\n")
            elif tail:
                raise SetupError(
                    f"{path}: {len(tail)} bytes behind its last line end are no result and no torn one, as if another "
                    "program had written them; put each result on a line of its own, or move the file away"
                )
            elif data and not data.endswith(b"\n"):
                os.write(self._journal, b"\n")
        except OSError as error:
            raise RunnerError(
                f"{path}: cannot be read and made ready for more: {error.strerror}; make room or mend the disk, "
                "all earlier results are kept"
            ) from error
        return results

    def _keep_foreign_snapshot(self, path: Path) -> bool:
        """Copies a `checkpoint.json` that we did not write, and takes in what it holds.

        False: it must stay, because it cannot be read: a snapshot in its place would hide its answers.
        """
        if not os.path.lexists(path):
            return True
        try:
            if _identity(path) == self._own_snapshot:
                return True
            results, ours = load_results(path, self._warn)
        except (Unreadable, FileNotFoundError):
            # A link to nowhere counts as well: it points at answers that are out of reach now.
            return False
        newer = dict(self._known)
        self._known.clear()
        merge(self._known, results)
        merge(self._known, newer.values())
        if ours:
            return True
        number = 1
        while True:
            copy = path.with_name(path.name + COPY_SUFFIX + (f"-{number}" if number > 1 else ""))
            if not copy.exists():
                partial = self._folder / _PARTIAL_COPY
                shutil.copy2(path, partial)
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
                partial.rename(copy)
                return True
            if _same_content(copy, path):
                return True
            number += 1


def _went_further(before: Result, result: Result) -> bool:
    """Whether both failed, the second one for lack of memory on a lower rung of the recovery ladder."""
    failed_again = is_error(before) and is_error(result) and asked_rung(result["Prediction"]) is not None
    return failed_again and rungs_tried(before) > rungs_tried(result)


def replace_file(path: Path, partial: Path, content: bytes) -> None:
    """Puts `content` in the place of a file, whole or not at all; `partial` beside it is written meanwhile."""
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Puts the names in it on the disk too. Some file systems cannot, and need not."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _same_content(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(1024 * 1024):
            if block != second.read(1024 * 1024):
                return False
    return True
