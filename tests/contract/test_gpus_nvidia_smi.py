"""What is read of a real driver is what `nvidia-smi` says of it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from hitui.adapters.gpus.nvml import NvmlSource

pytestmark = pytest.mark.gpu
MIB = 1024**2
FIELDS = ("index", "uuid", "name", "memory.total", "memory.used")


def test_every_gpu_is_listed_with_its_name_and_its_memory() -> None:
    program = shutil.which("nvidia-smi")
    if program is None:
        pytest.skip("no nvidia-smi here")
    run = subprocess.run(
        [program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = [[value.strip() for value in line.split(",")] for line in run.stdout.splitlines()]
    source = NvmlSource(reopen_seconds=0)
    try:
        snapshot = source.read()
    finally:
        source.close()
    assert snapshot.error is None
    assert told
    assert [(str(gpu.index), gpu.uuid, gpu.name) for gpu in snapshot.gpus] == [tuple(row[:3]) for row in told]
    for gpu, (*_, total, used) in zip(snapshot.gpus, told, strict=True):
        assert gpu.memory_total // MIB == int(total)
        # Between the two readings another process may have taken or given back some.
        assert gpu.memory_used == pytest.approx(int(used) * MIB, abs=gpu.memory_total / 10)
