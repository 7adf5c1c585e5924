"""What it costs to tell screens of 10,000 jobs: whole snapshots and changes, on both sides of the socket.

Reference: `json.loads` of the whole line, which is what any client would have to do at the least.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from hitui.domain.jobs import Job, JobRequest, Queued, Running
from hitui.domain.schedule import Queue
from hitui.domain.waits import Wait, WaitKind
from hitui.supervisor.bulletin import Bulletin
from hitui.supervisor.snapshots import SnapshotReader

JOBS, CONFIGS = 10_000, 1_000
WAIT = "20 GiB free on one GPU: GPU 0, 1, 2, 3, 4, 5, 6, 7 are {}% busy"
ROUNDS = 9


def main() -> None:
    jobs = [
        Job(number, JobRequest(f"g{number % 100}/x{number % CONFIGS}", ids=(number,)), 1.7e9, Queued())
        for number in range(1, JOBS + 1)
    ]
    started = [replace(jobs[0], state=Running(("GPU-0",), 4711, 1.7e9), log=str(Path("/tmp/log"))), *jobs[1:]]
    waits, other_waits = (
        dict.fromkeys(range(1, JOBS + 1), Wait(WaitKind.GPUS, WAIT.format(busy))) for busy in (97, 98)
    )

    def told() -> Bulletin:
        bulletin = Bulletin(1)
        bulletin.update(jobs, waits, Queue())
        return bulletin

    def hearing() -> SnapshotReader:
        reader = SnapshotReader()
        reader.read(whole)
        return reader

    def told_of(bulletin: Bulletin, now: list[Job], waiting: dict[int, Wait]) -> bytes:
        bulletin.update(now, waiting, Queue())
        return bulletin.line(1)

    whole = told().line(None)
    one, all_waits = told_of(told(), started, waits), told_of(told(), jobs, other_waits)
    reference = measure(lambda _: json.loads(whole), lambda: None)
    print(f"{JOBS} jobs, a whole line of {len(whole) / 1e6:.1f} MB")
    for name, line, tell in (
        ("everything, to one that just came", whole, lambda bulletin: bulletin.line(None)),
        ("that one job started", one, lambda bulletin: told_of(bulletin, started, waits)),
        (
            "that all wait for something else",
            all_waits,
            lambda bulletin: told_of(bulletin, jobs, other_waits),
        ),
    ):
        telling = measure(tell, told)
        reading = measure(lambda reader, line=line: reader.read(line), hearing)
        print(
            f"  {name:35} {len(line):8} bytes, told to all watchers in {telling * 1000:5.1f} ms, "
            f"read by each in {reading * 1000:5.1f} ms ({reference / reading:.0f} times json.loads of a whole one)"
        )


def measure(work: Callable[..., object], prepare: Callable[[], object]) -> float:
    """The best of several rounds, in seconds; what `prepare` makes is handed over and not measured."""
    times = []
    for _ in range(ROUNDS):
        prepared = prepare()
        gc.collect()
        begun = time.perf_counter()
        work(prepared)
        times.append(time.perf_counter() - begun)
    return min(times)
