"""Placement over random machines, pasts, claims and queues, against rules that are written down a second time."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hitui.domain.claims import Claim, Claims, Grip, with_claim
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.placement import (
    BREAK_SECONDS,
    GpuHistory,
    GpuRules,
    Need,
    never_enough,
    place,
)

TOTAL = 80
OUR_PIDS = (101, 102, 103)
FOREIGN_PIDS = (901, 902)

processes = st.lists(
    st.builds(
        GpuProcess,
        st.sampled_from([*OUR_PIDS, *FOREIGN_PIDS]),
        st.one_of(st.none(), st.integers(0, 30)),
        st.just("compute"),
        session=st.one_of(st.none(), st.sampled_from(OUR_PIDS)),
    ),
    max_size=3,
).map(tuple)


@st.composite
def gpus(draw: st.DrawFn, index: int, mig_index: int | None = None) -> Gpu:
    uuid = f"GPU-{index}" if mig_index is None else f"MIG-{index}-{mig_index}"
    if draw(st.integers(0, 9)) == 0:
        return Gpu(index, uuid, "test", error="lost", mig_index=mig_index)
    return Gpu(
        index,
        draw(st.sampled_from([uuid] * 9 + [""])),
        "test",
        memory_total=TOTAL,
        memory_free=draw(st.sampled_from([None, *range(TOTAL + 1)])),
        utilization=draw(st.one_of(st.just(0), st.just(0), st.integers(0, 100), st.none())),
        processes=draw(processes),
        mig_index=mig_index,
        mig_parent=None if mig_index is None else f"GPU-{index}",
        error=draw(st.sampled_from([None, None, None, "temperature not read"])),
    )


@st.composite
def machines(draw: st.DrawFn) -> GpuSnapshot:
    found: list[Gpu] = []
    for index in range(draw(st.integers(1, 5))):
        gpu = draw(gpus(index))
        slices = draw(st.sampled_from([0, 0, 0, 2]))
        found.append(replace(gpu, mig_enabled=slices > 0))
        found += [draw(gpus(index, mig_index)) for mig_index in range(slices)]
    return GpuSnapshot(1000.0, "test", tuple(found))


def claims_on(uuid: str) -> st.SearchStrategy[tuple[Claim, ...]]:
    shared = st.builds(
        Claim,
        st.integers(1, 99),
        st.integers(0, 40),
        st.just(True),
        st.one_of(st.none(), st.sampled_from(OUR_PIDS)),
        st.sampled_from([Grip.HELD, Grip.HELD, Grip.KEPT, Grip.PLANNED]),
    )
    alone = st.builds(Claim, st.integers(1, 99), st.integers(0, 40), grip=st.sampled_from(Grip))
    return st.one_of(st.lists(shared, min_size=1, max_size=3).map(tuple), alone.map(lambda one: (one,)))


@st.composite
def claims_of(draw: st.DrawFn, machine: GpuSnapshot) -> Claims:
    uuids = [gpu.uuid for gpu in machine.gpus if gpu.uuid]
    held = draw(st.lists(st.sampled_from(uuids), unique=True, max_size=3)) if uuids else []
    return {uuid: draw(claims_on(uuid)) for uuid in held}


needs = st.builds(
    Need, st.one_of(st.integers(1, 20), st.integers(1, TOTAL)), st.integers(1, 3), st.booleans()
)
rules = st.builds(
    GpuRules,
    st.frozensets(st.integers(0, 4), max_size=1),
    st.integers(0, 100),
    st.sampled_from([0.0, 3.0, 10.0]),
)


def room(gpu: Gpu, on_it: Sequence[Claim]) -> int:
    """What is left once every job there has taken what it asked for."""
    left = gpu.memory_free or 0
    for claim in on_it:
        used = 0
        for process in gpu.processes:
            if claim.pid is not None and (process.pid == claim.pid or process.session == claim.pid):
                used += process.memory or 0
        if used < claim.memory:
            left -= claim.memory - used
    return max(0, left)


def fits(gpu: Gpu, need: Need, asked: GpuRules, claims: Claims, locked: frozenset[str]) -> bool:
    """Whether a job may be started there, the hold time apart: the rules of the design once more."""
    on_it = claims.get(gpu.uuid, ())
    pids = {claim.pid for claim in on_it if claim.grip is Grip.HELD} - {None}
    foreign = any(process.pid not in pids and process.session not in pids for process in gpu.processes)
    runs_ours = any(claim.grip is Grip.HELD for claim in on_it)
    quiet = gpu.utilization is None and gpu.error is None
    calm = quiet or (gpu.utilization is not None and gpu.utilization <= asked.max_utilization)
    return (
        gpu.index not in asked.exclude
        and gpu.memory_total is not None
        and not gpu.mig_enabled
        and gpu.uuid != ""
        and gpu.uuid not in locked
        and (not on_it or (need.share and all(claim.shared for claim in on_it)))
        and gpu.memory_free is not None
        and room(gpu, on_it) >= need.memory
        and (calm or (runs_ours and not foreign))
    )


@given(st.data(), machines(), needs, rules)
def test_a_job_is_placed_on_the_emptiest_of_those_that_fit_whenever_enough_do(
    data: st.DataObject, machine: GpuSnapshot, need: Need, asked: GpuRules
) -> None:
    claims = data.draw(claims_of(machine))
    locked = data.draw(st.frozensets(st.sampled_from([gpu.uuid for gpu in machine.gpus] or [""]), max_size=1))
    fitting = {
        gpu.uuid: room(gpu, claims.get(gpu.uuid, ()))
        for gpu in machine.gpus
        if fits(gpu, need, asked, claims, locked) and (need.gpus == 1 or gpu.mig_index is None)
    }
    placement = place(machine, need, asked, claims, locked=locked)
    assert bool(placement.gpus) == (len(fitting) >= need.gpus)
    assert bool(placement.gpus) != bool(placement.waits_for)
    if placement.gpus:
        assert len(set(placement.gpus)) == need.gpus
        assert set(placement.gpus) <= set(fitting)
        left = [size for uuid, size in fitting.items() if uuid not in placement.gpus]
        assert min(fitting[uuid] for uuid in placement.gpus) >= max(left, default=0)
        assert placement.keeps == ()
    else:
        assert set(fitting) <= set(placement.keeps)
        assert len(placement.keeps) <= need.gpus
        for uuid in set(placement.keeps) - set(fitting):
            assert all(claim.shared and claim.grip is Grip.HELD for claim in claims[uuid])


@given(st.data(), machines(), needs, rules)
def test_named_gpus_are_given_all_or_kept_as_far_as_they_are_free(
    data: st.DataObject, machine: GpuSnapshot, need: Need, asked: GpuRules
) -> None:
    labels = [gpu.label for gpu in machine.gpus if not gpu.mig_enabled]
    if not labels:
        return
    claims = data.draw(claims_of(machine))
    wanted = data.draw(st.lists(st.sampled_from(labels), min_size=1, unique=True))
    named = [gpu for gpu in machine.gpus if gpu.label in wanted and not gpu.mig_enabled]
    fitting = {gpu.uuid for gpu in named if fits(gpu, need, asked, claims, frozenset())}
    placement = place(machine, need, asked, claims, wanted)
    if len(fitting) == len(named):
        assert set(placement.gpus) == fitting
    else:
        assert placement.gpus == ()
        assert fitting <= set(placement.keeps) <= {gpu.uuid for gpu in named}


@given(st.data(), machines(), needs, rules)
def test_the_order_of_claims_and_the_number_of_asks_change_nothing(
    data: st.DataObject, machine: GpuSnapshot, need: Need, asked: GpuRules
) -> None:
    claims = data.draw(claims_of(machine))
    turned = {uuid: tuple(reversed(claims[uuid])) for uuid in reversed(list(claims))}
    first = place(machine, need, asked, claims)
    assert place(machine, need, asked, claims) == first
    again = place(machine, need, asked, turned)
    assert (again.gpus, again.keeps) == (first.gpus, first.keeps)


@given(st.data(), machines(), needs, rules)
def test_who_is_told_that_no_waiting_helps_would_find_nothing_on_an_empty_machine(
    data: st.DataObject, machine: GpuSnapshot, need: Need, asked: GpuRules
) -> None:
    need = replace(need, memory=data.draw(st.integers(1, 2 * TOTAL)))
    empty = replace(
        machine,
        gpus=tuple(
            gpu if gpu.silent else replace(gpu, memory_free=TOTAL, utilization=0, processes=())
            for gpu in machine.gpus
        ),
    )
    if never_enough(machine, need, asked):
        assert not place(empty, need, asked, {}).gpus


samples = st.lists(
    st.tuples(
        st.sampled_from([0.2, 1.0, 1.0, 2.0, 4.9, BREAK_SECONDS + 0.1, -1.0]),
        st.sampled_from(["fine"] * 12 + ["busy", "full", "gone", "dumb"]),
    ),
    min_size=1,
    max_size=40,
)


@given(samples, st.sampled_from([0.0, 1.0, 5.0, 10.0]))
def test_no_hold_is_shorter_than_asked_and_none_longer_than_it_must(
    steps: list[tuple[float, str]], hold: float
) -> None:
    asked = GpuRules(max_utilization=10, hold=hold)
    history = GpuHistory()
    now, past = 1000.0, list[tuple[float, str]]()
    for step, what in steps:
        now += step
        past.append((now, what))
        history = history.observe(sample(now, what), hold)
    if past[-1][1] == "dumb":
        return
    since = None
    for (at, what), (later, _) in zip(reversed(past), reversed([*past[1:], past[-1]]), strict=True):
        if what != "fine" or not 0 <= later - at <= BREAK_SECONDS:
            break
        since = at
    kept = since is not None and past[-1][0] - since >= hold
    placement = place(sample(*past[-1]), Need(20), asked, {}, history=history)
    assert bool(placement.gpus) == kept


def sample(at: float, what: str) -> GpuSnapshot:
    if what == "dumb":
        return GpuSnapshot(at, "test", error="no answer")
    gpu = Gpu(0, "GPU-0", "test", memory_total=TOTAL, memory_free=TOTAL, utilization=0)
    changes: dict[str, dict[str, object]] = {
        "busy": {"utilization": 11},
        "full": {"memory_free": 19},
    }
    shown = () if what == "gone" else (replace(gpu, **changes.get(what, {})),)  # type: ignore[arg-type]
    return GpuSnapshot(at, "test", shown)


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.booleans(), st.floats(0, 1), st.sampled_from(["start", "end"])),
        max_size=40,
    ),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
)
def test_jobs_that_share_never_ask_for_more_than_there_is_together(
    steps: list[tuple[int, bool, float, str]], foreign: list[int]
) -> None:
    """Each job uses some part of what it asked for; which part, another job must not rely on."""
    running: dict[int, tuple[str, Claim, int]] = {}
    for number, (memory, share, part, what) in enumerate(steps, start=1):
        if what == "end" and running:
            del running[min(running)]
            continue
        claims: Claims = {}
        for uuid, claim, _ in running.values():
            claims = with_claim(claims, [uuid], claim)
        shown = tuple(
            Gpu(
                index,
                f"GPU-{index}",
                "test",
                memory_total=TOTAL,
                memory_free=TOTAL
                - taken
                - sum(used for uuid, _, used in running.values() if uuid == f"GPU-{index}"),
                utilization=100 if f"GPU-{index}" in claims else 0,
                processes=tuple(
                    GpuProcess(claim.pid or 0, used, "compute", session=claim.pid)
                    for uuid, claim, used in running.values()
                    if uuid == f"GPU-{index}"
                ),
            )
            for index, taken in enumerate(foreign)
        )
        machine = GpuSnapshot(1000.0, "test", shown)
        for uuid in place(machine, Need(memory, 1, share), GpuRules(), claims).gpus:
            running[number] = (uuid, Claim(number, memory, share, 1000 + number), int(memory * part))
        for index, taken in enumerate(foreign):
            there = [claim for uuid, claim, _ in running.values() if uuid == f"GPU-{index}"]
            assert taken + sum(claim.memory for claim in there) <= TOTAL
            assert len(there) <= 1 or all(claim.shared for claim in there)


def test_sharing_is_allowed_as_soon_as_the_room_is_there() -> None:
    running = Claim(1, 30, True, 101)
    loading = Gpu(0, "GPU-0", "test", memory_total=80, memory_free=75, utilization=95)
    loading = replace(loading, processes=(GpuProcess(7, 5, "compute", session=101),))
    machine = GpuSnapshot(1000.0, "test", (loading,))
    assert place(machine, Need(50, 1, True), GpuRules(), {"GPU-0": (running,)}).gpus == ("GPU-0",)
    waits = place(machine, Need(51, 1, True), GpuRules(), {"GPU-0": (running,)}).waits_for
    assert waits.endswith("GPU 0 has 0 GiB beside what job 1 will take")
    alone = place(machine, Need(1), GpuRules(), {"GPU-0": (running, replace(running, job=2))})
    assert alone.waits_for.endswith("GPU 0 is held by jobs 1, 2")
    foreign = replace(loading, processes=(*loading.processes, GpuProcess(8, 1, "compute")))
    with_others = GpuSnapshot(1000.0, "test", (foreign,))
    assert place(with_others, Need(1, 1, True), GpuRules(), {"GPU-0": (running,)}).waits_for.endswith(
        "GPU 0 is 95% busy"
    )
