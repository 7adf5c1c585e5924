"""Made-up values for the screen, and services that hand them over without threads or files."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hitui.domain.configs import Config, ConfigState
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running, Stopping
from hitui.domain.launches import LaunchPlan, PlannedLaunch
from hitui.domain.progress import JobProgress
from hitui.domain.records import JobRecord
from hitui.domain.schedule import Group, Queue, Schedule
from hitui.domain.tasks import ErrorClass, Task, TaskStatus
from hitui.domain.waits import NOT_KNOWN, Wait, WaitKind
from hitui.services.results import Result
from hitui.services.scores import Scores
from hitui.settings import GpuSettings, Settings

GIB = 1024**3
NOON = 1_700_000_000.0


def gpu(index: int, used: float, utilization: int = 0, **others: object) -> Gpu:
    values: dict[str, object] = {
        "name": "NVIDIA A800-SXM4-80GB",
        "memory_total": 80 * GIB,
        "memory_used": int(used * GIB),
        "memory_free": int((80 - used) * GIB),
        "utilization": utilization,
        "temperature": 30 + utilization // 3,
        "power": 60.0 + utilization * 2.5,
        "power_limit": 400.0,
    }
    return Gpu(index=index, uuid=f"GPU-{index:08d}", **{**values, **others})  # type: ignore[arg-type]


def process(pid: int, used: float, user: str | None) -> GpuProcess:
    return GpuProcess(pid, int(used * GIB), "compute", user, "python train.py")


def server() -> GpuSnapshot:
    """Eight GPUs as on a shared server: others' work, ours, a lost one, excluded ones."""
    return GpuSnapshot(
        taken_at=NOON,
        source="nvml",
        driver="550.54",
        gpus=(
            gpu(0, 67.9, 97, processes=(process(11, 60.0, "user1"), process(12, 7.4, "user2"))),
            gpu(1, 7.5, 3, processes=(process(13, 7.0, "user2"),)),
            gpu(2, 40.8, 88, processes=(process(4711, 40.2, "me"),)),
            Gpu(
                3, "GPU-00000003", "NVIDIA A800-SXM4-80GB", error="lost: the driver no longer answers for it"
            ),
            gpu(4, 71.0, 0, processes=(process(14, 70.4, "user3"),)),
            gpu(5, 80.0, 100, processes=(process(15, 79.6, "user4"),)),
            gpu(6, 80.0, 100, processes=(process(16, 79.6, "user4"),)),
            gpu(7, 80.0, 100, processes=(process(17, 79.6, "user4"),)),
        ),
    )


def config(name: str, done: int = 0, **others: object) -> ConfigState:
    values: dict[str, object] = {"scanned": True, "total": 3071, "updated": NOON - 3600, "done": done}
    folder = f"/made-up/result/{name}"
    modality, _, table_format = name.rsplit("/", 1)[-1].partition("_")
    return ConfigState(
        Config(name, "realhitbench", (folder,), folder, modality, table_format or None, "demo"),
        **{**values, **others},  # type: ignore[arg-type]
    )


def configs() -> tuple[ConfigState, ...]:
    return (
        config(
            "qwen3vl_text/text_html",
            3049,
            errors=14,
            blocked=8,
            error_classes=((ErrorClass.TEXT_TOO_LARGE, 11), (ErrorClass.NO_FINAL_ANSWER, 3)),
            source="result/qwen3vl_text/text_html/results.json",
            seconds_per_task=12.4,
        ),
        config("qwen3vl_default_pic/mix_csv", 3066, errors=2, blocked=3, seconds_per_task=10.0),
        config("qwen3vl_resize_pic/mix_html", 3038, missing=25, blocked=8, seconds_per_task=10.0),
        config("qwen3vl_text/text_latex", 3067, missing=1, blocked=3),
        config("qwen3vl_text/text_json", 3063, blocked=8),
        config("qwen3vl_text/text_csv", 3050, errors=13, blocked=8),
        config("qwen3vl_text/text_markdown", 1200, missing=1871),
        config("qwen3vl_image/image", 0, missing=3000, blocked=71, updated=None),
        config(
            "qwen3vl_resize_pic/mix_json",
            total=None,
            updated=None,
            problems=(
                "result/mix_json/results.json: is not JSON (byte 0); it ended early: rerun or remove it",
            ),
        ),
        config("qwen3vl_text/text_new", scanned=False),
    )


