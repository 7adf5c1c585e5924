"""The results of one config on disk: a journal that is never rewritten, and a snapshot made from it.

`results.jsonl` gets one line a task, handed to the system before the next task starts; whatever kills the run, at most
the task at hand is lost. The system is made to put it on the disk once in a set time, so that slow disks hold up no
fast run: what a power failure may cost beside that is what came since, and the next run asks it again.
`checkpoint.json` is a snapshot in the format of the benchmark's own runs, of everything known in the folder, replaced
atomically; a `checkpoint.json` of someone else's is copied first. It is made anew so seldom that it takes no more than a
small share of the time, however many results there are. One process at a time writes into a folder, held by a lock on the journal.

Results are as old as their files. Where another program has written results after the journal that replace some of it,
the next result does not make the others of the journal newer than those: the journal is set aside as
`results.older-1.jsonl`, with its time, and a new one begins.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from hitui_runners.errors import RunnerError, SetupError, setup_error
from hitui_runners.realhitbench.disk import (
    Identity,
    identity_of,
    open_journal,
    open_new,
    replace_file,
    same_content,
    sync_folder,
)
from hitui_runners.realhitbench.known import Known, ReadFile, known_of, task_of, would_replace
from hitui_runners.realhitbench.results import (
    MARK,
    Result,
    TaskId,
    Unreadable,
    age_of,
    encode,
    is_error,
    is_torn,
    load_results,
    parse_journal,
    plain_id,
    result_files,
)

JOURNAL = "results.jsonl"
OLDER_JOURNAL = "results.older-{}.jsonl"
SNAPSHOT = "checkpoint.json"
COPY_SUFFIX = ".before-hitui"
SYNC_SECONDS = 1.0
SNAPSHOT_SECONDS = 60.0
"""Between two snapshots, at least."""
SNAPSHOT_SHARE = 0.02
"""Of the time, at most; a snapshot takes as long as there are results."""
RUN = "Settings"
"""Key of a result: the id of the run that made it, of those beside the results."""
_IS_JOURNAL = re.compile(r"results(\.older-\d+)?\.jsonl").fullmatch
_PARTIAL_SNAPSHOT = ".checkpoint.json.hitui-part"
_PARTIAL_JOURNAL = ".results.jsonl.hitui-part"
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
        self._known = Known()
        self._own: dict[TaskId, None] = {}
        """With a result in the folder itself, in the order in which they first stood."""
        self._own_snapshot: Identity | None = None
        self._read_snapshot: Identity | None = None
        """Of that which was read, whoever wrote it."""
        self._unsaved = False
        self._is_outranked = False
        """Whether some of the journal was replaced by newer files, and would replace that when it grew."""
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
            others = dict.fromkeys(other for other in earlier if other.resolve() != folder.resolve())
            self._read_everything(others)
        except BaseException:
            os.close(self._journal)
            raise

    def result(self, task_id: TaskId) -> Result | None:
        """The result that counts; None: there is none."""
        return self._known.result(task_id)

    def is_answered(self, task_id: TaskId) -> bool:
        result = self.result(task_id)
        return result is not None and not is_error(result)

    def failures(self, task_id: TaskId) -> int:
        """How often it has failed, as far as that is known; 0 for what is answered, or was never asked."""
        result = self.result(task_id)
        return max(1, self._failures[plain_id(task_id)]) if result is not None and is_error(result) else 0

    def runs_of_answers(self) -> frozenset[str | None]:
        """The ids of the runs that made the answers known here; with None where some name none."""
        marks = (result.get(RUN) for result in self._known.answers())
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
        if self._is_outranked:
            self._set_journal_aside()
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
        self._take_in(self._folder / JOURNAL, os.fstat(self._journal).st_mtime_ns, [result])
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
            # Those that count, wherever they stand: in a file that is newer than theirs others would replace them.
            results = [result for task in self._own if (result := self.result(task)) is not None]
            answered = [result["id"] for result in results if not is_error(result)]
            replace_file(
                path,
                self._folder / _PARTIAL_SNAPSHOT,
                encode({"results": results, "processed_ids": answered, **MARK}, indent=2),
            )
            self._own_snapshot = identity_of(path)
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
            handle = open_journal(path)
            sync_folder(self._folder)
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

    def _read_everything(self, others: Iterable[Path]) -> None:
        journal, snapshot = self._folder / JOURNAL, self._folder / SNAPSHOT
        read: list[ReadFile] = []
        for path in result_files([self._folder, *others]):
            age = age_of(path)
            if path == journal:
                read.append((path, age, self._read_journal(path, age)))
                continue
            try:
                results, ours = load_results(path, self._warn)
            except Unreadable as error:
                left = "left as it is and " if path.parent == self._folder else ""
                self._warn(f"{path}: {error}; it is {left}not read")
                continue
            read.append((path, age, results))
            if path == snapshot:
                self._read_snapshot = identity_of(path)
                self._own_snapshot = self._read_snapshot if ours else None
        for file in read:
            self._take_in(*file)
        journals = [file for file in read if file[0].parent == self._folder and _IS_JOURNAL(file[0].name)]
        if any(results for _, _, results in journals):
            without = known_of(file for file in read if file not in journals)
            self._unsaved = self._own_snapshot is None or any(
                without.result(task) != self.result(task) for task in self._own
            )
        for _, _, results in journals:
            self._failures.update(task_of(result) for result in results if is_error(result))
        self._is_outranked = would_replace(journal, read)

    def _take_in(self, path: Path, age: int, results: Iterable[Result]) -> None:
        tasks = self._known.take_in(path, age, results)
        if path.parent == self._folder:
            self._own.update(dict.fromkeys(tasks))

    def _set_journal_aside(self) -> None:
        """Begins a new journal, so that the results in this one stay as old as they are. Raises RunnerError."""
        path, partial = self._folder / JOURNAL, self._folder / _PARTIAL_JOURNAL
        number = 1
        while (older := self._folder / OLDER_JOURNAL.format(number)).exists() and not older.samefile(path):
            number += 1
        try:
            self._sync()
            handle = open_new(partial, 0o644)
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not older.exists():
                try:
                    older.hardlink_to(path)
                except OSError:
                    # Some file systems know one name of a file only.
                    path.rename(older)
            partial.rename(path)
        except OSError as error:
            raise RunnerError(
                f"{path}: cannot be set aside as {older.name}: {error.strerror}; make room, or make it writable, and run "
                "again with --resume, all earlier results are kept"
            ) from error
        sync_folder(self._folder)
        os.close(self._journal)
        self._journal, self._is_outranked = handle, False

    def _read_journal(self, path: Path, age: int) -> list[Result]:
        """The results in the journal, whose last line is ended or, where it was torn, cut off; it is as old as before."""
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
            if age_of(path) != age:
                # Only its owner may; for others its results are then newer than what came after them.
                with contextlib.suppress(OSError):
                    os.utime(self._journal, ns=(age, age))
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
            found, age = identity_of(path), age_of(path)
            if found == self._own_snapshot:
                return True
            results, ours = load_results(path, self._warn)
        except (Unreadable, FileNotFoundError):
            # A link to nowhere counts as well: it points at answers that are out of reach now.
            return False
        if found != self._read_snapshot:
            self._read_snapshot = found
            later, self._own = self._own, {}
            self._take_in(path, age, results)
            self._own.update(later)
        if ours:
            return True
        number = 1
        while True:
            copy = path.with_name(path.name + COPY_SUFFIX + (f"-{number}" if number > 1 else ""))
            if not copy.exists():
                partial = self._folder / _PARTIAL_COPY
                with path.open("rb") as file, os.fdopen(open_new(partial, 0o600), "wb") as kept:
                    shutil.copyfileobj(file, kept)
                    kept.flush()
                    shutil.copystat(path, partial)
                    os.fsync(kept.fileno())
                partial.rename(copy)
                return True
            if same_content(copy, path):
                return True
            number += 1
