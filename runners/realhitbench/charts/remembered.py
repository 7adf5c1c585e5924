"""Scores of charts that were made before, so that no program runs twice.

A journal of lines `{"key", "ECR", "Pass", "why", "walls"}`, each appended as its program has ended. The key is a digest
of all that a score depends on: programs, contents of the workbooks, reference, limits, versions of Python and the
libraries, and the code that runs and scores. The file may be removed at any time. What a machine that was too busy
may have decided is not kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from hitui_runners.realhitbench.charts.metrics import NOT_RUN, ChartAnswer, Scored, program_of
from hitui_runners.realhitbench.charts.sandbox import Limits

_CODE = ("enclosure.py", "guest.py", "metrics.py", "sandbox.py", "scratch.py", "walls.py", "watching.py")
"""Files of this folder on which scores depend."""


class Remembered:
    """The journal; may be used by several threads, and by several processes at once."""

    def __init__(self, path: Path | None, warn: Callable[[str], None]) -> None:
        """`path`: its file, which need not be there; None: what is put in is kept for this process alone."""
        self._path = path
        self._warn = warn
        self._lock = threading.Lock()
        self._known: dict[str, Scored] = {}
        self._torn = False
        """Whether the last line has no end, so that the next one must not follow on it."""
        if path is not None:
            try:
                if not stat.S_ISREG(path.stat().st_mode):
                    raise OSError(errno.EINVAL, "is no regular file")
                self._read(path.read_bytes())
            except FileNotFoundError:
                # The first score makes it.
                pass
            except OSError as error:
                self._give_up(error)

    def get(self, key: str, *, without_walls: bool) -> Scored | None:
        """A score; `without_walls`: one too that was made without any."""
        with self._lock:
            found = self._known.get(key)
        return found if found is not None and (found.walls or without_walls) else None

    def put(self, key: str, scored: Scored) -> None:
        """Keeps a score, on disk at once; where that cannot be, it is said once."""
        if not scored.settled:
            return
        line = {"key": key, **scored.metrics, "why": scored.why, "walls": scored.walls}
        with self._lock:
            self._known[key] = scored
            if self._path is None:
                return
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                try:
                    # In one piece, since others may write too.
                    data = b"\n" * self._torn + json.dumps(line).encode() + b"\n"
                    if os.write(handle, data) < len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    self._torn = False
                finally:
                    os.close(handle)
            except OSError as error:
                self._give_up(error)

    def _read(self, data: bytes) -> None:
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.splitlines():
            try:
                entry = json.loads(line)
                key, ran, passed, why, walls = (
                    entry[name] for name in ("key", "ECR", "Pass", "why", "walls")
                )
            except (ValueError, KeyError, TypeError, RecursionError):
                # Torn by a kill; its program runs again.
                continue
            if not (isinstance(key, str) and isinstance(ran, bool)):
                continue
            if not (isinstance(passed, bool) or passed == NOT_RUN):
                continue
            known = self._known.get(key)
            if known is None or walls is True or not known.walls:
                self._known[key] = Scored({"ECR": ran, "Pass": passed}, str(why), walls=walls is True)

    def _give_up(self, error: OSError) -> None:
        self._warn(f"{self._path}: {error.strerror}; scores of charts are not kept for the next time")
        self._path = None


class Keys:
    """Makes the keys; each workbook is read once."""

    def __init__(self, versions: Mapping[str, str]) -> None:
        code = hashlib.sha256()
        for name in _CODE:
            code.update(Path(__file__).with_name(name).read_bytes())
        self._everywhere = [code.hexdigest(), sorted(versions.items())]
        self._workbooks: dict[Path, str] = {}

    def of(
        self, answer: ChartAnswer, limits: Limits, before: Sequence[ChartAnswer] = (), first: str = ""
    ) -> str:
        """Of one answer, with what runs before it in the same process. Raises OSError for a workbook."""
        programs = []
        for one in (*before, answer):
            program = program_of(one)
            if program is not None:
                programs.append([program.code, self._workbook(one.workbook)])
        parts = [self._everywhere, asdict(limits), answer.sub_type, answer.reference, first, programs]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _workbook(self, path: Path) -> str:
        if path not in self._workbooks:
            self._workbooks[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._workbooks[path]
