"""The text format of Prometheus, checked by the parser of the official client."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from hitui import __version__
from hitui.domain.configs import Config, ConfigState
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Queued, Running, Shard
from hitui.domain.progress import JobProgress
from hitui.domain.schedule import Group, Queue, Schedule
from hitui.services.metrics import Standing, metrics_text


def state(name: str, **values: object) -> ConfigState:
    config = Config(name, "realhitbench", ("/r",), "/r")
    return ConfigState(config, scanned=True, **values)  # type: ignore[arg-type]


def parsed(standing: Standing) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Labels and value of every sample, by the name of its family; each family has a text and a type."""
    found = {}
    for family in text_string_to_metric_families(metrics_text(standing)):
        assert family.type == "gauge"
        assert family.documentation
        assert family.name not in found, "all values of a name stand together"
        found[family.name] = [(sample.labels, sample.value) for sample in family.samples]
    return found


def standing(**values: object) -> Standing:
    plain: dict[str, object] = {"gpus": GpuSnapshot(1.0, "nvml"), "configs": (), "jobs": JobsSnapshot()}
    return Standing(**{**plain, **values})  # type: ignore[arg-type]


def test_a_gpu_has_a_line_for_all_that_the_driver_gives_and_none_else() -> None:
    processes = (
        GpuProcess(1, 10, "compute", "ada"),
        GpuProcess(2, 20, "compute", "ada"),
        GpuProcess(3, 5, "compute", None),
        GpuProcess(4, None, "compute", "bob"),
    )
    gpus = (
        Gpu(
            0,
            "GPU-a",
            "H200",
            100,
            35,
            65,
            utilization=90,
            power=350.5,
            power_limit=700.0,
            processes=processes,
        ),
        Gpu(1, "GPU-b", "H200", error="lost: it fell off the bus"),
        Gpu(2, "GPU-c", "L4", temperature=41),
    )
    found = parsed(standing(gpus=GpuSnapshot(1.0, "nvml", gpus)))
    first = {"gpu": "0", "uuid": "GPU-a", "name": "H200"}
    assert found["hitui_gpu_memory_used_bytes"] == [(first, 35.0)]
    assert found["hitui_gpu_memory_size_bytes"] == [(first, 100.0)]
    assert found["hitui_gpu_memory_free_bytes"] == [(first, 65.0)]
    assert found["hitui_gpu_power_limit_watts"] == [(first, 700.0)]
    assert found["hitui_gpu_utilization_ratio"] == [(first, 0.9)]
    assert found["hitui_gpu_power_watts"] == [(first, 350.5)]
    assert found["hitui_gpu_temperature_celsius"] == [({"gpu": "2", "uuid": "GPU-c", "name": "L4"}, 41)]
    assert [value for _, value in found["hitui_gpu_up"]] == [1, 0, 1]
    assert found["hitui_gpu_user_memory_bytes"] == [
        ({**first, "user": "ada"}, 30),
        ({**first, "user": "?"}, 5),
    ]


def test_a_driver_that_does_not_answer_is_told_and_its_last_values_are_not() -> None:
    snapshot = GpuSnapshot(
        1.0, "nvml", (Gpu(0, "GPU-a", "H200", 100, 35),), error="it has not answered for 9 s"
    )
    found = parsed(standing(gpus=snapshot))
    assert found["hitui_gpu_driver_up"] == [({"source": "nvml"}, 0)]
    assert not [name for name in found if name.startswith("hitui_gpu_memory")]


def test_configs_and_the_rate_of_the_job_on_them() -> None:
    jobs = (
        Job(3, JobRequest("a"), 0.0, Ended(Ending.FAILED, 50.0)),
        Job(1, JobRequest("a"), 0.0, Running(("GPU-a",), 7, 1.0)),
        Job(2, JobRequest("b", also=(JobRequest("c"),)), 0.0, Running(("GPU-b",), 8, 1.0)),
    )
    configs = (
        ConfigState(Config("unread", "realhitbench", ("/r",), "/r")),
        state("a", total=10, done=4, errors=1, missing=3, blocked=2, updated=5.5),
        state("b", problems=("it is half written",)),
        state("c"),
    )
    parts = {"b": JobProgress("end", 4, 4, rate=0.1), "c": JobProgress("running", rate=0.4, eta_seconds=30.0)}
    progress = {1: JobProgress(rate=0.25, eta_seconds=16.0), 2: JobProgress(rate=0.5, configs=parts)}
    found = parsed(standing(configs=configs, jobs=JobsSnapshot(jobs), progress=progress))
    outcomes = {
        labels["outcome"]: value for labels, value in found["hitui_config_tasks"] if labels["config"] == "a"
    }
    assert outcomes == {"done": 4, "errors": 1, "missing": 3, "blocked": 2}
    assert found["hitui_config_tasks_wanted"] == [({"config": "a"}, 10)]
    assert found["hitui_config_tasks_pending"] == [
        ({"config": "a"}, 4),
        ({"config": "b"}, 0),
        ({"config": "c"}, 0),
    ]
    assert [value for _, value in found["hitui_config_readable"]] == [1, 0, 1]
    assert found["hitui_config_updated_seconds"] == [({"config": "a"}, 5.5)]
    assert found["hitui_config_tasks_per_second"] == [({"config": "a"}, 0.25), ({"config": "c"}, 0.4)]
    assert found["hitui_config_eta_seconds"] == [({"config": "a"}, 16), ({"config": "c"}, 30)]


