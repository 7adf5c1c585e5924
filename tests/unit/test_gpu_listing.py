"""What `hitui gpus` says of jobs that hold GPUs."""

from hitui.commands.gpus import as_object
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.jobs import Ended, Ending, Job, JobRequest, JobsSnapshot, Running
from hitui.domain.placement import GpuRules

GIB = 1024**3


def test_a_held_gpu_names_its_job_and_is_not_free() -> None:
    gpus = tuple(Gpu(index, f"GPU-{index}", "", 80 * GIB, 0, 80 * GIB, 0) for index in range(2))
    request = JobRequest("group/text_html")
    jobs = JobsSnapshot(
        (
            Job(13, request, 0.0, Ended(Ending.SUCCEEDED, 1.0, gpus=("GPU-1",))),
            Job(14, request, 0.0, Running(("GPU-0",), pid=7, started_at=1.0)),
        )
    )
    described = as_object(GpuSnapshot(0.0, "nvml", gpus), jobs, 20 * GIB, GpuRules())["gpus"]
    assert [(gpu["held_by"], gpu["free_for_jobs"]) for gpu in described] == [(14, False), (None, True)]
    assert described[0]["not_free_because"] == "is held by job 14"
    assert [gpu["jobs"] for gpu in described] == [[14], []]


def test_a_shared_gpu_names_all_of_its_jobs() -> None:
    gpu = Gpu(0, "GPU-0", "", 80 * GIB, 0, 80 * GIB, 0)
    jobs = JobsSnapshot(
        tuple(Job(number, JobRequest("a/b"), 0.0, Running(("GPU-0",), number, 1.0)) for number in (3, 4))
    )
    (described,) = as_object(GpuSnapshot(0.0, "nvml", (gpu,)), jobs, 20 * GIB, GpuRules())["gpus"]
    assert (described["held_by"], described["jobs"]) == (3, [3, 4])
    assert described["not_free_because"] == "is held by jobs 3, 4"
