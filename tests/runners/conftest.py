"""What the runner's tests share: a made-up benchmark, and real runner processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hitui_runners.stopping import EXIT_STATUSES, StopSignals

from tests.tools.benchmark import Benchmark, harbours
from tests.tools.eventually import eventually
from tests.tools.plain_python import PLAIN_PYTHON

RUNNERS = Path(__file__).resolve().parents[2] / "runners"


@pytest.fixture
def benchmark_data(tmp_path: Path) -> Benchmark:
    return harbours(tmp_path / "benchmark")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would change a runner."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HITUI_", "CUDA_"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **changes}


@dataclass
class Runner:
    """Starts the evaluation program on one benchmark and output folder."""

    benchmark: Benchmark
    output: Path
    python: Sequence[str] | None = None
    """None: this one for models, and one without libraries for all else."""
    env: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def words(
        self, *options: object, engine: str = "demo", modality: str = "text", table: str = "html"
    ) -> list[str]:
        words: list[object] = ["realhitbench", "--engine", engine, "--modality", modality]
        words += ["--questions", self.benchmark.questions_file, "--data", self.benchmark.data]
        words += ["--output", self.output]
        if modality != "image":
            words += ["--format", table]
        if engine == "demo" and "--demo-seconds" not in options:
            words += ["--demo-seconds", "0"]
        if engine == "demo" and "--demo-failure-rate" not in options:
            words += ["--demo-failure-rate", "0"]
        return [str(word) for word in (*words, *options)]

    def start(self, *options: object, **choices: str) -> subprocess.Popen[str]:
        models = choices.get("engine") == "transformers"
        python = self.python or ((sys.executable,) if models else PLAIN_PYTHON)
        process = subprocess.Popen(
            [*python, str(RUNNERS), *self.words(*options, **choices)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(HITUI_EVENTS=str(self.events_file), **self.env),
        )
        self.processes.append(process)
        return process

    def run(self, *options: object, **choices: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*options, **choices)
        output, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    @property
    def events_file(self) -> Path:
        return self.output.with_name(self.output.name + "-events.jsonl")

    @property
    def events(self) -> list[dict[str, Any]]:
        return json_lines(self.events_file)

    @property
    def journal(self) -> list[dict[str, Any]]:
        return json_lines(self.output / "results.jsonl")

    @property
    def runs(self) -> list[dict[str, Any]]:
        return runs_beside(self.output)

    @property
    def snapshot(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.output / "checkpoint.json").read_text(encoding="utf-8"))
        return data

    def wait_for_tasks(self, count: int) -> None:
        """Until so many tasks have ended, over all runs into this folder."""
        eventually(lambda: sum(event["event"] == "task" for event in self.events) >= count)

    def wait_for_results(self, count: int) -> None:
        """Until so many lines stand in the journal."""
        eventually(lambda: len(self.journal) >= count)


class Plan(Runner):
    """Starts the program on a plan; `output` is the folder of its configs."""

    configs: list[dict[str, Any]]

    def words(
        self, *options: object, engine: str = "demo", modality: str = "text", table: str = "html"
    ) -> list[str]:
        self.output.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({"configs": self.configs}))
        words: list[object] = ["realhitbench", "--engine", engine, "--plan", self.file]
        words += ["--questions", self.benchmark.questions_file, "--data", self.benchmark.data]
        if engine == "demo":
            words += ["--demo-seconds", "0", "--demo-failure-rate", "0"]
        return [str(word) for word in (*words, *options)]

    @property
    def file(self) -> Path:
        return self.output.with_name("plan.json")

    def add(self, name: str, modality: str = "text", table: str | None = "html", **more: Any) -> None:
        config = {"name": name, "modality": modality, "output": str(self.output / name), **more}
        self.configs.append(config if table is None else {**config, "format": table})

    def ids(self, name: str) -> list[int]:
        return [result["id"] for result in json_lines(self.output / name / "results.jsonl")]

    def told(self, event: str, config: str | None) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event and line.get("config") == config]


def without_rights(runner: Runner) -> None:
    """What may not be read binds root only without its capabilities."""
    if os.getuid() == 0:
        runner.python = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable)


def runs_beside(results: Path) -> list[dict[str, Any]]:
    """With which settings the results of a folder were made, as is written beside them."""
    data = json.loads((results / "run_settings.json").read_bytes())
    assert data["written_by"] == "hitui"
    found: list[dict[str, Any]] = data["runs"]
    return found


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines; none where it is not there yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def runner(benchmark_data: Benchmark, tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(benchmark_data, tmp_path / "output")
    yield runner
    for process in runner.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def plan(runner: Runner) -> Plan:
    plan = Plan(runner.benchmark, runner.output, processes=runner.processes)
    plan.configs = []
    return plan


@pytest.fixture
def with_libraries(runner: Runner) -> None:
    """Where the scores are the point: loading the libraries of two of them takes most of a run of the demo."""
    runner.python = (sys.executable,)


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    """Whoever installs them need not put things back."""
    before = {number: signal.getsignal(number) for number in EXIT_STATUSES}
    yield StopSignals()
    for number, handler in before.items():
        signal.signal(number, handler)
