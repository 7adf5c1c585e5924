"""When a running job is taken for stalled and a GPU for lost: for any course of looks and readings."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.jobs import Job, JobRequest, Running
from hitui.domain.succession import RetryRules
from hitui.domain.watching import (
    Attention,
    Signs,
    WatchRules,
    attend,
    is_stalled,
    is_surely_stalled,
    loss_words,
    losses,
    tells_of_gpus,
)
from hitui.paths import RuntimePaths
from hitui.supervisor import watching
from hitui.supervisor.keeper import Keeper
from hitui.supervisor.store import Store

SIZES = st.none() | st.integers(0, 2)
SIGNS = st.builds(Signs, SIZES, SIZES, st.none() | st.booleans())
COURSES = st.lists(st.tuples(st.floats(0, 100), SIGNS), min_size=1)
"""Looks: seconds since the one before, and what was seen."""


def after(course: list[tuple[float, Signs]], has_gpu: bool) -> tuple[Attention, float]:
    attention, now = None, 0.0
    for pause, signs in course:
        now += pause
        attention = attend(attention, signs, now, has_gpu)
    assert attention is not None
    return attention, now


@given(COURSES, st.booleans(), st.floats(0.001, 200))
def test_a_job_is_stalled_exactly_when_no_look_within_the_time_saw_anything_new(
    course: list[tuple[float, Signs]], has_gpu: bool, stall: float
) -> None:
    attention, now = after(course, has_gpu)
    moments, at, before = [], 0.0, None
    for pause, signs in course:
        at += pause
        sizes = signs.log_size, signs.events_size
        if before is None or signs.gpu_used or sizes != before:
            moments.append(at)
        before = sizes
    assert is_stalled(attention, now, WatchRules(stall)) == (now - moments[-1] >= stall)
    assert not is_stalled(attention, now, WatchRules(None))


@given(COURSES)
def test_a_gpu_that_is_used_is_a_sign_of_life(course: list[tuple[float, Signs]]) -> None:
    _, now = after(course, True)
    used = Signs(course[-1][1].log_size, course[-1][1].events_size, True)
    attention, now = after([*course, (1.0, used)], True)
    assert attention.since == now


@given(COURSES, st.floats(0.001, 50))
def test_it_is_surely_stalled_only_if_every_look_of_that_time_could_tell_of_the_gpu(
    course: list[tuple[float, Signs]], stall: float
) -> None:
    attention, now = after(course, True)
    rules = WatchRules(stall)
    told, at = True, 0.0
    first = course[0][0]
    for pause, signs in course:
        at += pause
        told = told and (now - at > stall or signs.gpu_used is not None)
    expected = is_stalled(attention, now, rules) and told and now - first >= stall
    # Looks before the time began may leave it unsure for longer, never the other way round.
    assert expected or not is_surely_stalled(attention, now, rules)
    for_one_without, now = after(course, False)
    assert is_surely_stalled(for_one_without, now, rules) == is_stalled(for_one_without, now, rules)


def test_the_time_in_which_the_driver_told_begins_when_it_tells_again() -> None:
    unread, idle = Signs(1, 1, None), Signs(1, 1, False)
    attention, now = after([(0.0, unread), (10.0, idle), (10.0, idle)], True)
    assert is_surely_stalled(attention, now, WatchRules(10.0))
    assert is_stalled(attention, now, WatchRules(15.0))
    assert not is_surely_stalled(attention, now, WatchRules(15.0))


UUIDS = ("GPU-0", "GPU-1", "GPU-2")


def reading(*silent: str, absent: tuple[str, ...] = (), error: str | None = None) -> GpuSnapshot:
    gpus = tuple(
        Gpu(index, uuid, "x", memory_total=None if uuid in silent else 1, error="lost: it fell off the bus")
        if uuid in silent
        else Gpu(index, uuid, "x", memory_total=1)
        for index, uuid in enumerate(UUIDS)
        if uuid not in absent
    )
    return GpuSnapshot(0.0, "simulated", () if error else gpus, error=error)


READINGS = st.builds(
    lambda silent, absent, error: reading(*silent, absent=tuple(absent), error=error),
    st.sets(st.sampled_from(UUIDS)),
    st.sets(st.sampled_from(UUIDS)),
    st.sampled_from([None, None, None, "the driver has not answered for 9 s"]),
)


@given(st.lists(READINGS, min_size=1), st.sets(st.sampled_from(UUIDS)))
def test_a_gpu_is_lost_since_the_first_of_the_answers_in_a_row_that_say_so(
    course: list[GpuSnapshot], held: set[str]
) -> None:
    known: dict[str, float] = {}
    for now, snapshot in enumerate(course):
        known = losses(known, held, snapshot, float(now))
    assert set(known) <= held
    for uuid in held:
        since = len(course)
        for now in reversed(range(len(course))):
            snapshot = course[now]
            there = next((gpu for gpu in snapshot.gpus if gpu.uuid == uuid), None)
            answers = there is not None and not there.silent
            if snapshot.error is not None or not snapshot.gpus:
                continue
            if answers:
                break
            since = now
        assert known.get(uuid) == (None if since == len(course) else float(since))


def test_a_driver_that_does_not_answer_is_no_loss_of_a_gpu() -> None:
    silent = reading(error="the driver has not answered for 9 s")
    for snapshot in (silent, GpuSnapshot(0.0, "nvml")):
        assert not tells_of_gpus(snapshot)
        assert losses({}, {"GPU-1"}, snapshot, 6.0) == {}
        # What was known stays: a driver that is opened anew every so often must not make it begin again.
        assert losses({"GPU-1": 5.0}, {"GPU-1"}, snapshot, 6.0) == {"GPU-1": 5.0}
        assert losses({"GPU-1": 5.0}, {"GPU-2"}, snapshot, 6.0) == {}


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (reading("GPU-1"), "GPU 1 does not answer: lost: it fell off the bus"),
        (reading(absent=("GPU-1",)), "the driver no longer lists its GPU GPU-1"),
    ],
)
def test_what_is_lost_is_named(snapshot: GpuSnapshot, words: str) -> None:
    assert loss_words("GPU-1", snapshot) == words


def test_a_gpu_that_was_used_once_is_no_sign_of_life_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SHORTEST_LOOK_SECONDS", 0.01)
    paths = RuntimePaths(tmp_path / "state", tmp_path / "runtime")
    paths.state.mkdir()
    store = Store(paths.database)
    (job,) = store.submit([JobRequest("a")], {})
    store.start(job.id, ("GPU-0",), "boot", log=tmp_path / "log", events=tmp_path / "events", task_count=None)
    store.begun(job.id, 77, 1.0)
    process = GpuProcess(77, 1, "compute", session=77)
    plain = Gpu(0, "GPU-0", "x", memory_total=8, utilization=90, processes=(process,))
    busy, idle = (
        GpuSnapshot(1.0, "test", (msgspec.structs.replace(plain, utilization=load),)) for load in (90, 0)
    )

    def stalled_since() -> float | None:
        state = store.job(job.id).state
        assert isinstance(state, Running)
        return state.stalled_since

    async def scene() -> None:
        watcher = watching.Watching(
            store,
            Keeper(store, paths, lambda: None),
            lambda configs: WatchRules(stall=0.2),
            lambda configs: RetryRules(),
            lambda: None,
        )
        watcher.observe(busy)
        watcher.wake()
        running = asyncio.create_task(watcher.run())
        for _ in range(1000):
            await asyncio.sleep(0.01)
            watcher.observe(idle)
            if stalled_since() is not None:
                break
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())
    assert stalled_since() is not None
    store.close()


@pytest.mark.parametrize(
    ("load", "processes", "used"),
    [
        (None, (), None),
        (0, (GpuProcess(77, 1, "compute", session=77),), False),
        (90, (), True),
        (90, (GpuProcess(77, 1, "compute", session=1),), True),
        (90, (GpuProcess(78, 1, "compute", session=77),), True),
        (90, (GpuProcess(78, 1, "compute"),), True),
        (90, (GpuProcess(78, 1, "compute", session=78),), False),
    ],
)
def test_a_load_is_the_jobs_own_unless_it_is_known_to_be_someone_elses(
    load: int | None, processes: tuple[GpuProcess, ...], used: bool | None
) -> None:
    job = Job(1, JobRequest("a"), 0.0, Running(("GPU-0",), 77, 1.0))
    gpu = Gpu(0, "GPU-0", "x", utilization=load, processes=processes)
    assert watching._used(job, {"GPU-0": gpu}, "no such marker") is used
