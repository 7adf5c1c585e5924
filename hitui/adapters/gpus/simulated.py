"""GPUs that stand in a folder, for the demo and for tests: a file describes them, processes claim them.

    DIR/gpus.json          {"driver": "simulated", "gpus": [{"index": 0, "uuid": "GPU-…", "name": "…",
                           "memory_total": bytes, "memory_used": bytes (by others), "utilization": %,
                           "temperature": °C, "power": W, "power_limit": W, "error": null,
                           "processes": [{"pid": …, "memory": bytes, "user": "…", "command": "…"}]}]}
    DIR/claims/PID.json    {"pid": …, "start_time": field 22 of /proc/PID/stat,
                           "memory": {"GPU-…": bytes}, "utilization": %}

A claim counts as long as its process lives, which pid and start time tell: a runner that was killed gives
its memory back as with a real driver. Both files are replaced atomically by who writes them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from hitui.adapters.gpus.process_names import ProcessNames, session_of
from hitui.adapters.processes import Process, alive
from hitui.decoding import json_decoder
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot

FOLDER_VARIABLE = "HITUI_SIMULATED_GPUS"


class _Process(msgspec.Struct, frozen=True):
    pid: int
    memory: int | None = None
    user: str | None = None
    command: str | None = None


class _Gpu(msgspec.Struct, frozen=True):
    index: int
    uuid: str
    name: str
    memory_total: int
    memory_used: int = 0
    utilization: int | None = 0
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    error: str | None = None
    processes: tuple[_Process, ...] = ()


class _File(msgspec.Struct, frozen=True):
    gpus: tuple[_Gpu, ...]
    driver: str | None = None


class _Claim(msgspec.Struct, frozen=True):
    pid: int
    start_time: int
    memory: dict[str, int]
    utilization: int = 0


class _Unreadable(Exception):
    """A file of the folder, and what is wrong with it, in one line."""


_T = TypeVar("_T", bound=msgspec.Struct)


class SimulatedSource:
    """The GPUs of a folder; without one, that of `HITUI_SIMULATED_GPUS`."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder if folder is not None else Path(os.environ.get(FOLDER_VARIABLE, ""))
        self._names = ProcessNames()

    def read(self) -> GpuSnapshot:
        taken_at = time.time()
        try:
            described = _decoded(self._folder / "gpus.json", _File)
            claims = self._live_claims()
        except _Unreadable as error:
            return GpuSnapshot(taken_at, "simulated", error=str(error))
        gpus = sorted((self._gpu(entry, claims) for entry in described.gpus), key=lambda gpu: gpu.index)
        self._names.forget_all_but(claim.pid for claim in claims)
        return GpuSnapshot(taken_at, "simulated", tuple(gpus), described.driver)

    def close(self) -> None:
        """Nothing is held open."""

    def _live_claims(self) -> list[_Claim]:
        claims = []
        for file in sorted((self._folder / "claims").glob("*.json")):
            try:
                claim = _decoded(file, _Claim)
            except _Unreadable:
                if not file.exists():
                    # Its process took it back between the listing and the reading.
                    continue
                raise
            if alive(Process(claim.pid, claim.start_time)):
                claims.append(claim)
        return claims

    def _gpu(self, entry: _Gpu, claims: list[_Claim]) -> Gpu:
        gpu = Gpu(index=entry.index, uuid=entry.uuid, name=entry.name, error=entry.error)
        if entry.error is not None:
            return gpu
        ours = [claim for claim in claims if entry.uuid in claim.memory]
        claimed = sum(claim.memory[entry.uuid] for claim in ours)
        used = min(entry.memory_total, entry.memory_used + claimed)
        utilization = entry.utilization
        if ours:
            utilization = min(100, (utilization or 0) + sum(claim.utilization for claim in ours))
        processes = [
            GpuProcess(process.pid, process.memory, "compute", process.user, process.command)
            for process in entry.processes
        ]
        processes += [
            GpuProcess(
                claim.pid,
                claim.memory[entry.uuid],
                "compute",
                *self._names.describe(claim.pid),
                session_of(claim.pid),
            )
            for claim in ours
        ]
        return replace(
            gpu,
            memory_total=entry.memory_total,
            memory_used=used,
            memory_free=entry.memory_total - used,
            utilization=utilization,
            temperature=entry.temperature,
            power=entry.power,
            power_limit=entry.power_limit,
            processes=tuple(sorted(processes, key=lambda process: (-(process.memory or 0), process.pid))),
        )


def _decoded(file: Path, kind: type[_T]) -> _T:
    try:
        return json_decoder(kind)(file.read_bytes())
    except OSError as error:
        raise _Unreadable(
            f"{file}: cannot be read ({error.strerror}); {FOLDER_VARIABLE} names its folder"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"{file}: {error}; mend it, or remove it if it is a claim") from error
