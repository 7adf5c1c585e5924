"""Readings of GPUs with the locks of everyone's hitui: a job that has just started uses nothing of its GPU yet."""

from __future__ import annotations

import os

from msgspec.structs import replace

from hitui.adapters.executors.locks import lock_takers
from hitui.adapters.gpus.base import GpuSource
from hitui.adapters.gpus.process_names import ProcessNames
from hitui.domain.gpus import GpuLock, GpuSnapshot
from hitui.paths import gpu_lock_home

_SUPERVISOR = " -m hitui.supervisor "


class WithLocks:
    """A source of readings that looks at the locks too; made for one thread."""

    def __init__(self, source: GpuSource) -> None:
        self._source = source
        self._names = ProcessNames()
        self._own_user, _ = ProcessNames().describe(os.getpid())

    def read(self) -> GpuSnapshot:
        snapshot = self._source.read()
        takers = lock_takers(gpu_lock_home(), [gpu.uuid for gpu in snapshot.gpus if gpu.uuid])
        self._names.forget_all_but(takers.values())
        if not takers:
            return snapshot
        locks = {uuid: self._lock(pid) for uuid, pid in takers.items()}
        return replace(snapshot, gpus=tuple(replace(gpu, lock=locks.get(gpu.uuid)) for gpu in snapshot.gpus))

    def close(self) -> None:
        self._source.close()

    def _lock(self, pid: int) -> GpuLock:
        user, command = self._names.describe(pid)
        workspace = (command or "").partition(_SUPERVISOR)[2]
        if not workspace:
            # It is gone, and its number may be another program's by now.
            return GpuLock(pid)
        return GpuLock(pid, user, workspace, own=user is not None and user == self._own_user)
