"""What is found out once for many jobs is what is found out for each of them alone."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hitui.domain.claims import Claim, Claims
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.placement import GpuHistory, GpuRules, Need, never_enough, place
from hitui.domain.placer import Placer
from tests.unit.test_placement_properties import TOTAL, claims_of, machines, rules

GIB = 1024**3

needs = st.builds(
    Need,
    # Often just as much as a GPU has, and a byte more or less.
    st.builds(lambda size, more: max(0, size * GIB + more), st.integers(0, TOTAL + 2), st.integers(-1, 1)),
    st.integers(1, 3),
    st.booleans(),
)


def _in_gibibytes(machine: GpuSnapshot) -> GpuSnapshot:
    def scaled(gpu: Gpu) -> Gpu:
        processes = [
            replace(process, memory=None if process.memory is None else process.memory * GIB)
            for process in gpu.processes
        ]
        return replace(
            gpu,
            memory_total=None if gpu.memory_total is None else gpu.memory_total * GIB,
            memory_free=None if gpu.memory_free is None else gpu.memory_free * GIB,
            processes=tuple(processes),
        )

    return replace(machine, gpus=tuple(map(scaled, machine.gpus)))


def _claims_in_gibibytes(claims: Claims) -> dict[str, tuple[Claim, ...]]:
    return {
        uuid: tuple(replace(claim, memory=claim.memory * GIB) for claim in on_it)
        for uuid, on_it in claims.items()
    }


@given(st.data(), st.lists(machines(), min_size=1, max_size=4), st.lists(needs, max_size=12), rules)
def test_many_are_placed_as_each_alone(
    data: st.DataObject, past: Sequence[GpuSnapshot], asked: Sequence[Need], limits: GpuRules
) -> None:
    history = GpuHistory()
    for second, machine in enumerate(past):
        now = replace(_in_gibibytes(machine), taken_at=1000.0 + second)
        history = history.observe(now, limits.hold)
    claims = _claims_in_gibibytes(data.draw(claims_of(now)))
    locked = data.draw(st.frozensets(st.sampled_from([gpu.uuid for gpu in now.gpus]), max_size=1))
    some = data.draw(st.none() | st.just(history))
    placer = Placer(now, limits, claims, some, locked)
    for need in asked:
        wanted = data.draw(st.none() | st.lists(st.sampled_from("012345"), min_size=1, max_size=2).map(tuple))
        assert placer.place(need, wanted) == place(now, need, limits, claims, wanted, some, locked)
        assert placer.never_enough(need, wanted) == never_enough(now, need, limits, wanted)


def test_what_a_gpu_will_have_when_jobs_that_share_it_have_ended_counts_too() -> None:
    ours = GpuProcess(101, 20 * GIB, "compute")
    gpu = Gpu(
        0, "GPU-0", "test", memory_total=80 * GIB, memory_free=10 * GIB, utilization=0, processes=(ours,)
    )
    claims = {"GPU-0": (Claim(1, 20 * GIB, shared=True, pid=101),)}
    placer = Placer(GpuSnapshot(1000.0, "test", (gpu,)), GpuRules(), claims)
    assert placer.place(Need(25 * GIB)).keeps == ("GPU-0",)
    assert placer.place(Need(35 * GIB)).keeps == ()