def jobs(log: str = "") -> JobsSnapshot:
    return JobsSnapshot(
        (
            Job(
                13,
                JobRequest("qwen3vl_text/text_csv"),
                NOON - 900,
                Ended(Ending.FAILED, NOON - 600, "exit status 1: CUDA out of memory", NOON - 800, 1),
            ),
            Job(
                14,
                JobRequest("qwen3vl_text/text_html"),
                NOON - 60,
                Running(("GPU-00000002",), 4711, NOON - 50),
                log=log,
                task_count=14,
            ),
            Job(
                15,
                JobRequest("qwen3vl_default_pic/mix_csv"),
                NOON - 30,
                Queued("20 GiB free on one GPU: GPU 0 has 12.1 GiB; GPU 3 does not answer", WaitKind.GPUS),
            ),
        ),
        supervisor_pid=99,
    )


def queue() -> JobsSnapshot:
    """A lively queue: what runs, what waits for all kinds of things, two pauses, what ended."""
    gpus = Wait(WaitKind.GPUS, "20 GiB free on one GPU: GPU 0 has 12.1 GiB; GPU 3 does not answer")
    other = Wait(WaitKind.OTHERS, "job 14: it is on the same config")
    night = Wait(
        WaitKind.GROUP_PAUSED,
        "group night to be resumed: #9 and #10 failed at their start: no module named torch",
    )
    after = Wait(WaitKind.OTHERS, "job 19: to succeed")
    plan: tuple[tuple[str, Wait, Schedule, int], ...] = (
        ("qwen3vl_default_pic/mix_csv", gpus, Schedule(priority=5), 1),
        ("qwen3vl_text/text_latex", NOT_KNOWN, Schedule(not_before=time.time() + 3 * 3600 + 20), 2),
        ("qwen3vl_text/text_json", NOT_KNOWN, Schedule(held="paused by hand"), 1),
        ("qwen3vl_text/text_html", other, Schedule(), 1),
        ("qwen3vl_image/image", night, Schedule(group="night"), 1),
        ("qwen3vl_text/text_markdown", after, Schedule(priority=-1, after_success=(19,)), 1),
    )
    waiting = tuple(
        Job(
            number,
            JobRequest(config),
            NOON - 30,
            Queued(wait.words, wait.kind),
            schedule=schedule,
            place=float(number),
            attempt=attempt,
            replaces=13 if attempt > 1 else None,
        )
        for number, (config, wait, schedule, attempt) in enumerate(plan, start=15)
    )
    died = "exit status 1: ModuleNotFoundError: no module named torch"
    ended = (
        ("qwen3vl_text/text_csv", Ended(Ending.SUCCEEDED, NOON - 3600, "", NOON - 7000, 0)),
        ("qwen3vl_resize_pic/mix_html", Ended(Ending.FAILED, NOON - 900, died, NOON - 905, 1)),
        ("qwen3vl_resize_pic/mix_json", Ended(Ending.FAILED, NOON - 880, died, NOON - 885, 1)),
        ("qwen3vl_resize_pic/mix_csv", Ended(Ending.STOPPED, NOON - 700, "on request", NOON - 800)),
        ("qwen3vl_text/text_new", Ended(Ending.LOST, NOON - 650, "launcher and runner were killed; what was answered is kept", NOON - 660)),
        ("qwen3vl_text/text_latex", Ended(Ending.FAILED, NOON - 10, "exit status 1: connection reset; tried again after 60 s, attempt 2 of 3", NOON - 300, 1)),
    )  # fmt: skip
    over = tuple(
        Job(number, JobRequest(config), NOON - 8000, state, log=f"/made-up/{number}/log")
        for number, (config, state) in enumerate(ended, start=8)
    )
    groups = (
        Group("night", 2, "#9 and #10 failed at their start: ModuleNotFoundError: no module named torch"),
    )
    return JobsSnapshot((*over, jobs().jobs[1], *waiting), 99, Queue("", groups))


PROGRESS = {14: JobProgress("running", 3, 14, 1, 0.065, 170.0, "events")}


@dataclass(frozen=True)
class WorkspaceValue:
    configs: tuple[ConfigState, ...] = ()
    scanning: bool = False
    problems: tuple[str, ...] = ()
    settings: Settings | None = None


@dataclass
class Source:
    """A live service without a thread: `publish` is called by the test."""

    first: object = None
    publish: Callable[[object], None] = lambda value: None
    started: bool = False
    closed: bool = False

    def start(self, publish: Callable[[object], None]) -> None:
        self.publish = publish
        if self.first is not None:
            publish(self.first)
        self.started = True

    def close(self) -> None:
        self.closed = True


QUESTION = "Which harbour took in the most ships of 港湾局, and how many were " + "very " * 40 + "large?"


