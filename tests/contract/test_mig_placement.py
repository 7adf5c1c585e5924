"""Jobs on MIG devices: each is a GPU of its own, as the driver describes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hitui.adapters.gpus.nvml import NvmlSource
from hitui.domain.claims import Claim, Claims, with_claim
from hitui.domain.gpus import GpuSnapshot
from hitui.domain.placement import GpuRules, Need, never_enough, place
from tests.tools.nvml_sim.driver import NvmlDriver

GIB = 1024**3
SLICES = """
gpu * mem_total 40GiB
gpu 0 mig 1
gpu 0 uuid GPU-parent
gpu 1 uuid GPU-whole
gpu 1 mem_used 25GiB
mig 0.0 uuid MIG-zero
mig 0.0 mem_total 20GiB
mig 0.1 uuid MIG-one
mig 0.1 mem_total 20GiB
mig 0.1 mem_used 2GiB
"""


@pytest.fixture
def machine(nvml_driver: NvmlDriver) -> Iterator[GpuSnapshot]:
    nvml_driver.write(SLICES)
    source = NvmlSource(reopen_seconds=0)
    yield source.read()
    source.close()


def test_each_slice_takes_one_job_and_their_gpu_none(machine: GpuSnapshot) -> None:
    claims: Claims = {}
    given = []
    for job in (1, 2, 3, 4):
        placement = place(machine, Need(10 * GIB), GpuRules(), claims)
        given.append(placement.gpus)
        claims = with_claim(claims, placement.gpus, Claim(job, 10 * GIB))
    assert given == [("MIG-zero",), ("MIG-one",), ("GPU-whole",), ()]
    assert placement.waits_for == (
        "10 GiB free on one GPU: GPU 0:0 is held by job 1; GPU 0:1 is held by job 2; GPU 1 is held by job 3"
    )


def test_slices_are_named_by_their_labels_and_shared_like_gpus(machine: GpuSnapshot) -> None:
    assert place(machine, Need(10 * GIB), GpuRules(), {}, ["0:1"]).gpus == ("MIG-one",)
    sharing = {"MIG-one": (Claim(1, 10 * GIB, shared=True),)}
    assert place(machine, Need(8 * GIB, share=True), GpuRules(), sharing, ["0:1"]).gpus == ("MIG-one",)
    waits_for = place(machine, Need(9 * GIB, share=True), GpuRules(), sharing, ["0:1"]).waits_for
    assert waits_for == "9 GiB free on GPU 0:1: GPU 0:1 has 8 GiB beside what job 1 will take"


def test_a_job_on_two_gpus_gets_no_slices_unless_they_are_named(machine: GpuSnapshot) -> None:
    two = Need(10 * GIB, gpus=2)
    assert never_enough(machine, two, GpuRules()).endswith("there is 1")
    assert place(machine, two, GpuRules(), {}).waits_for == (
        "10 GiB free on 2 GPUs: GPU 0:0, 0:1 are no whole ones, as a job on 2 GPUs needs; GPU 1 is free"
    )
    assert place(machine, two, GpuRules(), {}, ["0:0", "0:1"]).gpus == ("MIG-zero", "MIG-one")


def test_an_excluded_gpu_excludes_its_slices(machine: GpuSnapshot) -> None:
    only_whole = GpuRules(exclude=frozenset({0}))
    assert place(machine, Need(GIB), only_whole, {}).gpus == ("GPU-whole",)
