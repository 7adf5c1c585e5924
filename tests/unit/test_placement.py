"""Placement: which GPUs are free, and what is said of those that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hitui.domain.claims import Claim, Claims, Grip, keep, without_ours
from hitui.domain.gpus import Gpu, GpuLock, GpuProcess, GpuSnapshot
from hitui.domain.placement import (
    GpuHistory,
    GpuRules,
    Need,
    held_seconds,
    hindrance,
    never_enough,
    place,
    unknown_gpus,
)
from hitui.domain.waiting_words import gibibytes

GIB = 1024**3
RULES = GpuRules(exclude=frozenset(), max_utilization=10, hold=10.0)


def gpu(index: int, free: float | None = 80, busy: int | None = 0, **values: object) -> Gpu:
    if values.get("error") == "lost":
        return Gpu(index=index, uuid=f"GPU-{index}", name="test", error="lost")
    plain = Gpu(
        index=index,
        uuid=f"GPU-{index}",
        name="test",
        memory_total=80 * GIB,
        memory_free=None if free is None else int(free * GIB),
        utilization=busy,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def snapshot(*gpus: Gpu, at: float = 1000.0, error: str | None = None) -> GpuSnapshot:
    return GpuSnapshot(at, "test", gpus, error=error)


def observed(*samples: GpuSnapshot, hold: float = RULES.hold) -> GpuHistory:
    history = GpuHistory()
    for sample in samples:
        history = history.observe(sample, hold)
    return history


gpus = st.builds(
    gpu,
    st.integers(0, 7),
    st.one_of(st.none(), st.floats(0, 80)),
    st.one_of(st.none(), st.integers(0, 100)),
    error=st.sampled_from([None, None, "lost", "temperature not read"]),
    mig_enabled=st.sampled_from([False, False, True]),
)
machines = st.lists(gpus, unique_by=lambda each: each.index, max_size=8).map(
    lambda found: snapshot(*sorted(found, key=lambda each: each.index))
)
rules = st.builds(
    GpuRules, st.frozensets(st.integers(0, 7)), st.integers(0, 100), st.sampled_from([0.0, 10.0])
)
claims = st.dictionaries(
    st.integers(0, 7).map("GPU-{}".format), st.integers(1, 99).map(lambda job: (Claim(job),))
)


@given(
    machines,
    st.integers(1, 80 * GIB).map(Need),
    rules,
    claims,
    st.frozensets(st.integers(0, 7).map("GPU-{}".format)),
)
def test_what_is_placed_on_keeps_every_rule(
    machine: GpuSnapshot, need: Need, asked: GpuRules, held: Claims, locked: frozenset[str]
) -> None:
    placement = place(machine, need, asked, held, locked=locked)
    assert bool(placement.gpus) != bool(placement.waits_for)
    for uuid in placement.gpus:
        chosen = next(each for each in machine.gpus if each.uuid == uuid)
        assert uuid not in held
        assert uuid not in locked
        assert chosen.index not in asked.exclude
        assert not chosen.silent
        assert chosen.error is None or chosen.utilization is not None
        assert not chosen.mig_enabled
        assert chosen.memory_free is not None
        assert chosen.memory_free >= need.memory
        assert (chosen.utilization or 0) <= asked.max_utilization
    if not placement.gpus:
        assert all(hindrance(each, need, asked, held, locked) for each in machine.gpus)


@given(
    machines,
    st.integers(1, 80 * GIB).map(Need),
    rules,
    claims,
    st.lists(st.integers(0, 7).map(str), min_size=1, unique=True),
)
def test_wanted_gpus_are_all_taken_or_none(
    machine: GpuSnapshot, need: Need, asked: GpuRules, held: Claims, wanted: list[str]
) -> None:
    placement = place(machine, need, asked, held, wanted)
    assert bool(placement.gpus) != bool(placement.waits_for)
    if placement.gpus:
        assert {each.label for each in machine.gpus if each.uuid in placement.gpus} == set(wanted)
    else:
        assert any(label in placement.waits_for.partition(":")[0] for label in wanted)


@given(machines, st.integers(1, 80 * GIB).map(Need), rules, claims)
def test_without_a_past_nothing_has_held(
    machine: GpuSnapshot, need: Need, asked: GpuRules, held: Claims
) -> None:
    placement = place(machine, need, asked, held, history=GpuHistory())
    assert not placement.gpus or asked.hold == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 80), st.integers(0, 100)), min_size=1, max_size=30),
    st.integers(1, 80 * GIB),
)
def test_the_hold_time_is_that_of_the_unbroken_end(samples: list[tuple[float, int]], needed: int) -> None:
    history = observed(
        *(snapshot(gpu(0, free, busy), at=1000.0 + n) for n, (free, busy) in enumerate(samples))
    )
    kept = [not hindrance(gpu(0, free, busy), Need(needed), RULES, {}) for free, busy in samples]
    unbroken = 0
    while unbroken < len(kept) and kept[-1 - unbroken]:
        unbroken += 1
    held = held_seconds(history, "GPU-0", Need(needed), RULES, {})
    if unbroken == 0:
        assert held is None
    else:
        assert held is not None
        assert min(held, RULES.hold) == min(unbroken - 1, RULES.hold)


def test_a_gap_or_a_dumb_driver_breaks_the_hold() -> None:
    steady = [snapshot(gpu(0), at=1000.0 + n) for n in range(12)]
    assert place(steady[-1], Need(GIB), RULES, {}, history=observed(*steady)).gpus == ("GPU-0",)
    gap = [*steady[:6], *(snapshot(gpu(0), at=1030.0 + n) for n in range(6))]
    assert place(gap[-1], Need(GIB), RULES, {}, history=observed(*gap)).gpus == ()
    dumb = [*steady[:6], snapshot(at=1006.0, error="no answer"), *steady[7:]]
    assert place(dumb[-1], Need(GIB), RULES, {}, history=observed(*dumb)).gpus == ()


def test_a_history_stays_as_long_as_its_hold() -> None:
    history = observed(*(snapshot(gpu(0), at=1000.0 + n) for n in range(1000)))
    assert len(history.samples) == 11
    assert len(history.observe(snapshot(gpu(0), at=2000.0), 0.0).samples) == 1


def test_each_gpu_has_held_for_a_time_of_its_own() -> None:
    history = observed(*(snapshot(gpu(0, busy=90), gpu(1, busy=10), at=1000.0 + n) for n in range(5)))
    assert [held_seconds(history, f"GPU-{index}", Need(GIB), RULES, {}) for index in (0, 1)] == [None, 4.0]


def test_the_reason_names_every_gpu_once() -> None:
    machine = snapshot(
        gpu(0, 12.4), gpu(1, busy=97), gpu(2), gpu(3), gpu(4), gpu(5), gpu(6, error="lost"), gpu(7, None)
    )
    placement = place(
        machine,
        Need(20 * GIB),
        replace(RULES, exclude=frozenset({4, 5})),
        {"GPU-2": (Claim(14),)},
        locked={"GPU-3"},
    )
    assert placement.waits_for == (
        "20 GiB free on one GPU: GPU 0 has 12.4 GiB; GPU 1 is 97% busy; GPU 2 is held by job 14;"
        " GPU 3 is locked by another hitui; GPU 4, 5 are excluded; GPU 6 does not answer;"
        " GPU 7 does not say its free memory"
    )


def test_a_lock_of_another_hitui_keeps_a_gpu_and_one_of_a_job_of_ours_does_not() -> None:
    bob, need = GpuLock(7, "bob", "/home/bob/eval"), Need(20 * GIB, share=True)
    locked = gpu(0, lock=bob)
    assert hindrance(locked, need, RULES, {}) == "is locked by bob's hitui"
    kept = {"GPU-0": [Claim(3, grip=Grip.KEPT, shared=True)]}
    assert hindrance(locked, need, RULES, kept) == "is locked by bob's hitui"
    # Our jobs that share have taken it themselves.
    ours = {"GPU-0": [Claim(3, shared=True)]}
    assert hindrance(locked, need, RULES, ours) == ""
    assert hindrance(without_ours(locked, ours["GPU-0"]), need, RULES, {}) == ""
    assert hindrance(without_ours(locked, ()), need, RULES, {}) == "is locked by bob's hitui"
    pair = snapshot(locked, gpu(1, lock=GpuLock(8, "bob", "/home/bob/two")), gpu(2, lock=GpuLock(9)))
    assert place(pair, Need(GIB), RULES, {}).waits_for == (
        "1 GiB free on one GPU: GPU 0, 1 are locked by bob's hitui; GPU 2 is locked by another hitui"
    )
    own = GpuLock(7, "me", "/data/eval", own=True)
    assert hindrance(gpu(0, lock=own), need, RULES, {}) == "is locked by your hitui in eval"


def test_what_is_whose_on_a_shared_gpu_is_told_by_the_session() -> None:
    small, unread = GpuProcess(11, 5 * GIB, "compute", session=7), GpuProcess(8, None, "compute", session=8)
    unknown = GpuProcess(99, GIB, "compute")
    first, second = Claim(1, 20 * GIB, shared=True, pid=7), Claim(2, 10 * GIB, shared=True, pid=8)
    starting = Claim(3, GIB, shared=True)
    ours = gpu(0, 60, busy=80, processes=(small, unread))
    mixed = replace(ours, processes=(*ours.processes, unknown))
    assert not any(claim.owns(unknown) for claim in (first, second, starting))
    assert [claim.untaken(mixed) for claim in (first, second, starting)] == [15 * GIB, 10 * GIB, GIB]
    left = without_ours(mixed, (first, second))
    assert (left.memory_free, left.processes, left.utilization) == (65 * GIB, (unknown,), 80)
    assert without_ours(ours, (first, second)).utilization == 0
    need = Need(GIB, share=True)
    assert hindrance(ours, need, RULES, {"GPU-0": (first, second)}) == ""
    assert hindrance(mixed, need, RULES, {"GPU-0": (first, second)}) == "is 80% busy"
    # Who only waits for it does nothing there.
    kept = {"GPU-0": (Claim(4, shared=True, grip=Grip.KEPT),)}
    assert hindrance(gpu(0, busy=80), need, RULES, kept) == "is 80% busy"


def test_a_gpu_is_kept_once() -> None:
    kept = keep({}, ["GPU-0"], Claim(1, shared=True))
    assert kept == {"GPU-0": (Claim(1, shared=True, grip=Grip.KEPT),)}
    assert keep(kept, ["GPU-0"], Claim(2)) is kept
    assert keep(kept, ["GPU-0", "GPU-1"], Claim(2)) == {**kept, "GPU-1": (Claim(2, grip=Grip.KEPT),)}


def test_locks_of_ones_own_supervisor_and_jobs_are_left_out_of_a_reading() -> None:
    read = snapshot(gpu(0, lock=GpuLock(7)), gpu(1, lock=GpuLock(8)), gpu(2, lock=GpuLock(9)), gpu(3))
    left = read.without_own_locks(7, {"GPU-1"})
    assert [each.lock and each.lock.pid for each in left.gpus] == [None, None, 9, None]
    assert read.without_own_locks(None, ()) is read


def test_a_free_gpu_says_how_long_it_must_stay_so() -> None:
    history = observed(*(snapshot(gpu(0), at=1000.0 + n) for n in range(4)))
    waits_for = place(history.samples[-1], Need(GIB), RULES, {}, history=history).waits_for
    assert waits_for == "1 GiB free on one GPU: GPU 0 is free, and must stay so for 7 s more"
    history = observed(*(snapshot(gpu(0), at=1000.0 + n) for n in (*range(10), 9.8)))
    soon = place(history.samples[-1], Need(GIB), RULES, {}, history=history).waits_for
    assert soon.endswith("must stay so for 1 s more")


def test_the_emptiest_gpu_is_taken_and_of_two_the_first() -> None:
    assert place(snapshot(gpu(0, 30), gpu(1, 60), gpu(2, 60)), Need(20 * GIB), RULES, {}).gpus == ("GPU-1",)


def test_nothing_is_needed_for_nothing() -> None:
    nothing = place(snapshot(error="no driver"), Need(0), RULES, {})
    assert (nothing.gpus, nothing.waits_for) == ((), "")
    assert place(snapshot(gpu(0)), Need(0), RULES, {}, wanted=["0"]).gpus == ("GPU-0",)
    assert never_enough(snapshot(), Need(0), RULES) == ""
    assert never_enough(snapshot(), Need(0), RULES, ("0",)) == "no GPU 0; there are none at all"


def test_no_driver_is_waited_for_with_the_mend() -> None:
    waits_for = place(snapshot(error="no NVIDIA driver"), Need(20 * GIB), RULES, {}).waits_for
    assert waits_for.startswith("20 GiB free on a GPU: no NVIDIA driver")
    assert 'min_free = "0B"' in waits_for


def test_mig_devices_stand_for_their_gpu() -> None:
    whole = gpu(0, mig_enabled=True)
    device = gpu(0, 9.5, None, uuid="MIG-a", mig_index=1, mig_parent="GPU-0", memory_total=10 * GIB)
    machine = snapshot(whole, device)
    assert place(machine, Need(5 * GIB), RULES, {}).gpus == ("MIG-a",)
    assert place(machine, Need(5 * GIB), RULES, {}, wanted=["0:1"]).gpus == ("MIG-a",)
    assert unknown_gpus(machine, ["0"]) == "GPU 0 is in MIG mode; name its devices: 0:1"
    assert hindrance(whole, Need(1), RULES, {}) == "is in MIG mode"
    assert hindrance(gpu(3, uuid=""), Need(1), RULES, {}) == "does not say its UUID"
    assert place(machine, Need(GIB), replace(RULES, exclude=frozenset({0})), {}).gpus == ()


@pytest.mark.parametrize(
    ("wanted", "needed", "reason"),
    [
        (("7",), 1, "no GPU 7; there are 0, 1"),
        (("1",), 1, "GPU 1 is excluded by [gpus] exclude"),
        (("0",), 100, "GPU 0 has 80 GiB in all, less than the 100 GiB of min_free"),
        (None, 100, "no GPU has 100 GiB in all (min_free); the largest has 80 GiB"),
        (None, 20, ""),
        (("0",), 20, ""),
    ],
)
def test_what_waiting_cannot_help(wanted: tuple[str, ...] | None, needed: int, reason: str) -> None:
    machine = snapshot(gpu(0, 1), gpu(1))
    assert never_enough(machine, Need(needed * GIB), replace(RULES, exclude=frozenset({1})), wanted) == reason


def test_a_driver_that_does_not_answer_proves_nothing_absent() -> None:
    assert never_enough(snapshot(error="no answer"), Need(GIB), RULES, ("7",)) == ""
    assert never_enough(snapshot(gpu(0, memory_total=None)), Need(GIB), RULES, ("0",)) == ""


def test_sizes() -> None:
    assert [gibibytes(20 * GIB), gibibytes(int(12.4 * GIB)), gibibytes(0)] == ["20 GiB", "12.4 GiB", "0 GiB"]


def test_a_value_that_fails_holds_a_gpu_back_only_where_the_rules_need_it() -> None:
    without_temperature = gpu(0, error="temperature not read (Unknown Error)")
    assert hindrance(without_temperature, Need(20 * GIB), RULES, {}) == ""
    without_utilisation = gpu(0, busy=None, error="utilisation not read (Unknown Error)")
    assert hindrance(without_utilisation, Need(20 * GIB), RULES, {}) == "does not say how busy it is"
    assert hindrance(gpu(0, busy=None), Need(20 * GIB), RULES, {}) == ""
