"""Event lines: JSON lines appended to the file that `HITUI_EVENTS` names, so that a watcher need not read logs.

    {"time": epoch seconds, "event": "start", "versions": {"python": "3.12.4", "torch": …, …}}
    {"time": …, "event": "phase", "phase": "loading" | "running" | "scoring"}
    {"time": …, "event": "progress", "done": n, "total": n, "errors": n}
    {"time": …, "event": "task", "id": …, "status": "done" | "error", "seconds": s, "input_tokens": n, "output_tokens": n}
    {"time": …, "event": "end", "done": n, "errors": n, "exit": status}

`done` counts every finished task of this launch, failed ones included.

Where one launch runs several configs, the lines of one config carry `"config": name`, and those without it are
about all of them: `progress` comes for the config and then for all, `loading` once for all, `end` for each config
and then for all.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

from hitui_runners.output import warn
from hitui_runners.versions import versions

EVENTS_VARIABLE = "HITUI_EVENTS"


class EventWriter:
    """Appends event lines; without a file it does nothing. A run never fails for want of its events."""

    def __init__(self, path: str | None = None, config: str | None = None) -> None:
        self._path = path if path is not None else os.environ.get(EVENTS_VARIABLE)
        self._of_config = {} if config is None else {"config": config}

    def of(self, config: str) -> EventWriter:
        """A writer of the lines of one config."""
        return EventWriter(self._path or "", config)

    def start(self, libraries: Sequence[str]) -> None:
        """Says with what it runs: Python, and those of the libraries that are installed."""
        if not self._path:
            return
        self._write("start", versions=versions(libraries))

    def phase(self, name: str) -> None:
        self._write("phase", phase=name)

    def progress(self, done: int, total: int, errors: int) -> None:
        self._write("progress", done=done, total=total, errors=errors)

    def task(
        self,
        task_id: int | str,
        *,
        failed: bool,
        seconds: float,
        input_tokens: int | None,
        output_tokens: int | None,
    ) -> None:
        """Token counts are None where the engine has none."""
        self._write(
            "task",
            id=task_id,
            status="error" if failed else "done",
            seconds=seconds,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )

    def end(self, done: int, errors: int, exit_status: int) -> None:
        self._write("end", done=done, errors=errors, exit=exit_status)

    def _write(self, event: str, **values: object) -> None:
        if not self._path:
            return
        line = json.dumps({"time": round(time.time(), 3), "event": event, **self._of_config, **values}) + "\n"
        try:
            # One write to a file opened for appending: a kill cannot leave half a line, but a full disk can.
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            warn(f"{self._path}: event lines stop: {error.strerror}")
            self._path = None
