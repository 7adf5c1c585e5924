"""A result store that is killed at every line of its code in turn, in a process of its own.

    python -I -S tests/tools/killed_store.py RUNNERS FOLDER

For each K there is a process that dies by SIGKILL as it comes to the Kth line of the code that stores results, or of the
library's that copies files, and once more half way through its Kth write; then the folder is opened again as the next
run does. Prints one line of JSON: how many places there were, and what was wrong at any of them. What is written is not
put on the disk: that is for machines that die, and would take minutes here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

THEIRS = [{"id": 8, "Prediction": "theirs"}, {"id": 9, "Prediction": "theirs"}]
FOREIGN = {"results": THEIRS, "processed_ids": [8, 9]}
OLDER = {"id": 8, "Prediction": "ours, and older"}
"""In the journal, so that it is set aside before it grows."""
TASKS = 2
TRACED = (
    "hitui_runners.realhitbench.store",
    "hitui_runners.realhitbench.disk",
    "hitui_runners.realhitbench.run_record",
    "shutil",
)
"""Modules that touch the disk; between their lines nothing changes there."""


def main(runners: str, folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "hitui_runners", Path(runners) / "__init__.py", submodule_search_locations=[runners]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["hitui_runners"] = importlib.util.module_from_spec(spec)
    from hitui_runners.realhitbench import run_record, store

    os.fsync = os.fdatasync = lambda handle: None

    found: dict[str, Any] = {"wrong": []}
    for what, arm in (("lines", _at_line), ("writes", _at_write)):
        place = 0
        while True:
            place += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / "results.jsonl").write_text(json.dumps(OLDER) + "\n")
            os.utime(folder / "results.jsonl", (100, 100))
            (folder / "checkpoint.json").write_text(json.dumps(FOREIGN))
            os.utime(folder / "checkpoint.json", (200, 200))
            survived, acknowledged = _run(folder, arm, place)
            wrong = _look(store, run_record, folder, acknowledged)
            found["wrong"] += [f"{what} {place}: {line}" for line in wrong]
            if survived:
                break
        found[what] = place - 1
    sys.stdout.write(json.dumps(found))


def _run(folder: Path, arm: Callable[[int], None], place: int) -> tuple[bool, int]:
    """Whether it came through, and how many results it was told are stored."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(told)
        try:
            from hitui_runners.realhitbench.run_record import add_run
            from hitui_runners.realhitbench.run_settings import RunSettings
            from hitui_runners.realhitbench.store import ResultStore

            arm(place)
            store = ResultStore(folder, lambda line: None)
            store.mark("a", lambda: add_run(folder, RunSettings({"engine": "demo"})))
            for task in range(TASKS):
                store.append({"id": task, "Prediction": "41"})
                _write(tell, b".")
                store.save_snapshot()
            store.close()
        finally:
            os._exit(0)
    os.close(tell)
    acknowledged = 0
    while count := len(os.read(told, 100)):
        acknowledged += count
    os.close(told)
    status = os.waitpid(pid, 0)[1]
    return not os.WIFSIGNALED(status), acknowledged


_write = os.write


def _at_line(place: int) -> None:
    left = place

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_globals.get("__name__", "") not in TRACED:
            return None
        if event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def _at_write(place: int) -> None:
    left = place

    def write(handle: int, data: bytes) -> int:
        nonlocal left
        left -= 1
        if not left:
            _write(handle, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return _write(handle, data)

    os.write = write


def _look(store: Any, run_record: Any, folder: Path, acknowledged: int) -> list[str]:
    """What is wrong, as the next run sees it."""
    warnings: list[str] = []
    opened = store.ResultStore(folder, warnings.append)
    answered = [task for task in range(TASKS) if opened.is_answered(task)]
    wrong = [line for line in warnings if "the last line was torn" not in line]
    if answered != list(range(len(answered))) or not acknowledged <= len(answered) <= acknowledged + 1:
        wrong.append(f"{acknowledged} were stored, and there are {answered}")
    for task in (8, 9):
        if (opened.result(task) or {}).get("Prediction") != "theirs":
            wrong.append(f"the answer to {task} that was there before is gone")
    known = {run.id for run in run_record.recorded_runs(folder)}
    if answered and len(known) != 1:
        wrong.append(f"answers, and {len(known)} runs on record")
    copies = list(folder.glob("checkpoint.json.before-hitui*"))
    snapshot = json.loads((folder / "checkpoint.json").read_bytes())
    if any(json.loads(copy.read_bytes()) != FOREIGN for copy in copies):
        wrong.append("the copy is not what stood there")
    if snapshot != FOREIGN and not copies:
        wrong.append("what stood there was replaced, and there is no copy")
    for task in range(len(answered), TASKS):
        opened.append({"id": task, "Prediction": "41"})
    opened.save_snapshot()
    opened.close()
    processed = json.loads((folder / "checkpoint.json").read_bytes())["processed_ids"]
    if sorted(processed) != [*range(TASKS), 8, 9]:
        wrong.append(f"the next run ended with {processed}")
    return wrong


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
