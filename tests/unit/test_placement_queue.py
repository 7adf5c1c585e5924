"""What jobs that wait keep from those behind them, a queue and a round at a time."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hitui.domain.claims import Claim, Claims, keep, with_claim
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.placement import GpuHistory, GpuRules, Need, judge, never_enough, place

TOTAL = 80


class Queue:
    """Jobs in their order on a machine that nobody else uses, a round at a time."""

    def __init__(self, count: int) -> None:
        self.machine = GpuSnapshot(
            1000.0,
            "test",
            tuple(
                Gpu(n, f"GPU-{n}", "test", memory_total=TOTAL, memory_free=TOTAL, utilization=0)
                for n in range(count)
            ),
        )
        self.running: dict[int, tuple[str, ...]] = {}
        self.shares: dict[int, Need] = {}

    def held(self) -> Claims:
        claims: Claims = {}
        for job, uuids in self.running.items():
            claims = with_claim(claims, uuids, Claim(job, self.shares[job].memory, self.shares[job].share))
        return claims

    def round(self, waiting: dict[int, tuple[Need, tuple[str, ...] | None]]) -> dict[int, str]:
        """Starts what can be started, in order; of the others, what they wait for."""
        kept: Claims = {}
        waits = {}
        for job, (need, wanted) in waiting.items():
            claims = self.held()
            for uuid, more in kept.items():
                claims = {**claims, uuid: (*claims.get(uuid, ()), *more)}
            placement = place(self.machine, need, GpuRules(), claims, wanted)
            if placement.gpus:
                self.running[job], self.shares[job] = placement.gpus, need
            else:
                waits[job] = placement.waits_for
                kept = keep(kept, placement.keeps, Claim(job, need.memory, need.share))
        return waits


wishes = st.one_of(
    st.tuples(st.builds(Need, st.integers(1, 80), st.integers(1, 4), st.booleans()), st.none()),
    st.tuples(
        st.builds(Need, st.integers(1, 80), st.just(1), st.booleans()),
        st.lists(st.sampled_from("0123"), min_size=1, unique=True).map(tuple),
    ),
)


@given(st.lists(wishes, max_size=12), st.randoms(use_true_random=False))
def test_every_job_of_a_queue_starts_however_small_those_behind_it_are(
    asked: list[tuple[Need, tuple[str, ...] | None]], dice: random.Random
) -> None:
    queue = Queue(4)
    waiting = dict(enumerate(asked, start=1))
    late, ends = 1000, dict[int, int]()
    for now in range(60 * len(asked) + 1):
        for job in [job for job, end in ends.items() if end == now]:
            del queue.running[job], ends[job]
        # Behind everyone small jobs without end, of which one ends as the next one comes.
        stream = {late + n: (Need(1, 1, dice.random() < 0.8), None) for n in range(3)}
        late += 3
        queue.round({**waiting, **stream})
        assert_apart(queue)
        for job in queue.running:
            ends.setdefault(job, now + dice.randint(1, 6))
        waiting = {job: wish for job, wish in waiting.items() if job not in queue.running}
        if not waiting:
            break
    assert not waiting


def assert_apart(queue: Queue) -> None:
    for uuid, claims in queue.held().items():
        assert len(claims) == 1 or all(claim.shared for claim in claims), uuid
        assert sum(claim.memory for claim in claims) <= 80


def test_a_free_gpu_is_kept_for_the_job_that_waits_for_two_and_another_one_still_starts() -> None:
    queue = Queue(3)
    queue.round({1: (Need(20), ("0",))})
    waits = queue.round(
        {14: (Need(20), ("0", "2")), 15: (Need(20), ("2",)), 16: (Need(20), None), 17: (Need(20), None)}
    )
    assert waits[14] == "0 GiB free on GPU 0, 2: GPU 0 is held by job 1"
    assert waits[15] == "0 GiB free on GPU 2: GPU 2 is kept for job 14"
    assert queue.running[16] == ("GPU-1",)
    assert waits[17].endswith("GPU 0 is held by job 1; GPU 1 is held by job 16; GPU 2 is kept for job 14")


def test_jobs_that_share_do_not_follow_each_other_while_another_one_waits_for_the_whole_gpu() -> None:
    queue = Queue(1)
    queue.round({1: (Need(20, 1, True), None), 2: (Need(20, 1, True), None)})
    waits = queue.round({3: (Need(60), None), 4: (Need(20, 1, True), None)})
    assert waits[3].endswith("GPU 0 is held by jobs 1, 2")
    assert waits[4].endswith("GPU 0 is kept for job 3")
    del queue.running[1]
    assert set(queue.round({3: (Need(60), None), 4: (Need(20, 1, True), None)})) == {3, 4}
    del queue.running[2]
    queue.round({3: (Need(60), None), 4: (Need(20, 1, True), None)})
    assert list(queue.running) == [3]


def test_a_large_job_that_shares_finds_its_room_too() -> None:
    queue = Queue(1)
    queue.round({1: (Need(40, 1, True), None)})
    waits = queue.round({2: (Need(60, 1, True), None), 3: (Need(10, 1, True), None)})
    assert waits[2].endswith("GPU 0 has 0 GiB beside what job 1 will take")
    assert waits[3].endswith("GPU 0 has 0 GiB beside what jobs 1, 2 will take")


def test_a_gpu_that_others_use_is_not_kept_for_when_our_jobs_have_ended() -> None:
    ours, theirs = GpuProcess(7, 10, "compute", session=101), GpuProcess(8, 60, "compute")
    gpu = Gpu(0, "GPU-0", "test", memory_total=80, memory_free=10, utilization=90, processes=(ours, theirs))
    claims = {"GPU-0": (Claim(1, 10, True, 101),)}
    assert place(GpuSnapshot(0.0, "test", (gpu,)), Need(40), GpuRules(), claims).keeps == ()
    gpu = replace(gpu, memory_free=70, processes=(ours,))
    assert place(GpuSnapshot(0.0, "test", (gpu,)), Need(75), GpuRules(), claims).keeps == ("GPU-0",)


def test_several_free_gpus_are_spoken_of_as_several() -> None:
    history = GpuHistory()
    for second in range(4):
        history = history.observe(GpuSnapshot(1000.0 + second, "test", Queue(4).machine.gpus[1:3]), hold=10.0)
    assert history.latest is not None
    placement = place(history.latest, Need(1, 2), GpuRules(), {}, history=history)
    assert placement.waits_for.endswith("GPU 1, 2 are free, and must stay so for 7 s more")
    assert placement.keeps == ("GPU-1", "GPU-2")
    verdicts = judge(history.latest, Need(1, 2), GpuRules(), {}, history=history)
    assert [verdict.hold_left for verdict in verdicts] == [7.0, 7.0]


def test_a_job_that_waits_out_its_hold_keeps_one_gpu_and_not_all() -> None:
    machine = Queue(3).machine
    history = GpuHistory().observe(machine, hold=10.0)
    placement = place(machine, Need(20), GpuRules(), {}, history=history)
    assert len(placement.keeps) == 1


def test_more_gpus_than_there_are_is_refused() -> None:
    machine = Queue(2).machine
    assert never_enough(machine, Need(20, 2), GpuRules()) == ""
    assert never_enough(machine, Need(20, 3), GpuRules()) == (
        "3 GPUs with 0 GiB in all are needed (gpus or recovery_gpus, min_free); there are 2"
    )
    one_left = never_enough(machine, Need(20, 2), GpuRules(exclude=frozenset({1})))
    assert one_left.endswith("there is 1")
