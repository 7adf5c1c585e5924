"""When a GPU counts as one that has become free: once a change, and not for a flicker."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from hitui.domain.claims import Claim, Claims
from hitui.domain.freeing import SETTLE_SECONDS, Spell, observe
from hitui.domain.gpus import Gpu, GpuSnapshot
from hitui.domain.notices import of_free_gpu
from hitui.domain.placement import GpuRules, Need
from hitui.settings import Settings
from hitui.supervisor import freeing

GIB = 1 << 30
GPU = Gpu(3, "GPU-3", "H100", 80 * GIB, 0, 80 * GIB, 0)
FULL = replace(GPU, memory_used=70 * GIB, memory_free=10 * GIB)
BUSY = replace(GPU, utilization=90)
RULES = GpuRules(hold=10.0)


class Watcher:
    """Readings a second apart, and when the GPU was told of."""

    def __init__(self, rules: GpuRules = RULES) -> None:
        self.rules = rules
        self.now = 1000.0
        self.known: dict[str, Spell] = {}
        self.told: list[float] = []

    def see(
        self, gpu: Gpu | None, seconds: int, claims: Claims | None = None, locked: Sequence[str] = ()
    ) -> list[float]:
        """How long after the first of these readings it was told of."""
        begun = self.now
        told = []
        for _ in range(seconds):
            snapshot = GpuSnapshot(
                self.now, "test", () if gpu is None else (gpu,), error=None if gpu else "no"
            )
            self.known, freed = observe(
                self.known, snapshot, Need(20 * GIB), self.rules, claims or {}, locked
            )
            told += [self.now - begun for _ in freed]
            self.now += 1
        return told


def test_one_that_was_in_use_is_told_of_once_when_it_has_stayed_free() -> None:
    for used in (FULL, BUSY):
        watcher = Watcher()
        assert watcher.see(used, 20) == []
        assert watcher.see(GPU, 60) == [RULES.hold + SETTLE_SECONDS]
        assert watcher.see(used, 20) == []
        assert watcher.see(GPU, 60) == [RULES.hold + SETTLE_SECONDS]


def test_one_that_was_never_seen_in_use_is_no_news() -> None:
    assert Watcher().see(GPU, 60) == []


def test_a_flicker_either_way_is_no_news() -> None:
    watcher = Watcher()
    watcher.see(GPU, 20)
    for _ in range(5):
        assert watcher.see(BUSY, 5) == []
        assert watcher.see(GPU, 30) == []
    watcher.see(BUSY, 20)
    for _ in range(5):
        assert watcher.see(GPU, 12) == []
        assert watcher.see(BUSY, 1) == []


def test_one_that_our_own_job_leaves_or_takes() -> None:
    watcher = Watcher()
    claims = {"GPU-3": (Claim(7, 20 * GIB),)}
    watcher.see(FULL, 20)
    # The queue takes it within the time it has.
    watcher.see(GPU, 11)
    assert watcher.see(GPU, 600, claims) == []
    assert watcher.see(GPU, 60) == [13.0]


def test_one_that_another_hitui_has_locked_is_not_free() -> None:
    watcher = Watcher()
    watcher.see(FULL, 20)
    assert watcher.see(GPU, 60, locked=("GPU-3",)) == []
    assert watcher.see(GPU, 60) == [13.0]


def test_a_driver_that_does_not_answer_says_nothing_of_the_time_between() -> None:
    watcher = Watcher()
    watcher.see(FULL, 20)
    assert watcher.see(GPU, 8) == []
    assert watcher.see(None, 10) == []
    assert watcher.see(GPU, 60) == [13.0]
    assert watcher.see(None, 100) == []
    assert watcher.see(GPU, 60) == []


def test_a_clock_that_was_set_back_begins_the_time_anew() -> None:
    watcher = Watcher()
    watcher.see(FULL, 20)
    watcher.see(GPU, 12)
    watcher.now -= 3600
    assert watcher.see(GPU, 60) == [13.0]


def test_one_that_is_excluded_is_never_told_of_and_hides_no_other() -> None:
    watcher = Watcher(GpuRules(exclude=frozenset({3})))
    watcher.see(FULL, 20)
    assert watcher.see(GPU, 60) == []
    pair = GpuSnapshot(1000.0, "test", (GPU, replace(GPU, uuid=""), replace(GPU, index=4, uuid="GPU-4")))
    spells, _ = observe({}, pair, Need(20 * GIB), watcher.rules, {})
    assert list(spells) == ["GPU-4"]


def test_it_is_said_how_much_of_it_is_free() -> None:
    assert of_free_gpu(GPU).text == "GPU 3 is free: 80 GiB of 80 GiB (H100)"
    device = Gpu(0, "MIG-1", "", memory_free=9 * GIB, mig_index=1)
    assert of_free_gpu(device).text == "GPU 0:1 is free: 9 GiB"


async def test_a_disk_that_times_out_is_asked_again_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python calls that error as asyncio calls the end of a wait."""
    noted = asyncio.Event()
    monkeypatch.setattr(freeing, "note_error", noted.set)

    def wants(kind: object) -> bool:
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    store: Any = SimpleNamespace(claims=dict)
    notifier: Any = SimpleNamespace(wants=wants)
    watching = freeing.Freeing(store, lambda: Settings(tmp_path), notifier, lambda: None)
    running = asyncio.create_task(watching.run())
    await asyncio.wait_for(noted.wait(), 20)
    running.cancel()
