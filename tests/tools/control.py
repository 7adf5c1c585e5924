"""A small workspace under a supervisor of its own, driven through the client as the screen drives it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hitui.adapters import processes
from hitui.adapters.processes import JOB_VARIABLE, Process
from hitui.domain.jobs import Ended, Job, JobRequest, Running
from hitui.errors import SupervisorError
from hitui.paths import RuntimePaths
from hitui.services.jobs import JobsService
from hitui.settings import load_settings
from tests.tools.benchmark import harbours
from tests.tools.eventually import eventually
from tests.tools.plain_python import PLAIN_PYTHON
from tests.tools.sandbox import write_gpus

RUNNER = Path(__file__).with_name("scripted_runner.py")
CONFIGS = (
    "answer", "answer2", "answer3", "hang", "stubborn", "daemon", "leave", "fail", "rubbish", "requeue", "quit",
)  # fmt: skip
HEAD = """
[queue]
retries = 0
[workspace]
results = ["result"]
questions = "questions.json"
data = "data"
[gpus]
min_free = "20GiB"
hold = "0s"
"""


class Control:
    """Config `g/MODE` runs the scripted runner in that mode; a number behind the mode makes another config."""

    def __init__(self, folder: Path, questions: int, seconds: float) -> None:
        self.root = folder / "workspace"
        harbours(self.root, questions)
        self.ledger = folder / "ledger.jsonl"
        self.seconds = seconds
        self.gpus = folder / "gpus"
        self.write_settings()

    def write_settings(self, head: str = HEAD, runner_keys: str = "") -> None:
        text = [head]
        for config in CONFIGS:
            command = [
                *PLAIN_PYTHON, str(RUNNER), config.rstrip("0123456789"), "--output", "{output}", "--ids-file", "{ids_file}",
                "--ledger", str(self.ledger), "--seconds", str(self.seconds),
            ]  # fmt: skip
            text.append(
                f"[runner.{config}]\ncommand = {json.dumps(command)}\n{runner_keys}\n"
                f'[[config]]\nname = "g/{config}"\nrunner = "{config}"\nmodality = "text"\nformat = "html"\n'
            )
        (self.root / "hitui.toml").write_text("\n".join(text))
        self.connect()

    def connect(self) -> None:
        settings = load_settings(self.root, self.root / "hitui.toml")
        self.paths = RuntimePaths.of(self.root)
        self.service = JobsService(settings, self.paths)
        self.client = self.service.client

    def submit(self, mode: str, **wishes: Any) -> int:
        """Queues config g/MODE and returns the job's id."""
        return self.service.submit([JobRequest(f"g/{mode}", **wishes)])[0].id

    def job(self, job_id: int) -> Job:
        return next(job for job in self.client.last_known(None).jobs if job.id == job_id)

    def successor(self, job_id: int) -> Job | None:
        """The job that took the place of another in the queue."""
        successor = self.job(job_id).successor
        return None if successor is None else self.job(successor)

    def running(self, job_id: int) -> Running:
        """The state of a job once it runs."""

        def state() -> Running | None:
            found = self.job(job_id).state
            assert not isinstance(found, Ended), found
            return found if isinstance(found, Running) else None

        return eventually(state, f"job {job_id} runs")  # type: ignore[return-value]

    def ended(self, job_id: int) -> Ended:
        """The state of a job once it has ended."""

        def state() -> Ended | None:
            found = self.job(job_id).state
            return found if isinstance(found, Ended) else None

        return eventually(state, f"job {job_id} has ended")  # type: ignore[return-value]

    def waits_for(self, job_id: int) -> str:
        """What a queued job says it waits for, once it says so."""

        def text() -> str:
            job = next(job for job in self.client.jobs().jobs if job.id == job_id)
            return getattr(job.state, "waits_for", "")

        return eventually(text, f"job {job_id} says what it waits for")

    def output(self, mode: str) -> Path:
        return self.root / "result" / "g" / mode

    def told(self, mode: str, name: str) -> Process:
        """The process that wrote `NAME.pid` into the output folder."""
        path = self.output(mode) / f"{name}.pid"
        eventually(path.exists, str(path))
        process = processes.find_process(int(path.read_text()))
        assert process is not None
        return process

    def launcher(self, job_id: int) -> Process:
        path = self.paths.job(job_id) / "launcher.json"
        eventually(path.exists, str(path))
        written = json.loads(path.read_text())
        return Process(written["pid"], written["start_time"])

    def supervisor(self) -> Process:
        process = processes.find_process(int(self.client.status()["pid"]))
        assert process is not None
        return process

    def entries(self) -> list[dict[str, Any]]:
        """The scripted runners' ledger."""
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]

    def answered(self, mode: str) -> list[int]:
        """Ids in the journal, in its order."""
        lines = (self.output(mode) / "results.jsonl").read_text().splitlines()
        return [json.loads(line)["id"] for line in lines]

    def leftovers(self) -> set[Process]:
        """Living processes of any of this workspace's jobs, launchers included."""
        marked = f"{self.paths.runtime.name}:"
        found = {
            process for process in _all() if environment_of(process).get(JOB_VARIABLE, "").startswith(marked)
        }
        for path in (self.paths.state / "jobs").glob("*/launcher.json"):
            written = json.loads(path.read_text())
            process = Process(written["pid"], written["start_time"])
            found |= {process} if processes.alive(process) else set()
        return found


def kill(process: Process) -> None:
    """kill -9, and the end of it."""
    processes.send(process, signal.SIGKILL)
    eventually(lambda: not processes.alive(process), f"{process} is gone")


@contextmanager
def control(
    folder: Path, monkeypatch: pytest.MonkeyPatch, questions: int = 6, gpus: int = 2, seconds: float = 0.02
) -> Iterator[Control]:
    """A control, and the end of everything that it started."""
    runtime = tempfile.mkdtemp(prefix="hitui-test-")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    monkeypatch.setenv("HITUI_GPU_LOCKS", str(folder / "locks"))
    monkeypatch.setenv("HITUI_SIMULATED_GPUS", str(folder / "gpus"))
    for name in (JOB_VARIABLE, "HITUI_EVENTS"):
        monkeypatch.delenv(name, raising=False)
    write_gpus(folder / "gpus", gpus)
    made = Control(folder, questions, seconds)
    trouble = ""
    try:
        yield made
    finally:
        try:
            active = [job.id for job in made.client.last_known(None).jobs if job.active]
            if active:
                made.service.stop(active)
                made.service.stop(active)
                _each(active, made.ended)
            made.client.shut_down()
        except SupervisorError as error:
            # Some tests leave none that could be asked; those have ended their jobs themselves.
            trouble = f" ({error})"
        # A supervisor that ends at this moment takes its socket away itself.
        shutil.rmtree(runtime, ignore_errors=True)
    eventually(lambda: not made.leftovers(), f"no process of a job is left{trouble}")


def _each(values: list[int], act: Callable[[int], object]) -> None:
    for value in values:
        act(value)


def _all() -> list[Process]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [process for process in map(processes.find_process, pids) if process is not None]


def environment_of(process: Process) -> dict[str, str]:
    """What it was started with; nothing where it is gone, or another user's."""
    try:
        entries = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(os.fsdecode(entry).partition("=")[::2] for entry in entries if entry)
