"""Two people's hitui and a program of neither on the same GPUs: no GPU is used by two at one time.

The scripted runners of both take a lock of the test's own on each GPU that they are given, and note where
another one has it; what the locks of hitui say is not asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters import processes
from hitui.domain.jobs import Ended, JobRequest, Running
from tests.tools.control import HEAD, Control, control, kill
from tests.tools.eventually import eventually

GIB = 2**30
QUESTIONS = 8
CONFIGS = ("answer", "answer2", "answer3")


def uuid(index: int) -> str:
    return f"GPU-7e570000-0000-4000-8000-{index:012d}"


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Control, Control]]:
    with control(tmp_path, monkeypatch, questions=QUESTIONS, gpus=3) as first:
        second = Control(tmp_path / "second", QUESTIONS, 0.02)
        second.ledger = first.ledger
        second.write_settings()
        try:
            yield first, second
        finally:
            active = [job.id for job in second.client.last_known(None).jobs if job.active]
            if active:
                second.service.stop(active)
                second.service.stop(active)
                for job_id in active:
                    second.ended(job_id)
            second.client.shut_down()
            eventually(lambda: not second.leftovers(), "no process of a job is left")


def occupy(here: Control, indices: Sequence[int]) -> None:
    """A program that knows nothing of hitui (this test) takes most of the memory of these GPUs, and of no other."""
    process = processes.find_process(os.getpid())
    assert process is not None
    claim = {
        "pid": process.pid,
        "start_time": process.start_time,
        "memory": {uuid(index): 70 * GIB for index in indices},
        "utilization": 0,
    }
    beside = here.gpus / "foreign.new"
    beside.write_text(json.dumps(claim))
    beside.replace(here.gpus / "claims" / f"{process.pid}.json")


def submit_all(here: Control, gpus: tuple[str, ...] | None = None) -> None:
    for ids in ((1, 2, 3, 4), (5, 6, 7, 8)):
        here.service.submit([JobRequest(f"g/{name}", ids=ids, gpus=gpus) for name in CONFIGS])


def all_ended(here: Control) -> bool:
    if not here.client.answers():
        here.service.ensure_supervisor()
    return not any(job.active for job in here.client.last_known(None).jobs)


def starts(here: Control) -> list[dict[str, Any]]:
    return [entry for entry in here.entries() if entry["what"] == "start"]


def test_nobody_starts_where_another_is(people: tuple[Control, Control]) -> None:
    first, second = people
    occupy(first, [0])
    submit_all(first)
    submit_all(second)
    eventually(lambda: first.ledger.exists() and len(starts(first)) >= 3, "some jobs have started")
    # Whose supervisor dies loses neither his jobs nor their GPUs.
    kill(first.supervisor())
    for here in people:
        eventually(lambda here=here: all_ended(here), "every job has ended", 60)
    before = len(starts(first))
    assert {gpu for entry in starts(first) for gpu in entry["gpus"]} <= {uuid(1), uuid(2)}

    # The stranger moves on to another GPU; that is seen, and nothing starts there from then on.
    occupy(first, [1])
    waiting = []
    for here in people:
        job_id = here.submit("hang", gpus=("1",))
        seen = "20 GiB free on GPU 1: GPU 1 has 10 GiB"
        eventually(lambda here=here, job_id=job_id, seen=seen: waits(here, job_id) == seen, seen)
        waiting.append(job_id)
    for here in people:
        for name in CONFIGS:
            (here.output(name) / "results.jsonl").unlink()
        submit_all(here)
    for here, job_id in zip(people, waiting, strict=True):
        eventually(lambda here=here: len(open_jobs(here)) == 1, "only the job that waits is left", 60)
        assert open_jobs(here) == [job_id]
    assert {gpu for entry in starts(first)[before:] for gpu in entry["gpus"]} <= {uuid(0), uuid(2)}

    # He leaves: one of the two gets the GPU, and the other one when that has ended.
    occupy(first, [])
    eventually(lambda: any(running(*each) for each in zip(people, waiting, strict=True)), "one runs")
    winner = next(at for at, here in enumerate(people) if running(here, waiting[at]))
    loser = 1 - winner
    locked = "20 GiB free on GPU 1: GPU 1 is locked by your hitui in workspace"
    eventually(lambda: waits(people[loser], waiting[loser]) == locked, locked)
    people[winner].client.stop([waiting[winner]])
    assert people[loser].running(waiting[loser]).gpus == (uuid(1),)

    assert not [entry for entry in first.entries() if entry["what"] == "twice"]
    for here in people:
        for name in CONFIGS:
            assert sorted(here.answered(name)) == list(range(1, QUESTIONS + 1))


def test_who_shares_with_himself_does_not_share_with_another(people: tuple[Control, Control]) -> None:
    first, second = people
    for here in people:
        here.write_settings(HEAD, 'share = true\nmin_free = "10GiB"')
    holding = first.submit("hang", gpus=("0",))
    first.told("hang", "main")
    waiting = second.submit("answer", gpus=("0",))
    locked = "10 GiB free on GPU 0: GPU 0 is locked by your hitui in workspace"
    eventually(lambda: waits(second, waiting) == locked, locked)
    submit_all(first, gpus=("0",))
    eventually(lambda: open_jobs(first) == [holding], "the other jobs of the first have ended", 60)
    assert open_jobs(second) == [waiting]
    assert not second.output("answer").exists()
    first.client.stop([holding])
    second.ended(waiting)
    for here, names in ((first, CONFIGS), (second, ("answer",))):
        for name in names:
            assert sorted(here.answered(name)) == list(range(1, QUESTIONS + 1))


def waits(here: Control, job_id: int) -> str:
    job = next(job for job in here.client.jobs().jobs if job.id == job_id)
    return getattr(job.state, "waits_for", "")


def open_jobs(here: Control) -> list[int]:
    return [job.id for job in here.client.last_known(None).jobs if not isinstance(job.state, Ended)]


def running(here: Control, job_id: int) -> bool:
    return isinstance(here.job(job_id).state, Running)