@dataclass
class Workspace(Source):
    rescans: int = 0
    scored: Scores | None = None

    def scores(self, name: str) -> Scores | None:
        return self.scored

    def tasks(self, name: str) -> tuple[Task, ...]:
        return (
            Task(7, TaskStatus.DONE),
            Task(
                20, TaskStatus.ERROR, ErrorClass.TEXT_TOO_LARGE, "[ERROR] OOM: Text too large (334162 tokens)"
            ),
            Task(21, TaskStatus.MISSING, None, "no result, inputs present"),
            Task(22, TaskStatus.BLOCKED, None, "missing file: image/[bold]x.png"),
        )

    def results(self, name: str) -> dict[str, Result]:
        contents: dict[int, dict[str, Any]] = {
            7: {
                "id": 7,
                "FileName": "harbours",
                "Question": QUESTION,
                "Reference": "Dunsby, 7",
                "Prediction": "def answer():\n    return 'Dunsby'\n\x1b[31mred\n[Final Answer]: [bold]Dunsby",
                "Metrics": {"EM": 0.0, "F1": 66.67},
            },
            20: {"id": 20, "Prediction": "[ERROR] OOM: Text too large (334162 tokens)"},
        }
        return {str(task.id): Result(task.id, task, contents.get(task.id)) for task in self.tasks(name)}

    def rescan(self) -> None:
        self.rescans += 1


@dataclass
class Jobs(Source):
    """Remembers what was asked for; `plan` refuses what has nothing pending."""

    submitted: list[JobRequest] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    changes: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    """What was asked of the queue."""
    answer: Callable[[str, dict[str, object]], tuple[Job, ...]] = lambda verb, what: ()
    error: Exception | None = None
    refusals: tuple[str, ...] = ()
    recorded: dict[int, JobRecord] = field(default_factory=dict)

    def records(self, job_ids: Collection[int]) -> Mapping[int, JobRecord]:
        return {number: record for number, record in self.recorded.items() if number in job_ids}

    def plan(
        self, requests: Sequence[JobRequest], workspace: WorkspaceValue, gpus: GpuSnapshot
    ) -> LaunchPlan:
        launches = []
        for request in requests:
            state = next(state for state in workspace.configs if state.name == request.config)
            refused = (
                None if state.pending else "nothing is pending; every task that can be run has an answer"
            )
            seconds = state.seconds_per_task
            launches.append(
                PlannedLaunch(
                    request,
                    state.pending,
                    f"GPU {','.join(request.gpus or '1')} now",
                    None if seconds is None else seconds * state.pending,
                    f"{state.config.output} (results.jsonl, checkpoint.json)",
                    refused,
                )
            )
        return LaunchPlan(tuple(launches))

    def submit_each(
        self, requests: Sequence[JobRequest], schedule: Schedule
    ) -> tuple[tuple[Job, ...], tuple[str, ...]]:
        if self.error is not None:
            raise self.error
        self.submitted += requests
        self.schedules.append(schedule)
        jobs = tuple(Job(20 + number, request, NOON, Queued()) for number, request in enumerate(requests))
        return jobs, self.refusals

    def stop(self, job_ids: Sequence[int]) -> tuple[Job, ...]:
        self.stopped += job_ids
        return tuple(
            Job(number, JobRequest("qwen3vl_text/text_html"), NOON, Stopping((), 4711, NOON, NOON))
            for number in job_ids
        )

    def change_queue(self, verb: str, **what: object) -> tuple[Job, ...]:
        if self.error is not None:
            raise self.error
        self.changes.append((verb, what))
        return self.answer(verb, what)


@dataclass
class Progress(Source):
    followed: JobsSnapshot | None = None

    def follow(self, jobs: JobsSnapshot) -> None:
        self.followed = jobs


@dataclass
class Services:
    settings: Settings
    workspace: Workspace
    gpus: Source
    jobs: Jobs
    progress: Progress

    def use(self, settings: Settings) -> None:
        self.settings = settings


def services(
    root: Path = Path("/made-up/RealHiTBench"),
    gpus: GpuSnapshot | None = None,
    states: tuple[ConfigState, ...] | None = None,
    known_jobs: JobsSnapshot | None = None,
    progress: Mapping[int, JobProgress] | None = None,
    problems: tuple[str, ...] = (),
) -> Services:
    """Services that hand over these values when they start; by default a full, lively workspace."""
    value = WorkspaceValue(configs() if states is None else states, problems=problems)
    return Services(
        Settings(root=root, gpus=GpuSettings(exclude=[5, 6, 7])),
        Workspace(value),
        Source(server() if gpus is None else gpus),
        Jobs(jobs() if known_jobs is None else known_jobs),
        Progress(PROGRESS if progress is None else progress),
    )
