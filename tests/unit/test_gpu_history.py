"""The GPUs' last day: nothing is lost by folding but resolution, and a gap stays one."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hitui.domain.gpu_history import LEVELS, GpuBin, Measure, bins_of, due_before, folded, merged
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot
from hitui.domain.records import GpuUse, used_gpus
from hitui.supervisor.history_tables import HistoryTables, connect
from hitui.supervisor.store import Store

NOW = 1_700_000_123.0
DAY = 24 * 3600
GIB = 2**30

measures = st.lists(st.integers(0, 100), max_size=4).map(
    lambda values: Measure(len(values), sum(values), max(values, default=0))
)
users = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)).map(
    lambda found: tuple(sorted(found.items()))
)


@st.composite
def bins(draw: st.DrawFn, oldest: int = DAY - 700) -> list[GpuBin]:
    """As they come about: one reading after the other, folded now and then."""
    ages = draw(st.lists(st.integers(0, oldest), max_size=40))
    return [
        GpuBin(
            draw(st.sampled_from(["GPU-1", "GPU-2"])),
            int(NOW - age) // 10 * 10,
            10,
            draw(measures),
            draw(measures),
            draw(users),
        )
        for age in sorted(ages, reverse=True)
    ]


def sums(found: list[GpuBin] | tuple[GpuBin, ...], uuid: str) -> tuple[object, ...]:
    own = [one for one in found if one.uuid == uuid]
    highest: dict[str, int] = {}
    for one in own:
        for user, memory in one.users:
            highest[user] = max(memory, highest.get(user, 0))
    return (
        sum(one.memory.count for one in own),
        sum(one.memory.total for one in own),
        max((one.memory.highest for one in own), default=0),
        sum(one.utilization.count for one in own),
        sum(one.utilization.total for one in own),
        max((one.utilization.highest for one in own), default=0),
        highest,
    )


@given(bins())
def test_folding_keeps_sums_maxima_and_users(given_bins: list[GpuBin]) -> None:
    result = folded(given_bins, NOW)
    for uuid in ("GPU-1", "GPU-2"):
        assert sums(result, uuid) == sums(given_bins, uuid)


@given(bins())
def test_every_bin_is_as_wide_as_its_age_asks_and_none_overlap(given_bins: list[GpuBin]) -> None:
    result = folded(given_bins, NOW)
    for one in result:
        assert one.start % one.seconds == 0
        younger = [horizon for width, horizon in LEVELS if width < one.seconds]
        assert all(one.start + one.seconds <= NOW - horizon for horizon in younger)
        horizon = dict(LEVELS)[one.seconds]
        assert one.start + one.seconds > NOW - horizon - 600
    for uuid in ("GPU-1", "GPU-2"):
        own = [one for one in result if one.uuid == uuid]
        assert all(a.start + a.seconds <= b.start for a, b in pairwise(own))


@given(bins(), st.integers(0, DAY))
def test_folding_in_steps_is_folding_at_once(given_bins: list[GpuBin], step: int) -> None:
    past = [one for one in given_bins if one.start <= NOW - step]
    later = [one for one in given_bins if one.start > NOW - step]
    assert folded([*folded(past, NOW - step), *later], NOW) == folded(given_bins, NOW)


@given(bins(oldest=3 * DAY))
def test_what_is_not_due_is_not_changed_by_folding(given_bins: list[GpuBin]) -> None:
    before = due_before(NOW)
    rest = [one for one in merged(given_bins) if one.start >= before[one.seconds]]
    assert folded(rest, NOW) == tuple(rest)


def test_a_day_of_readings_needs_fewer_than_a_thousand_bins_and_leaves_gaps() -> None:
    width = LEVELS[0][0]
    start = int(NOW) // 600 * 600 - 2 * DAY
    history: tuple[GpuBin, ...] = ()
    silent = range(start + DAY + 7200, start + DAY + 9000)
    for at in range(start, int(NOW), 600):
        new = [
            GpuBin("GPU-1", moment, width, Measure(10, 10, 1))
            for moment in range(at, at + 600, width)
            if moment not in silent
        ]
        history = folded((*history, *new), at + 600)
    assert len(history) < 1000
    assert not [one for one in history if one.start in silent]
    assert all(one.memory.count for one in history)


def test_a_reading_counts_what_the_driver_gives_and_who_uses_it() -> None:
    processes = (
        GpuProcess(1, 3 * GIB, "compute", "ada"),
        GpuProcess(2, 2 * GIB, "compute", "ada"),
        GpuProcess(3, None, "compute", None),
    )
    gpus = (
        Gpu(0, "GPU-1", "A", memory_total=80 * GIB, memory_used=6 * GIB, processes=processes),
        Gpu(1, "GPU-2", "A", error="lost: it fell off the bus"),
    )
    (one,) = bins_of(GpuSnapshot(NOW, "nvml", gpus))
    assert one == GpuBin(
        "GPU-1", 1_700_000_120, 10, Measure(1, 6 * GIB, 6 * GIB), Measure(), (("?", 0), ("ada", 5 * GIB))
    )
    assert one.utilization.mean is None
    assert bins_of(GpuSnapshot(NOW, "nvml", gpus, error="the driver does not answer")) == ()


def test_the_file_holds_what_folding_at_once_would_make_of_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Store(path).close()
    tables = HistoryTables(connect(path))
    every: list[GpuBin] = []
    start = int(NOW) // 600 * 600 - DAY - 7200
    for at in range(start, start + DAY + 7200, 420):
        new = [GpuBin("GPU-1", at // 10 * 10, 10, Measure(2, at % 97, 60), users=(("ada", at % 13),))]
        every += new
        tables.add_bins(new, at)
        # A bin that was not over yet comes once more with the rest of it.
        tables.add_bins(new, at)
    end = start + DAY + 7200.0
    tables.add_bins([], end)
    assert tables.bins() == folded([*every, *every], end)
    tables.close()
    with sqlite3.connect(path) as database:
        (rows,) = database.execute("SELECT count(*) FROM gpu_history").fetchone()
    database.close()
    assert rows == len(folded(every, end))


def test_a_clock_that_was_ahead_leaves_nothing_behind() -> None:
    ahead = GpuBin("GPU-1", int(NOW) // 10 * 10 + DAY, 10, Measure(1, 1, 1))
    assert folded([ahead], NOW) == ()


def test_of_a_gpu_that_a_job_held_its_own_most_is_kept() -> None:
    def read(*processes: GpuProcess, name: str = "H200") -> GpuSnapshot:
        return GpuSnapshot(NOW, "test", (Gpu(0, "GPU-0", name, processes=processes),))

    other = GpuProcess(9, 50 * GIB, "compute", session=9)
    runner, helper = GpuProcess(7, 2 * GIB, "compute"), GpuProcess(8, GIB, "compute", session=7)
    uses: tuple[GpuUse, ...] = ()
    for snapshot, peak in (
        (read(other), None),
        (read(other, runner, helper), 3 * GIB),
        (read(other, helper, GpuProcess(7, None, "compute")), 3 * GIB),
        (read(other, name=""), 3 * GIB),
        (GpuSnapshot(NOW, "test", error="no answer"), 3 * GIB),
    ):
        uses = used_gpus(("GPU-1", "GPU-0"), uses, snapshot, 7)
        assert uses == (GpuUse("GPU-1"), GpuUse("GPU-0", "0", "H200", peak))