def test_the_rate_of_a_config_is_that_of_all_its_shards() -> None:
    jobs = tuple(
        Job(
            number,
            JobRequest("a", shard=Shard(1, number - 1, 2, (number,))),
            0.0,
            Running((f"GPU-{number}",), 7, 1.0),
        )
        for number in (1, 2)
    )
    through = replace(jobs[0], id=3, state=Ended(Ending.SUCCEEDED, 50.0))
    progress = {1: JobProgress(rate=0.25, eta_seconds=16.0), 2: JobProgress(rate=0.5, eta_seconds=8.0)}
    found = parsed(standing(configs=(state("a"),), jobs=JobsSnapshot((*jobs, through)), progress=progress))
    assert found["hitui_config_tasks_per_second"] == [({"config": "a"}, 0.75)]
    assert found["hitui_config_eta_seconds"] == [({"config": "a"}, 16)]


def test_jobs_by_state_ending_and_group() -> None:
    jobs = (
        Job(1, JobRequest("a"), 0.0, Ended(Ending.NOT_STARTED, 50.0)),
        Job(2, JobRequest("a"), 0.0, Ended(Ending.LOST, 70.0)),
        Job(
            3, JobRequest("b"), 0.0, Running((), 7, 1.0, stalled_since=3.0), schedule=Schedule(group="night")
        ),
        Job(4, JobRequest("c"), 10.0, Queued()),
    )
    queue = Queue("", (Group("night", 2, "it is day"),))
    found = parsed(standing(jobs=JobsSnapshot(jobs, 99, queue)))
    assert dict(_by(found["hitui_jobs"], "state")) == {
        "queued": 1,
        "starting": 0,
        "running": 1,
        "stopping": 0,
    }
    endings = dict(_by(found["hitui_jobs_ended"], "ending"))
    assert {word for word, count in endings.items() if count} == {"not_started", "lost"}
    assert found["hitui_job_last_ended_seconds"] == [({}, 70)]
    assert found["hitui_jobs_stalled"] == [({}, 1)]
    assert found["hitui_supervisor_up"] == [({}, 1)]
    assert dict(_by(found["hitui_group_jobs"], "group")) == {"default": 1, "night": 1}
    assert found["hitui_group_limit"] == [({"group": "night"}, 2)]
    assert dict(_by(found["hitui_group_paused"], "group")) == {"default": 0, "night": 1}


def test_how_long_the_oldest_job_waits_is_told() -> None:
    def oldest(*jobs: Job) -> float:
        ((_, seconds),) = parsed(standing(jobs=JobsSnapshot(jobs)))["hitui_queue_oldest_seconds"]
        return seconds

    runs = Job(1, JobRequest("a"), 10.0, Running((), 7, 20.0))
    first, second = Job(2, JobRequest("b"), 30.0, Queued()), Job(3, JobRequest("c"), 40.0, Queued())
    before = time.time()
    seconds = oldest(runs, second, first)
    assert before - 30 <= seconds <= time.time() - 30
    assert oldest(runs) == 0
    # The clock was set back since.
    assert oldest(replace(first, created_at=time.time() + 3600)) == 0


def _by(samples: list[tuple[dict[str, str], float]], label: str) -> list[tuple[str, float]]:
    return [(labels[label], value) for labels, value in samples]


@given(st.text(st.characters(exclude_categories=())))
def test_any_name_comes_back_as_it_is_unless_it_is_no_text(name: str) -> None:
    found = parsed(standing(configs=(state(name, total=1, missing=1),), workspace=name))
    expected = name.encode("utf-8", "replace").decode()
    ((labels, _),) = found["hitui_config_tasks_wanted"]
    assert labels == {"config": expected}
    assert found["hitui_info"] == [({"version": __version__, "workspace": expected}, 1)]
