"""A runner of a user's own, for tests of the control side: `scripted_runner.py MODE --output DIR [--ids-file FILE]`.

It knows nothing of hitui but the ids file, HITUI_EVENTS and the results journal. What each mode does stands
at its function. Every start and end is noted in `ledger.jsonl` beside the output folder's parent, with the
GPUs it was given, so that a checker can tell afterwards whether a GPU was ever held twice.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def answer(arguments: argparse.Namespace) -> int:
    """Answers every task that has no answer yet, as the results journal asks."""
    journal = arguments.output / "results.jsonl"
    with journal.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another runner writes this journal")
        file.seek(0)
        text = file.read()
        whole = text.rfind(b"\n") + 1
        file.truncate(whole)
        done = {json.loads(line)["id"] for line in text[:whole].splitlines()}
        ids = json.loads(arguments.ids_file.read_text())["ids"]
        event("phase", phase="running")
        for number, task in enumerate(ids, start=1):
            if task not in done:
                time.sleep(arguments.seconds)
                file.write(json.dumps({"id": task, "Prediction": "[Final Answer]: 1"}).encode() + b"\n")
                file.flush()
            event("task", id=task, status="done", seconds=arguments.seconds)
            event("progress", done=number, total=len(ids), errors=0)
        event("end", done=len(ids), errors=0, exit=0)
    return 0


def hang(arguments: argparse.Namespace) -> int:
    """Does nothing until a signal ends it."""
    tell(arguments, "main")
    while True:
        signal.pause()


def stubborn(arguments: argparse.Namespace) -> int:
    """Ignores SIGTERM, and so does its child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(arguments, "child" if os.fork() == 0 else "main")
    while True:
        signal.pause()


def daemon(arguments: argparse.Namespace) -> int:
    """Leaves a process behind that has a session of its own, no parent and an empty environment."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            tell(arguments, "daemon")
            os.execve(sys.executable, [sys.executable, "-c", "import signal; signal.pause()"], {})
        os._exit(0)
    return hang(arguments)


def leave(arguments: argparse.Namespace) -> int:
    """Ends well at once, and leaves a child behind."""
    if os.fork() == 0:
        tell(arguments, "child")
        while True:
            signal.pause()
    while not (arguments.output / "child.pid").exists():
        time.sleep(0.01)
    return answer(arguments)


def fail(arguments: argparse.Namespace) -> int:
    """Prints why and exits with 3."""
    sys.stderr.write("\x1b[31mmodel.safetensors: no such file\x1b[0m\x07\n")
    return 3


def rubbish(arguments: argparse.Namespace) -> int:
    """Prints one line of 200 MB of anything, then exits with 4."""
    block = bytes(range(256)).replace(b"\n", b"") * 4096
    for _ in range(200):
        sys.stdout.buffer.write(block)
    return 4


def requeue(arguments: argparse.Namespace) -> int:
    """Asks to be put back into the queue the first time, and answers the second."""
    mark = arguments.output / "asked"
    if mark.exists():
        return answer(arguments)
    mark.touch()
    return 75


def quit_early(arguments: argparse.Namespace) -> int:
    """Says that all is well, and has answered nothing."""
    return 0


def tell(arguments: argparse.Namespace, name: str) -> None:
    """Writes this process's pid into `NAME.pid` of the output folder."""
    beside = arguments.output / f"{name}.{os.getpid()}"
    beside.write_text(str(os.getpid()))
    beside.replace(arguments.output / f"{name}.pid")


def event(kind: str, **values: object) -> None:
    path = os.environ.get("HITUI_EVENTS")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), "event": kind, **values}) + "\n")


def note(arguments: argparse.Namespace, what: str) -> None:
    """One line in the ledger; monotonic time is the same for all processes of a machine."""
    start_time = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    entry = {
        "what": what,
        "pid": os.getpid(),
        "start_time": start_time,
        "time": time.monotonic(),
        "gpus": [uuid for uuid in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if uuid],
        "order": os.environ.get("CUDA_DEVICE_ORDER"),
        "arguments": sys.argv[1:],
    }
    with arguments.ledger.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def main() -> int:
    modes = {
        "answer": answer,
        "hang": hang,
        "stubborn": stubborn,
        "daemon": daemon,
        "leave": leave,
        "fail": fail,
        "rubbish": rubbish,
        "requeue": requeue,
        "quit": quit_early,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=modes)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--ids-file", type=Path)
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with held_gpus(arguments):
        note(arguments, "start")
        status = modes[arguments.mode](arguments)
        note(arguments, "end")
    return status


@contextlib.contextmanager
def held_gpus(arguments: argparse.Namespace):
    """Holds a lock of the test's own on each GPU; that another process has it is noted as `twice`."""
    held = []
    for uuid in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","):
        if uuid:
            file = arguments.ledger.with_name(f"held-{uuid}").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note(arguments, "twice")
            held.append(file)
    try:
        yield
    finally:
        for file in held:
            file.close()


if __name__ == "__main__":
    sys.exit(main())
