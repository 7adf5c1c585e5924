"""GPUs as lines, from values alone."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hitui.domain.gpus import Gpu, GpuLock, GpuSnapshot
from hitui.domain.jobs import Job, JobRequest, JobsSnapshot, Running, Shard
from hitui.domain.placement import GpuRules
from hitui.ui.gpu_lines import GpuView, gpu_lines, gpu_title
from hitui.ui.history import SECONDS_PER_CELL, Utilisations
from hitui.ui.line import Line, width_of
from tests.ui.sample import GIB, NOON, gpu, jobs, process, server

NO_JOBS = JobsSnapshot()
RULES = GpuRules(frozenset({5, 6, 7}), 10, 10.0)


def plain(line: Line) -> str:
    return "".join(text for text, _ in line).rstrip()


def view(snapshot: GpuSnapshot | None, known: JobsSnapshot = NO_JOBS, **others: object) -> GpuView:
    return GpuView(snapshot, known, RULES, 20 * GIB, {}, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 250])
def test_gpu_lines_are_exactly_as_wide_as_the_screen(width: int) -> None:
    assert {width_of(line) for line in gpu_lines(view(server(), jobs()), width)} == {width}


def test_mig_devices_stand_under_their_gpu() -> None:
    parent = gpu(0, 30.0, 50, mig_enabled=True)
    part = Gpu(
        0,
        "MIG-1",
        "NVIDIA A100 MIG 3g.40gb",
        40 * GIB,
        10 * GIB,
        30 * GIB,
        mig_index=1,
        mig_parent=parent.uuid,
    )
    first, second = map(plain, gpu_lines(view(GpuSnapshot(NOON, "nvml", (parent, part))), 120))
    assert "in MIG mode, its parts below" in first
    assert second.startswith(" 0:1 └ A100 MIG")
    assert "10/40 G" in second
    assert "?" in second
    assert second.endswith("free for jobs")


def test_values_that_the_driver_does_not_give_are_question_marks() -> None:
    (line,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (Gpu(0, "GPU-a", "NVIDIA A800"),))), 120)
    assert plain(line).count("?") == 5
    assert "not free: does not say its free memory" in plain(line)


@pytest.mark.parametrize("width", [80, 200])
def test_a_gpu_that_anothers_hitui_has_locked_is_not_free_though_nothing_uses_it(width: int) -> None:
    lock = GpuLock(7, "bob", "/home/bob/eval")
    gpus = gpu(0, 0.0, lock=lock), gpu(1, 0.0), gpu(2, 60.0, processes=(process(1, 59.0, "bob"),), lock=lock)
    seen = view(GpuSnapshot(NOON, "nvml", gpus))
    first, second, third = map(plain, gpu_lines(seen, width))
    assert first.endswith("   locked by bob's hitui")
    assert second.endswith("free for jobs")
    assert third.endswith("   bob 59 G · locked by bob's hitui")
    assert "1 of 3 free for jobs" in plain(gpu_title(seen))


def test_a_lost_gpu_among_the_excluded_is_not_folded_away() -> None:
    lost = Gpu(5, "GPU-5", "NVIDIA A800", error="lost")
    (line,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (lost, gpu(6, 10.0)))), 120)
    assert "10/80 G in use by others" in plain(line)
    assert "! 5 lost" in plain(line)


def test_other_peoples_processes_on_our_gpu_are_named() -> None:
    shared = gpu(
        2, 50.0, 90, processes=(process(4711, 40.0, "me"), process(5, 9.0, "user9"), process(6, 0, None))
    )
    (line,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (shared,)), jobs()), 140)
    assert plain(line).endswith("▶ text_html #14 · user9 9 G, pid 6")


def test_a_gpus_line_says_how_many_configs_its_job_is_on_and_keeps_the_number() -> None:
    long = JobRequest("models/Some-Model-8B-Instruct_text_html", also=(JobRequest("a/b"), JobRequest("a/c")))
    there = JobsSnapshot((Job(14, long, NOON, Running((gpu(2, 1.0).uuid,), 4711, NOON)),))
    (wide,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (gpu(2, 50.0),)), there), 160)
    assert plain(wide).endswith("▶ Some-Model-8B-Instruct_text_html +2 #14")
    (narrow,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (gpu(2, 50.0),)), there), 80)
    assert plain(narrow).endswith("_text_html +2 #14")
    assert "▶ …" in plain(narrow)


def sharing(*names: str) -> JobsSnapshot:
    """Jobs on one GPU, from number 14 on; their runners are pids from 4711 on."""
    return JobsSnapshot(
        tuple(
            Job(14 + at, JobRequest(name), NOON, Running((gpu(2, 1.0).uuid,), 4711 + at, NOON))
            for at, name in enumerate(names)
        )
    )


def test_all_jobs_that_share_a_gpu_are_named_as_far_as_there_is_room() -> None:
    known = sharing("a/text_html", "a/text_csv", "a/text_json")
    mine = [process(4711 + at, 9.0, "me") for at in range(3)]
    snapshot = GpuSnapshot(NOON, "nvml", (gpu(2, 50.0, processes=(*mine, process(5, 9.0, "user9"))),))
    told = {width: plain(gpu_lines(view(snapshot, known), width)[0]) for width in (250, 120, 80, 60)}
    assert told[250].endswith("▶ text_html #14, text_csv #15, text_json #16 · user9 9 G")
    assert told[120].endswith("▶ #14 #15 #16 · user9 9 G")
    assert "▶ #14 #15 #16" in told[80]
    assert "▶ 3 jobs" in told[60]


def test_a_gpu_says_which_shard_of_a_config_it_runs() -> None:
    (known,) = sharing("a/text_html").jobs
    part = replace(known, request=JobRequest("a/text_html", shard=Shard(14, 1, 3, (1,))))
    (line,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (gpu(2, 50.0),)), JobsSnapshot((part,))), 120)
    assert plain(line).endswith("▶ text_html 2/3 #14")


def test_all_jobs_that_were_on_a_lost_gpu_are_named() -> None:
    lost = GpuSnapshot(NOON, "nvml", (Gpu(2, gpu(2, 1.0).uuid, "NVIDIA A800", error="lost"),))
    (line,) = gpu_lines(view(lost, sharing("a/text_html", "a/text_csv")), 120)
    assert plain(line).endswith("#14 #15 were here")


def test_what_a_runner_started_is_of_its_job() -> None:
    worker = replace(process(4712, 30.0, "me"), session=4711)
    shared = gpu(2, 50.0, 90, processes=(process(4711, 10.0, "me"), worker, process(5, 9.0, "user9")))
    (line,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (shared,)), jobs()), 140)
    assert plain(line).endswith("▶ text_html #14 · user9 9 G")


def test_a_value_that_fails_hides_no_others() -> None:
    partly = gpu(1, 7.5, 3, temperature=None, error="temperature: not read (Unknown Error)")
    (line,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (partly,))), 140)
    assert "7.5/80 G" in plain(line)
    assert plain(line).endswith("free for jobs · ! temperature: not read (Unknown Error)")


def test_where_a_job_was_when_its_gpu_was_lost() -> None:
    lost = Gpu(2, "GPU-00000002", "NVIDIA A800", error="the driver no longer answers for it")
    (line,) = gpu_lines(view(GpuSnapshot(NOON, "nvml", (lost,)), jobs()), 120)
    assert "! lost: the driver no longer answers for it   #14 text_html was here" in plain(line)


def test_the_title_counts_what_is_free() -> None:
    assert plain(gpu_title(view(server(), jobs()))) == "GPUs · 1 of 8 free for jobs"
    simulated = GpuSnapshot(NOON, "simulated", (gpu(0, 0.0),))
    assert plain(gpu_title(view(simulated))) == "GPUs · simulated · 1 of 1 free for jobs"


def test_history_is_the_mean_of_some_seconds() -> None:
    history = Utilisations()
    for second in range(int(SECONDS_PER_CELL) + 1):
        history.observe(GpuSnapshot(NOON + second, "nvml", (gpu(0, 1.0, 10 * second),)))
    assert list(history.by_gpu()["GPU-00000000"]) == [20.0]
    for second in range(6, 11):
        history.observe(GpuSnapshot(NOON + second, "nvml", (replace(gpu(0, 1.0), utilization=None),)))
    assert list(history.by_gpu()["GPU-00000000"]) == [20.0, 50.0]
