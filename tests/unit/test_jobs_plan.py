"""What is said before anything starts: how many tasks, where, about how long, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from hitui.domain.configs import Config, ConfigState
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running, Starting
from hitui.domain.launches import LaunchPlan
from hitui.domain.schedule import Group, Queue, Schedule
from hitui.domain.tasks import ErrorClass
from hitui.domain.waits import WaitKind
from hitui.paths import RuntimePaths
from hitui.services.jobs import JobsService
from hitui.settings import GpuSettings, RunnerSettings, Settings

GIB = 1024**3


@dataclass(frozen=True)
class Workspace:
    configs: tuple[ConfigState, ...]


def state(name: str, runner: str | None = "own", **values: object) -> ConfigState:
    config = Config(name, "realhitbench", (f"/w/{name}",), f"/w/{name}", "text", "html", runner)
    plain = ConfigState(config, True, total=100, done=90, errors=6, missing=4, seconds_per_task=12.0)
    return replace(plain, **values)  # type: ignore[arg-type]


def machine(*free: int) -> GpuSnapshot:
    gpus = tuple(
        Gpu(n, f"GPU-{n}", "test", memory_total=80 * GIB, memory_free=size * GIB, utilization=0)
        for n, size in enumerate(free)
    )
    return GpuSnapshot(1000.0, "test", gpus)


@pytest.fixture
def service(tmp_path: Path) -> JobsService:
    settings = Settings(
        root=tmp_path,
        file=tmp_path / "hitui.toml",
        gpus=GpuSettings(min_free="20GiB"),
        runners={
            "own": RunnerSettings(command=["true"]),
            "small": RunnerSettings(command=["true"], min_free="0B"),
        },
    )
    return JobsService(settings, RuntimePaths(tmp_path / "state", tmp_path / "run"))


def plan(service: JobsService, seen: GpuSnapshot, *states: ConfigState, **wishes: object) -> LaunchPlan:
    requests = [JobRequest(each.name, **wishes) for each in states]  # type: ignore[arg-type]
    return service.plan(requests, Workspace(states), seen)


def test_a_plan_names_tasks_gpu_time_and_folder(service: JobsService) -> None:
    launch = plan(service, machine(30, 60), state("a")).launches[0]
    assert (launch.task_count, launch.where, launch.seconds) == (10, "GPU 1 once free for 10 s", 120.0)
    assert (launch.writes, launch.refused) == ("/w/a", None)


def test_a_plan_counts_what_its_configs_count(service: JobsService) -> None:
    lines = state("b", unit="lines", total=1000, done=599, errors=0, missing=401)
    made = plan(service, machine(30), state("a"), lines, state("c"), state("d", missing=0, errors=1))
    assert (made.units, made.work) == (("tasks", "lines"), "21 tasks and 401 lines")
    assert plan(service, machine(30), state("a", total=None), lines).work == "0 or more tasks and 401 lines"
    assert plan(service, machine(30), state("d", missing=0, errors=1)).work == "1 task"


def test_of_two_launches_the_second_takes_the_next_gpu_and_the_third_waits(service: JobsService) -> None:
    made = plan(service, machine(60, 60), state("a"), state("b"), state("c"))
    assert [launch.where for launch in made.launches] == [
        "GPU 0 once free for 10 s",
        "GPU 1 once free for 10 s",
        "waits for 20 GiB free on one GPU: GPU 0, 1 are taken by the request before",
    ]
    assert made.work == "30 tasks"


def test_a_runner_that_needs_no_gpu_takes_none(service: JobsService) -> None:
    made = plan(service, machine(60), state("a", "small"), state("b"))
    assert [launch.where for launch in made.launches] == ["no GPU needed", "GPU 0 once free for 10 s"]


def test_one_error_class_and_given_ids_are_counted(service: JobsService) -> None:
    known = state("a", error_classes=((ErrorClass.TEXT_TOO_LARGE, 5), (ErrorClass.OTHER, 1)))
    assert plan(service, machine(60), known, error_class=ErrorClass.TEXT_TOO_LARGE).work == "5 tasks"
    assert plan(service, machine(60), known, ids=(1, 2, 3)).work == "3 tasks"


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({"errors": 0, "missing": 0}, "nothing is pending"),
        ({"errors": 0, "missing": 0, "blocked": 8}, "nothing is pending, 8 blocked"),
        ({"runner": None}, "no runner is named for it in hitui.toml"),
        ({"runner": "gone"}, "there is no [runner.gone] in hitui.toml"),
        ({"total": None, "updated": None, "problems": ("results.json: is empty",)}, "results.json: is empty"),
        ({"scanned": False}, "its results are still being read"),
    ],
)
def test_what_cannot_start_says_why(service: JobsService, values: dict[str, object], refused: str) -> None:
    runner = values.pop("runner", "own")
    made = plan(service, machine(60), state("a", runner, **values))  # type: ignore[arg-type]
    assert made.launches[0].refused == refused
    assert made.startable == ()


def test_only_our_programs_have_to_know_the_modality(service: JobsService) -> None:
    unknown = state("a")
    unknown = replace(unknown, config=replace(unknown.config, modality=None))
    assert plan(service, machine(60), unknown).launches[0].refused is None


def test_without_a_file_of_settings_what_writes_one_is_named(tmp_path: Path) -> None:
    bare = JobsService(Settings(root=tmp_path), RuntimePaths(tmp_path / "state", tmp_path / "run"))
    refused = plan(bare, machine(60), state("a", None)).launches[0].refused
    assert refused == "no runner is named for it, and there is no hitui.toml yet; `hitui init` writes one"


def test_what_the_start_would_refuse_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_THAT_IS_THERE", "secret")
    monkeypatch.delenv("KEY_THAT_IS_NOT", raising=False)
    runners = {
        "own": RunnerSettings(engine="demo"),
        "gone": RunnerSettings(engine="transformers", model="gone"),
        "adapted": RunnerSettings(engine="transformers", model=".", adapter="saves/gone"),
        "python": RunnerSettings(engine="demo", python="gone/python"),
        "there": RunnerSettings(engine="openai", base_url="http://[::1]/v1", api_key_env="KEY_THAT_IS_THERE"),
        "key": RunnerSettings(engine="openai", base_url="http://[::1]/v1", api_key_env="KEY_THAT_IS_NOT"),
    }
    service = JobsService(Settings(root=tmp_path, runners=runners), RuntimePaths(tmp_path, tmp_path))

    def refused(runner: str, **values: object) -> str | None:
        return plan(service, machine(60), state("a", runner, **values)).launches[0].refused

    assert refused("own") is None
    assert (
        refused("own", total=None, errors=0, missing=0) == "there is no question list to say what is pending"
    )
    assert (
        refused("gone")
        == f"hitui.toml: [runner.gone] model: {tmp_path}/gone does not exist; correct the path"
    )
    assert refused("adapted") == (
        f"hitui.toml: [runner.adapted] adapter: {tmp_path}/saves/gone does not exist; correct the path"
    )
    assert refused("python") == (
        "hitui.toml: [runner.python] python: gone/python is not there or no program; correct the path"
    )
    assert refused("there") is None
    assert "[runner.key] api_key_env: the variable KEY_THAT_IS_NOT is not set" in (refused("key") or "")


def test_absent_gpus_and_running_jobs_are_refused(service: JobsService) -> None:
    assert plan(service, machine(60), state("a"), gpus=("4",)).launches[0].refused == "no GPU 4; there are 0"
    running = Job(14, JobRequest("a"), 0.0, Running(("GPU-0",), 1, 0.0))
    service._latest = JobsSnapshot((running,), 1)
    made = plan(service, machine(60), state("a"), state("b"))
    assert made.launches[0].refused == "job 14 is already on it (running)"
    assert made.launches[1].where == "waits for 20 GiB free on one GPU: GPU 0 is held by job 14"
    unknown = service.plan([JobRequest("z")], Workspace(()), machine())
    assert unknown.launches[0].refused == "no such config"


def test_a_plan_gives_as_many_gpus_as_the_runner_says_and_keeps_them(tmp_path: Path) -> None:
    runners = {"two": RunnerSettings(command=["true"], gpus=2), "own": RunnerSettings(command=["true"])}
    service = JobsService(Settings(root=tmp_path, runners=runners), RuntimePaths(tmp_path, tmp_path))
    made = plan(service, machine(30, 60, 50), state("a", "two"), state("b", "two"), state("c"))
    assert [launch.where for launch in made.launches] == [
        "GPU 1, 2 once free for 10 s",
        "waits for 20 GiB free on 2 GPUs: GPU 0 is free; GPU 1, 2 are taken by the request before",
        "waits for 20 GiB free on one GPU: GPU 0, 1, 2 are taken by the request before",
    ]
    refused = plan(service, machine(30), state("a", "two")).launches[0].refused
    assert refused == "2 GPUs with 20 GiB in all are needed (gpus or recovery_gpus, min_free); there is 1"


def test_a_plan_shares_a_gpu_where_the_settings_say_so(tmp_path: Path) -> None:
    runners = {"own": RunnerSettings(command=["true"], share=True)}
    service = JobsService(Settings(root=tmp_path, runners=runners), RuntimePaths(tmp_path, tmp_path))
    made = plan(service, machine(50), state("a"), state("b"), state("c"))
    assert [launch.where for launch in made.launches[:2]] == [
        "GPU 0 once free for 10 s",
        "GPU 0 once free for 10 s",
    ]
    assert made.launches[2].where.startswith("waits for 20 GiB free on one GPU: GPU 0 has 10 GiB beside")
    # What a job of ours has taken of it already is not asked for again; what is another's is.
    runs = Job(1, JobRequest("a"), 0.0, Running(("GPU-0",), 7, 0.0))
    starts = Job(2, JobRequest("b"), 0.0, Starting(("GPU-0",), 0.0))
    service._latest = JobsSnapshot((runs, starts), 1)
    for pid, where in ((7, "GPU 0 once free for 10 s"), (8, "waits")):
        used = replace(machine(40).gpus[0], processes=(GpuProcess(pid, 20 * GIB, "compute", "ada"),))
        seen = GpuSnapshot(1000.0, "test", (used,))
        launch = plan(service, seen, state("a"), state("b"), state("c")).launches[2]
        assert launch.where.startswith(where)


def test_what_is_kept_for_a_queued_job_is_not_offered_and_what_only_waits_for_others_keeps_nothing(
    service: JobsService,
) -> None:
    running = Job(1, JobRequest("a"), 0.0, Running(("GPU-0",), 1, 0.0))
    queued = Job(2, JobRequest("b", gpus=("0", "1")), 0.0, Queued())
    service._latest = JobsSnapshot((running, queued), 1)
    states = (state("a"), state("b"), state("c"))
    kept = service.plan([JobRequest("c")], Workspace(states), machine(60, 60)).launches[0]
    assert kept.where == "waits for 20 GiB free on one GPU: GPU 0 is held by job 1; GPU 1 is kept for job 2"
    held, night = replace(queued, schedule=Schedule(held="by hand")), Schedule(group="night")
    service._latest = JobsSnapshot((running, held), 1)
    free = service.plan([JobRequest("c")], Workspace(states), machine(60, 60)).launches[0]
    assert free.where == "GPU 1 once free for 10 s"
    queue = Queue("", (Group("night", None, "it is day"),))
    service._latest = JobsSnapshot((running, replace(queued, schedule=night)), 1, queue)
    assert service.plan([JobRequest("c")], Workspace(states), machine(60, 60)).launches[0] == free
    # What comes behind it may start, for the job that it was to follow is through.
    ended = Job(1, JobRequest("a"), 0.0, Ended(Ending.SUCCEEDED, 1.0, gpus=("GPU-1",)))
    behind = Job(3, JobRequest("b"), 0.0, Queued(), schedule=Schedule(after_success=(1,)))
    service._latest = JobsSnapshot((ended, held, behind), 1)
    kept = service.plan([JobRequest("c")], Workspace(states), machine(60, 5)).launches[0]
    assert kept.where == "waits for 20 GiB free on one GPU: GPU 0 is kept for job 3; GPU 1 has 5 GiB"
    service._latest = JobsSnapshot((ended, behind, replace(behind, id=4)), 1)
    kept = service.plan([JobRequest("c")], Workspace(states), machine(60, 60)).launches[0]
    assert kept.where.endswith("one GPU: GPU 0 is kept for job 3; GPU 1 is kept for job 4")


def test_a_queued_job_whose_model_is_away_keeps_no_gpu_from_others(service: JobsService) -> None:
    away = Queued("its model folder: /gone does not exist", WaitKind.AWAY)
    service._latest = JobsSnapshot((Job(2, JobRequest("b"), 0.0, away),), 1)
    made = service.plan([JobRequest("c")], Workspace((state("b"), state("c"))), machine(60, 60))
    assert made.launches[0].where == "GPU 0 once free for 10 s"


def test_what_may_be_split_takes_its_share_of_the_free_gpus(tmp_path: Path) -> None:
    runners = {"own": RunnerSettings(command=["true", "{ids}", "{output}"], shards=3)}
    settings = Settings(root=tmp_path, gpus=GpuSettings(min_free="20GiB"), runners=runners)
    split = JobsService(settings, RuntimePaths(tmp_path / "state", tmp_path / "run"))
    four = machine(60, 60, 60, 60)
    launch = plan(split, four, state("a", missing=594)).launches[0]
    assert (launch.where, launch.seconds) == ("3 shards on GPU 0, 1, 2 once free for 10 s", 2400.0)
    unknown = plan(split, four, state("a", missing=594, seconds_per_task=None)).launches[0]
    assert (unknown.shards, unknown.seconds) == (3, None)
    # What counts lines has no tasks to split.
    assert plan(split, four, state("a", unit="lines", missing=594)).launches[0].shards == 1
    # So little is not worth a load of the model.
    assert plan(split, four, state("a")).launches[0].where == "GPU 0 once free for 10 s"
    both = plan(split, four, state("a", missing=594), state("b", missing=594))
    assert [launch.where for launch in both.launches] == [
        "2 shards on GPU 0, 1 once free for 10 s",
        "2 shards on GPU 2, 3 once free for 10 s",
    ]
    named = plan(split, four, state("a"), gpus=("1", "3"), shards=2).launches[0]
    assert named.where == "2 shards on GPU 1, 3 once free for 10 s"
    without = plan(split, machine(60), state("a", missing=594)).launches[0]
    assert without.where == "GPU 0 once free for 10 s"
    waits = plan(split, machine(60, 60, 60, 5), state("a"), gpus=("1", "3"), shards=2).launches[0]
    assert waits.where.startswith("waits for")
    split._latest = JobsSnapshot((), 1, Queue("", (Group("default", 9),)))
    assert plan(split, four, state("a", missing=594)).launches[0].shards == 3
    split._latest = JobsSnapshot((), 1, Queue("", (Group("default", 2),)))
    limited = plan(split, four, state("a", missing=594)).launches[0]
    assert limited.where == "2 shards on GPU 0, 1 once free for 10 s"


def test_a_plan_counts_the_jobs_and_into_how_many_they_may_be_split(tmp_path: Path) -> None:
    runners = {"own": RunnerSettings(command=["true", "{ids}", "{output}"], shards=3)}
    settings = Settings(root=tmp_path, gpus=GpuSettings(min_free="20GiB"), runners=runners)
    service = JobsService(settings, RuntimePaths(tmp_path / "state", tmp_path / "run"))
    long, other = state("a", missing=594), state("b", missing=594)
    four = machine(60, 60, 60, 60)
    assert plan(service, four, state("a")).words == "1 job"
    assert plan(service, four, long).words == "1 job, up to 3 shards"
    assert plan(service, four, long, other, state("c"), state("d", missing=0, errors=0)).words == (
        "3 jobs, up to 5 shards"
    )
    # What waits is split by what is free then.
    assert plan(service, machine(60, 5, 5, 5), long, other).words == "2 jobs, up to 4 shards"
    assert plan(service, machine(5), long).words == "1 job"
    service._latest = JobsSnapshot((), 1, Queue("by hand", (Group("default", 2),)))
    assert plan(service, four, long).words == "1 job, up to 2 shards"
    assert plan(service, four, replace(long, unit="lines")).words == "1 job"
    others = tuple(Job(number, JobRequest(f"{number}"), 0.0, Running((), 1, 0.0)) for number in (8, 9))
    service._latest = JobsSnapshot(others, 1, Queue("", (Group("default", 2),)))
    assert plan(service, four, long).words == "1 job, up to 2 shards"


def test_what_a_long_request_behind_cannot_take_is_left_to_the_one_ahead(tmp_path: Path) -> None:
    command = ["true", "{ids}", "{output}"]
    runners = {
        "own": RunnerSettings(command=command, shards=3),
        "whole": RunnerSettings(command=command),
        "wide": RunnerSettings(command=command, gpus=2),
    }
    settings = Settings(root=tmp_path, gpus=GpuSettings(min_free="20GiB"), runners=runners)
    service = JobsService(settings, RuntimePaths(tmp_path / "state", tmp_path / "run"))
    short, four = state("a", missing=294), machine(60, 60, 60, 60)

    def shards(seen: GpuSnapshot, long: ConfigState, **wishes: object) -> str:
        requests = [JobRequest("a"), JobRequest("b", **wishes)]  # type: ignore[arg-type]
        made = service.plan(requests, Workspace((short, long)), seen)
        return made.launches[0].where.removesuffix(" once free for 10 s")

    assert shards(four, state("b", "whole", missing=9000)) == "3 shards on GPU 0, 1, 2"
    assert shards(four, state("b", "wide", missing=9000)) == "2 shards on GPU 0, 1"
    assert shards(four, state("b", missing=9000), gpus=("3",)) == "3 shards on GPU 0, 1, 2"
    assert shards(four, state("b", missing=9000, scanned=False)) == "3 shards on GPU 0, 1, 2"
    assert shards(four, state("b", missing=9000, seconds_per_task=0.01)) == "3 shards on GPU 0, 1, 2"
    # It could not start now, so nothing is left to it.
    assert shards(four, state("b", missing=9000), gpus=("0", "1", "2", "3")) == "GPU 0"
    assert shards(machine(60, 60, 60, 5), state("b", missing=9000), gpus=("3",)) == "3 shards on GPU 0, 1, 2"
    split = state("b", missing=9000)
    assert shards(four, split) == "GPU 0"
    requests = [JobRequest("a"), JobRequest("of no config"), JobRequest("b")]
    assert service.plan(requests, Workspace((short, split)), four).launches[0].shards == 1
    service._latest = JobsSnapshot((), 1, Queue("", (Group("default", 2),)))
    assert shards(four, split) == "2 shards on GPU 0, 1"


def test_named_gpus_are_enough_for_as_many_shards_as_take_their_number_each(tmp_path: Path) -> None:
    runners = {"own": RunnerSettings(command=["true", "{ids}", "{output}"], gpus=2, shards=3)}
    settings = Settings(root=tmp_path, gpus=GpuSettings(min_free="20GiB"), runners=runners)
    service = JobsService(settings, RuntimePaths(tmp_path / "state", tmp_path / "run"))
    four, long = machine(60, 60, 60, 60), state("a", missing=594)
    three = plan(service, four, long, gpus=("0", "1", "3")).launches[0]
    assert three.where == "GPU 0, 1, 3 once free for 10 s"
    every = plan(service, four, long, gpus=("0", "1", "2", "3")).launches[0]
    assert every.where == "2 shards on GPU 0, 1, 2, 3 once free for 10 s"
    service._latest = JobsSnapshot((), 1, Queue("by hand"))
    assert plan(service, four, long, gpus=("0", "1", "3")).words == "1 job"
    assert plan(service, four, long, gpus=("0", "1", "2", "3")).words == "1 job, up to 2 shards"
    assert plan(service, four, long).words == "1 job, up to 2 shards"
    excluding = replace(settings, gpus=GpuSettings(min_free="20GiB", exclude=[3]))
    service = JobsService(excluding, RuntimePaths(tmp_path / "state", tmp_path / "run"))
    service._latest = JobsSnapshot((), 1, Queue("by hand"))
    assert plan(service, four, long).words == "1 job"


def test_more_gpus_are_planned_where_all_that_is_pending_failed_on_fewer(tmp_path: Path) -> None:
    runners = {"own": RunnerSettings(command=["true"], recovery_gpus=2)}
    settings = Settings(root=tmp_path, gpus=GpuSettings(hold="0s"), runners=runners)
    service = JobsService(settings, RuntimePaths(tmp_path / "state", tmp_path / "run"))

    def where(*exhausted: tuple[int, int], **wishes: object) -> str:
        failed = state("a", done=94, missing=0, exhausted=exhausted)
        return plan(service, machine(60, 60), failed, **wishes).launches[0].where

    assert where((1, 6)) == "GPU 0, 1 now"
    assert where((1, 5)) == where((2, 6)) == "GPU 0 now"
    # What was picked out of them is tried as it was.
    assert where((1, 6), ids=(1, 2)) == where((1, 6), error_class=ErrorClass.OTHER) == "GPU 0 now"


def test_a_plan_says_what_new_jobs_wait_for_besides_gpus(service: JobsService) -> None:
    free = machine(60, 60, 60)
    asked = (state("a"), state("b"), state("c"))
    running = Job(7, JobRequest("z"), 0.0, Running((), 1, 0.0))
    ended = Job(6, JobRequest("y"), 0.0, Ended(Ending.SUCCEEDED, 1.0))
    for queue, wheres in (
        (Queue("until Monday"), ["waits for the queue to be resumed: until Monday"] * 3),
        (
            Queue("", (Group("default", None, "by hand"),)),
            ["waits for group default to be resumed: by hand"] * 3,
        ),
        (
            Queue("", (Group("default", 2),)),
            ["GPU 0 once free for 10 s", *["waits for a place in group default: 2 of 2 run"] * 2],
        ),
    ):
        service._latest = JobsSnapshot((ended, running), 1, queue)
        assert [launch.where for launch in plan(service, free, *asked).launches] == wheres
    # Of those of one plan what waits for a GPU takes no place.
    service._latest = JobsSnapshot((), 1, Queue("", (Group("default", 2),)))
    requests = [JobRequest("a", gpus=("0",)), JobRequest("b"), JobRequest("c")]
    made = service.plan(requests, Workspace(asked), machine(5, 60, 60))
    assert [launch.where for launch in made.launches] == [
        "waits for 20 GiB free on GPU 0: GPU 0 has 5 GiB",
        "GPU 1 once free for 10 s",
        "GPU 2 once free for 10 s",
    ]


def test_a_gpu_is_free_now_where_no_time_is_asked_for(tmp_path: Path) -> None:
    settings = Settings(
        root=tmp_path, gpus=GpuSettings(hold="0s"), runners={"own": RunnerSettings(command=["true"])}
    )
    at_once = JobsService(settings, RuntimePaths(tmp_path / "state", tmp_path / "run"))
    assert plan(at_once, machine(60), state("a")).launches[0].where == "GPU 0 now"
