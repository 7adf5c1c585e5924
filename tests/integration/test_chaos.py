"""Ten rounds of kill -9 on whatever lives, at moments that a logged seed chooses; then everything is counted."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from hitui.adapters.processes import Process
from hitui.domain.jobs import Ended, Job, JobRequest
from tests.tools.control import Control, control, kill
from tests.tools.eventually import eventually

ROUNDS = 10
CONFIGS = ("answer", "answer2", "answer3")
QUESTIONS = 40


def submit_what_is_open(here: Control) -> None:
    """One job for each config that has none, as a person would who presses the key again."""
    here.service.ensure_supervisor()
    for name in CONFIGS:
        if not any(job.request.config == f"g/{name}" for job in active(here)):
            here.service.submit([JobRequest(f"g/{name}")])


def answers(here: Control) -> int:
    return sum(
        len(path.read_bytes().splitlines()) for path in (here.root / "result").glob("g/*/results.jsonl")
    )


def active(here: Control) -> list[Job]:
    return [job for job in here.client.last_known(None).jobs if job.active]


def launchers(here: Control) -> list[Process]:
    running = [job.id for job in active(here) if (here.paths.job(job.id) / "launcher.json").exists()]
    return [here.launcher(job_id) for job_id in running]


def victims(here: Control) -> list[Process]:
    """Supervisor, launchers and runners that live now."""
    found = list(here.leftovers())
    if here.client.answers():
        found.append(here.supervisor())
    return sorted(found)


@pytest.mark.timeout(280)
def test_whatever_is_killed_nothing_is_lost_and_nothing_runs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("HITUI_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"HITUI_CHAOS_SEED={seed}")  # noqa: T201 - shown by pytest when the test fails
    dice = random.Random(seed)
    with control(tmp_path, monkeypatch, questions=QUESTIONS, gpus=2, seconds=0.05) as here:
        for _ in range(ROUNDS):
            submit_what_is_open(here)
            goal = answers(here) + dice.choice((0, 0, 1, 3, 8))
            eventually(lambda goal=goal: answers(here) >= goal or not active(here), "the round's moment")
            living = victims(here)
            some = dice.sample(living, dice.randint(0, len(living)))
            chosen = dice.choice((living, launchers(here), some, some))
            for process in chosen:
                kill(process)
            if dice.random() < 0.5:
                here.service.ensure_supervisor()
        for _ in range(3):
            submit_what_is_open(here)
            eventually(lambda: not active(here), "every job has ended", 60)

        for name in CONFIGS:
            counted = Counter(here.answered(name))
            assert set(counted) == set(range(1, QUESTIONS + 1)), f"{name} lost tasks"
            assert max(counted.values()) == 1, f"{name} ran a task twice: {counted.most_common(3)}"
        assert not [entry for entry in here.entries() if entry["what"] == "twice"]
        jobs = here.client.jobs(every=True).jobs
        assert all(isinstance(job.state, Ended) for job in jobs)
        # Two runners of one config at a time would meet at the journal's lock.
        assert not [job for job in jobs if "another runner" in getattr(job.state, "reason", "")]
        assert not here.leftovers()
