"""The real workspace in tmux: the key `r`, and a rerun through which everything is killed, again and again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.tools.eventually import eventually
from tests.tools.real_data import real_data
from tests.tools.sandbox import Sandbox
from tests.tools.tmux import Tmux
from tests.tools.workspaces import copy_real

SOURCE = real_data()
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(SOURCE is None, reason="the real benchmark's folder is absent"),
]

SETTINGS = """
[workspace]
results = ["result/complied"]
questions = "data/QA_final_sc_filled.json"
data = "data"
[gpus]
hold = "0s"
[queue]
retry_pause = "50ms"
quick = "0s"
[runner.demo]
engine = "demo"
"""
CONFIGS = ("qwen3vl_text/text_html", "qwen3vl_text/text_csv", "qwen3vl_text/text_markdown")
ROUNDS = 6


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    assert SOURCE is not None
    folder = copy_real(tmp_path / "workspace", SOURCE)
    (folder / "hitui.toml").write_text(SETTINGS)
    return folder


def open_screen(tmux: Tmux, sandbox: Sandbox) -> None:
    env = {**sandbox.env, "TERM": "tmux-256color", "LANG": "C.UTF-8"}
    tmux.start([sys.executable, "-m", "hitui", "-w", str(sandbox.workspace)], env, 160, 45)


def journal(workspace: Path, name: str) -> list[dict[str, Any]]:
    path = workspace / "result" / "complied" / name / "results.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def counts(sandbox: Sandbox) -> dict[str, tuple[int, int]]:
    """Pending and blocked of each config."""
    return {row["name"]: (row["pending"], row["blocked"]) for row in sandbox.json("ls")}


def test_r_reruns_the_seventeen(workspace: Path, tmp_path: Path) -> None:
    with Sandbox(tmp_path / "box", workspace) as sandbox, Tmux(tmp_path) as tmux:
        folder = workspace / "result" / "complied" / "qwen3vl_text" / "text_html"
        before = {path: path.read_bytes() for path in workspace.rglob("result*.json")}
        failed = json.loads((folder / "skip_ids.json").read_text())["error_ids"]
        open_screen(tmux, sandbox)
        tmux.shows("17 to rerun")
        tmux.keys("/", *"text_html", "Enter")
        tmux.shows("1 of 11")
        tmux.keys("r")
        tmux.shows("Rerun what is pending", "17", "Enter start")
        tmux.keys("Enter")
        tmux.shows("#1 text_html", "whole")
        assert sorted(result["id"] for result in journal(workspace, "qwen3vl_text/text_html")) == failed
        assert {path: path.read_bytes() for path in before} == before
        assert counts(sandbox)["qwen3vl_text/text_html"] == (0, 8)


def runner_lives(sandbox: Sandbox, jobs: list[dict[str, Any]]) -> list[tuple[float, float, set[str]]]:
    """First and last sign of life of each job's runner, by its own event lines, and the GPUs it was given."""
    lives = []
    for job in jobs:
        path = Path(job["events"]) if job["events"] else None
        if path is not None and path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            times = [json.loads(line)["time"] for line in lines if line.endswith(b"\n")]
            if times:
                lives.append((min(times), max(times), set(job["gpus"])))
    return lives


@pytest.mark.timeout(280)
def test_whatever_is_killed_nothing_is_lost_or_run_twice(workspace: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("HITUI_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"HITUI_CHAOS_SEED={seed}")  # noqa: T201 - shown by pytest when the test fails
    dice = random.Random(seed)

    def answered() -> int:
        return sum(len(journal(workspace, name)) for name in CONFIGS)

    def active() -> list[dict[str, Any]]:
        return [job for job in sandbox.json("jobs", "--all") if job["ended"] is None]

    def processes() -> list[int]:
        """Supervisor, launchers and runners: whatever of hitui's runs on this workspace's runtime state."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
                command = (entry / "cmdline").read_bytes() if environment else b""
                ours = f"XDG_STATE_HOME={sandbox.env['XDG_STATE_HOME']}".encode()
                if ours in environment.split(b"\0") and b"hitui" in command and b"\0-w\0" not in command:
                    found.append(int(entry.name))
        return found

    with Sandbox(tmp_path / "box", workspace, gpu_count=2) as sandbox:
        sandbox.env["HITUI_DEMO_SECONDS"] = "0.2"
        before = {path: path.read_bytes() for path in workspace.rglob("result*.json")}
        pending = {name: [task["id"] for task in sandbox.json("ids", name, "--pending")] for name in CONFIGS}
        blocked = counts(sandbox)
        killed: Counter[str] = Counter()
        for number in range(ROUNDS):
            with Tmux(tmp_path / f"round{number}") as tmux:
                open_screen(tmux, sandbox)
                tmux.shows("Configs")
                screen = tmux.program()
                asked = sandbox.hitui("rerun", *CONFIGS)
                assert asked.returncode == 0 or "is already on it" in asked.stderr, asked.stderr
                goal = answered() + dice.choice((1, 2, 4))
                eventually(lambda goal=goal: answered() >= goal or not active(), "the round's moment", 60)
                living = [screen, *processes()]
                chosen = dice.choice(([screen], living, dice.sample(living, dice.randint(1, len(living)))))
                if number == 0:
                    # However the dice fall, runners are killed, and others go on for them.
                    chosen = living
                for pid in chosen:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed["screen" if pid == screen else "other"] += 1
        assert killed["screen"]
        assert killed["other"]
        eventually(lambda: not active(), "every job has ended", 60)
        last = sandbox.hitui("rerun", *CONFIGS, "--wait")
        assert last.returncode == 0, last.stdout + last.stderr

        after = counts(sandbox)
        for name in CONFIGS:
            ran = [result["id"] for result in journal(workspace, name)]
            assert sorted(ran) == sorted(pending[name]), name
            assert after[name] == (0, blocked[name][1])
        assert {path: path.read_bytes() for path in before} == before
        lives = runner_lives(sandbox, sandbox.json("jobs", "--all"))
        assert len(lives) >= 3
        for (start, end, gpus), (other_start, other_end, other_gpus) in combinations(lives, 2):
            assert not (gpus & other_gpus) or end < other_start or other_end < start, "two runners on one GPU"
