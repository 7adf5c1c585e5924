"""Which jobs run in the process of another one, and what the store makes of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.jobs import Ended, Ending, Job, JobRequest, Queued, Shard
from hitui.domain.progress import EventTally
from hitui.domain.schedule import Schedule
from hitui.domain.succession import Successor
from hitui.domain.tasks import ErrorClass
from hitui.errors import LaunchError
from hitui.supervisor.joining import Part, can_join, join
from hitui.supervisor.launches import Launches
from hitui.supervisor.rows import End
from hitui.supervisor.store import Store


def job(number: int, config: str, **values: object) -> Job:
    return Job(number, JobRequest(config), 0.0, Queued(), **values)  # type: ignore[arg-type]


def part(config: str, seconds: float, count: int = 1) -> Part:
    return Part(JobRequest(config), tuple(range(count)), seconds)


@given(
    st.floats(0, 100),
    st.lists(st.tuples(st.floats(0, 60), st.sampled_from(["8b", "32b"]), st.booleans()), max_size=8),
    st.integers(1, 4),
    st.floats(1, 300),
)
def test_what_is_joined_loads_the_same_fits_the_time_and_leaves_the_other_gpus_their_share(
    own: float, others: list[tuple[float, str, bool]], places: int, longest: float
) -> None:
    todo = {f"c{number}": (seconds, pending) for number, (seconds, _, pending) in enumerate(others)}
    candidates: list[tuple[Job, Hashable]] = [
        (job(number + 2, f"c{number}"), model) for number, (_, model, _) in enumerate(others)
    ]

    def read(request: JobRequest) -> tuple[Part, ...]:
        seconds, pending = todo[request.config]
        return (part(request.config, seconds, 1 if pending else 0),)

    made = join([part("own", own)], candidates, "8b", places, longest, read)
    alike = [known.id for known, model in candidates if model == "8b"]
    assert set(made.jobs) <= set(alike)
    assert list(made.jobs) == sorted(made.jobs)
    assert made.parts[0] == part("own", own)
    assert len(made.parts) == 1 + len(made.jobs)
    assert all(known.ids for known in made.parts)
    if made.jobs:
        assert sum(known.seconds for known in made.parts) <= longest
    assert (len(made.jobs) + 1 - 1) * places < len(alike) + 1


def test_nine_small_gaps_on_two_gpus_are_two_loads() -> None:
    candidates: list[tuple[Job, Hashable]] = [(job(number, f"c{number}"), "8b") for number in range(2, 10)]

    def read(request: JobRequest) -> tuple[Part, ...]:
        return (part(request.config, 30.0),)

    first = join([part("c1", 30.0)], candidates, "8b", 2, 1800.0, read)
    assert first.jobs == (2, 3, 4, 5)
    rest = [known for known in candidates if known[0].id > 6]
    second = join([part("c6", 30.0)], rest, "8b", 1, 1800.0, read)
    assert second.jobs == (7, 8, 9)


def test_what_is_too_long_or_on_the_same_config_is_passed_over_for_what_is_behind_it() -> None:
    same = Job(4, JobRequest("c2", ids=(9,)), 0.0, Queued())
    candidates: list[tuple[Job, Hashable]] = [
        (known, "8b") for known in (job(2, "c2"), job(3, "long"), same, job(5, "c5"), job(6, "own"))
    ]

    def read(request: JobRequest) -> tuple[Part, ...]:
        return (part(request.config, 3000.0 if request.config == "long" else 900.0),)

    assert join([part("own", 0.0)], candidates, "8b", 1, 1800.0, read).jobs == (2, 5)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (job(2, "b", attempt=2), "it crashed before"),
        (job(2, "b", schedule=Schedule(group="train")), "it is of another group"),
        (job(2, "a"), "it is on the same config"),
        (Job(2, JobRequest("b", gpus=("1",)), 0.0, Queued()), "it is to run on other GPUs"),
        (Job(2, JobRequest("b", executor="slurm"), 0.0, Queued()), "it is started in another way"),
        (Job(2, JobRequest("b", shard=Shard(2, 0, 2, (1,))), 0.0, Queued()), "it is a shard"),
    ],
)
def test_what_keeps_jobs_apart(other: Job, why: str) -> None:
    assert can_join(job(1, "a"), job(2, "b"))
    assert not can_join(job(1, "a"), other), why
    assert not can_join(other, job(1, "a")), why


def test_one_process_answers_only_what_has_one_runner_and_is_asked_for_alike(tmp_path: Path) -> None:
    runners = (
        "\n".join(f'[runner.{name}]\nengine = "demo"\nmin_free = "20GiB"\n' for name in ("demo", "other"))
        + '[runner.script]\ncommand = ["python3", "x.py", "{ids}"]\n'
    )
    configs = {"a": "", "b": "", "runner": 'runner = "other"', "ladder": "max_rungs = 1", "need": "gpus = 2"}
    configs |= {"script": 'runner = "script"'}
    told = "\n".join(f'[[config]]\nname = "{name}"\n{more}' for name, more in configs.items())
    (tmp_path / "hitui.toml").write_text(f'[workspace]\nrunner = "demo"\n{runners}\n{told}\n')
    launches = Launches(tmp_path)
    alike = launches.loads(JobRequest("a"))
    assert alike is not None
    assert alike == launches.loads(JobRequest("b"))
    assert launches.loads(JobRequest("script")) is None
    for other in (
        *map(JobRequest, ("runner", "ladder", "need")),
        JobRequest("b", ids=(1,)),
        JobRequest("b", error_class=ErrorClass.OTHER),
        JobRequest("b", force=True),
        JobRequest("b", gpu_count=2),
    ):
        assert launches.loads(other) not in (alike, None), other
    (tmp_path / "hitui.toml").write_text(
        f'[queue]\njoin = "0s"\n[workspace]\nrunner = "demo"\n{runners}\n{told}\n'
    )
    assert launches.loads(JobRequest("a")) is None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state.db")
    yield made
    made.close()


def start(store: Store, job_id: int, joined: tuple[int, ...] = (), gpu: str = "GPU-1") -> Job:
    log = Path("/log")
    return store.start(job_id, [gpu], "boot", log=log, events=log, task_count=3, joined=joined)


def submit(store: Store, *configs: str) -> list[int]:
    return [known.id for known in store.submit([JobRequest(config) for config in configs], {})]


def test_jobs_that_joined_end_in_the_same_step_and_what_waited_for_them_waits_for_the_one(
    store: Store,
) -> None:
    a, b, c = submit(store, "a", "b", "c")
    (waiting,) = store.submit([JobRequest("d")], {}, Schedule(after_success=(b,)))
    leader = start(store, a, (b, c))
    assert leader.request.configs == ("a", "b", "c")
    for joined in (b, c):
        state = store.job(joined).state
        assert isinstance(state, Ended)
        assert (state.ending, store.job(joined).successor) == (Ending.JOINED, a)
    assert store.job(waiting.id).schedule.after_success == (a,)
    assert [known.id for known in store.active()] == [a, waiting.id]


def test_no_other_job_runs_on_a_config_that_joined(store: Store) -> None:
    a, b = submit(store, "a", "b")
    start(store, a, (b,))
    with pytest.raises(LaunchError, match=f"b: job {a} is already on it"):
        submit(store, "b")
    (other,) = store.submit([JobRequest("b", ids=(1,))], {})
    with pytest.raises(LaunchError, match="another job runs on the config"):
        start(store, other.id, gpu="GPU-2")
    store.end(a, End(Ending.SUCCEEDED))
    start(store, other.id, gpu="GPU-2")


def test_nothing_is_joined_when_one_of_them_is_no_longer_queued(store: Store) -> None:
    a, b, c = submit(store, "a", "b", "c")
    store.end(c, End(Ending.STOPPED))
    with pytest.raises(LaunchError, match=f"job {c} is no longer queued"):
        start(store, a, (b, c))
    assert [known.id for known in store.queued()] == [a, b]
    assert store.job(a).request == JobRequest("a")
    assert store.claims() == {}


def test_the_successor_of_a_job_of_several_has_them_all(store: Store, tmp_path: Path) -> None:
    a, b = submit(store, "a", "b")
    start(store, a, (b,))
    store.end(a, End(Ending.FAILED), Successor(Schedule(), 2))
    (again,) = store.active()
    assert again.request.configs == ("a", "b")
    beside = Store(tmp_path / "state.db", read_only=True)
    assert beside.active() == (again,)
    beside.close()


def test_events_that_name_a_config_count_for_it_and_the_others_for_all() -> None:
    tally = EventTally().add(
        [
            {"time": 1.0, "event": "phase", "phase": "loading"},
            {"time": 2.0, "event": "progress", "done": 0, "total": 5, "errors": 0},
            {"time": 2.0, "event": "progress", "config": "a", "done": 0, "total": 2, "errors": 0},
            {"time": 3.0, "event": "task", "config": "a", "id": 1, "status": "done"},
            {"time": 4.0, "event": "task", "config": "a", "id": 2, "status": "error"},
            {"time": 4.0, "event": "progress", "config": "a", "done": 2, "total": 2, "errors": 1},
            {"time": 4.0, "event": "progress", "done": 2, "total": 5, "errors": 1},
            {"time": 4.5, "event": "end", "config": "a", "done": 2, "errors": 1, "exit": 0},
        ]
    )
    progress = tally.progress(5.0)
    assert progress is not None
    assert (progress.done, progress.total, progress.errors) == (2, 5, 1)
    assert tally.exit_status is None
    own = progress.of("a")
    assert (own.phase, own.done, own.total, own.errors) == ("end", 2, 2, 1)
    assert progress.rate is not None
    assert progress.of("b").done is None


def test_a_job_of_one_config_has_one_progress() -> None:
    progress = EventTally().add([{"event": "progress", "done": 1, "total": 2, "errors": 0}]).progress(1.0)
    assert progress is not None
    assert progress.of("anything") is progress


def test_who_waits_for_two_that_join_one_waits_for_that_one_alone(store: Store) -> None:
    a, b, c = submit(store, "a", "b", "c")
    (waiting,) = store.submit([JobRequest("d")], {}, Schedule(after=(c,), after_success=(b, c)))
    start(store, a, (b, c))
    assert set(store.job(waiting.id).schedule.after_success) == {a}
    assert store.job(waiting.id).schedule.after == (a,)
