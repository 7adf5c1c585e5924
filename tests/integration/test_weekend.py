"""A weekend in a minute: 40 jobs on 8 GPUs while screen, supervisor, launchers and runners are killed.

HITUI_WEEKEND_KILLS says how often (default 30); HITUI_CHAOS_SEED repeats one. A checker reads what is on disk
afterwards: journals, the runners' ledger, the store and /proc.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hitui.adapters import processes
from hitui.adapters.processes import Process
from hitui.domain.jobs import Ended, Ending, Job, JobRequest
from hitui.domain.schedule import Schedule
from hitui.errors import HituiError
from tests.tools.benchmark import harbours
from tests.tools.control import HEAD, RUNNER, Control, control, kill
from tests.tools.eventually import eventually
from tests.tools.plain_python import PLAIN_PYTHON
from tests.tools.tmux import Tmux

KILLS = int(os.environ.get("HITUI_WEEKEND_KILLS", "30"))
JOBS, GPUS, QUESTIONS, TABLES = 40, 8, 8, 4
NAMES = tuple(f"answer{number}" for number in range(JOBS))
SPLIT = NAMES[::4]
"""These may run in shards, each ahead of all behind it: GPUs are left to what is as urgent."""


def settle(here: Control) -> None:
    """Forty configs, crashes tried again soon, and nothing stopped because it was killed twice."""
    benchmark = harbours(here.root, 0)
    for table in range(TABLES):
        benchmark.add_table(f"table{table}")
    for number in range(QUESTIONS):
        benchmark.ask(number + 1, f"table{number % TABLES}", f"Which boat is number {number}?", "1")
    head = HEAD.replace("retries = 0", 'retries = 1000\nretry_pause = "50ms"\nquick = "0s"')
    text = [head]
    command = [*PLAIN_PYTHON, str(RUNNER), "answer", "--output", "{output}", "--ids-file", "{ids_file}"]
    command += ["--ledger", str(here.ledger), "--seconds", str(here.seconds)]
    text.append(f"[runner.answer]\ncommand = {json.dumps(command)}\n")
    text += [
        f'[[config]]\nname = "g/{name}"\nrunner = "answer"\nmodality = "text"\nformat = "html"\n'
        for name in NAMES
    ]
    (here.root / "hitui.toml").write_text("\n".join(text))
    here.connect()


@contextmanager
def screen(here: Control, folder: Path) -> Iterator[Tmux]:
    with Tmux(folder) as tmux:
        argv = [str(Path(sys.executable).with_name("hitui")), "-w", str(here.root)]
        kept = (
            "XDG_STATE_HOME",
            "XDG_RUNTIME_DIR",
            "XDG_CACHE_HOME",
            "HITUI_GPU_LOCKS",
            "HITUI_SIMULATED_GPUS",
        )
        env = {name: os.environ[name] for name in (*kept, "PATH", "HOME") if name in os.environ}
        tmux.start(argv, {**env, "TERM": "tmux-256color", "LANG": "C.UTF-8"}, 120, 40)
        tmux.shows("Configs")
        yield tmux


def living(here: Control) -> list[Process]:
    """Launchers and runners of the jobs that have started, and the supervisor."""
    found = []
    for job in here.client.last_known(0).jobs:
        for name in ("launcher.json", "runner.json"):
            with suppress(OSError, ValueError, KeyError):
                written = json.loads((here.paths.job(job.id) / name).read_text())
                found.append(Process(written["pid"], written["start_time"]))
    with suppress(HituiError, OSError):
        found.append(here.supervisor())
    return [process for process in found if processes.alive(process)]


def answers(here: Control) -> int:
    return sum(
        len(path.read_bytes().splitlines()) for path in (here.root / "result").glob("g/*/results.jsonl")
    )


@pytest.mark.timeout(280)
def test_forty_jobs_survive_every_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("HITUI_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"HITUI_CHAOS_SEED={seed}")  # noqa: T201 - shown by pytest when the test fails
    dice = random.Random(seed)
    with control(tmp_path, monkeypatch, questions=QUESTIONS, gpus=GPUS, seconds=0.1) as here:
        settle(here)
        for name in NAMES:
            submit(here, name)
        kills = screens = 0
        while kills < KILLS:
            # A tmux server of its own each time: the one before may not have ended yet.
            with screen(here, tmp_path / f"screen{screens}") as tmux:
                until = min(KILLS, kills + dice.randint(5, 20))
                while kills < until:
                    steps = dice.choice((0, 0, 0, 1, 2, 4))
                    if steps:
                        submit_what_is_open(here)
                    goal = answers(here) + steps
                    eventually(lambda goal=goal: answers(here) >= goal or not active(here), "the moment")
                    if all_answered(here):
                        again(here)
                    victims = living(here)
                    if victims:
                        kill(dice.choice(victims))
                        kills += 1
                shown = processes.find_process(tmux.program())
                if shown is not None:
                    kill(shown)
                    kills += 1
                    screens += 1
        finish(here)
        check(here)


def active(here: Control) -> list[Job]:
    return [job for job in here.client.last_known(0).jobs if job.active]


def submit_what_is_open(here: Control) -> None:
    """As a person would: a job whose launcher and runner were killed together is lost, and not run again."""
    here.service.ensure_supervisor()
    on_it = {config for job in active(here) for config in job.request.configs}
    open_ones = [name for name in NAMES if f"g/{name}" not in on_it and len(answered(here, name)) < QUESTIONS]
    for name in open_ones:
        submit(here, name)


def submit(here: Control, name: str) -> None:
    if name in SPLIT:
        here.service.submit([JobRequest(f"g/{name}", shards=3)], Schedule(1 + SPLIT.index(name)))
    else:
        here.service.submit([JobRequest(f"g/{name}")])


def journals(here: Control, name: str) -> list[Path]:
    """Of the config and of its shards."""
    folders = [here.output(name), *here.output(name).parent.glob(f"{name}_shard*")]
    return [folder / "results.jsonl" for folder in folders if (folder / "results.jsonl").exists()]


def answered(here: Control, name: str) -> list[int]:
    """Ids, each as often as it stands in a journal."""
    lines = [line for journal in journals(here, name) for line in journal.read_text().splitlines()]
    return [json.loads(line)["id"] for line in lines]


def finish(here: Control) -> None:
    """Runs what is left, without any more kills."""
    for _ in range(3):
        submit_what_is_open(here)
        eventually(lambda: not active(here), "every job has ended", 120)


def all_answered(here: Control) -> bool:
    return answers(here) >= JOBS * QUESTIONS


def again(here: Control) -> None:
    """All is answered before the last kill: the results go, and all is asked for once more."""
    finish(here)
    check(here)
    for name in NAMES:
        for journal in journals(here, name):
            journal.unlink()
    submit_what_is_open(here)


def check(here: Control) -> None:
    for name in NAMES:
        counted = Counter(answered(here, name))
        assert set(counted) == set(range(1, QUESTIONS + 1)), f"{name} lost tasks"
        assert max(counted.values()) == 1, f"{name} answered one twice: {counted.most_common(2)}"
    assert not [entry for entry in here.entries() if entry["what"] == "twice"], "two jobs were on one GPU"
    jobs = here.client.last_known(None).jobs
    assert all(isinstance(job.state, Ended) for job in jobs)
    assert any(job.request.shard is not None for job in jobs)
    unnamed = [job for job in jobs if isinstance(job.state, Ended) and not named(job.state)]
    assert not unnamed, unnamed[:3]
    eventually(lambda: not here.leftovers(), "no process of a job is left")


def named(state: Ended) -> bool:
    """Every ending has a name, and every one but success a reason."""
    return state.ending is Ending.SUCCEEDED or bool(state.reason)
