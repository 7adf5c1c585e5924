"""GPUs as the driver describes them, at one moment. Memory in bytes, power in watts, temperature in °C."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec.structs import replace


class GpuProcess(msgspec.Struct, frozen=True):
    pid: int
    memory: int | None
    """Bytes; None: the driver does not say."""
    kind: str
    """`compute`, `graphics` or `mps`, joined by `+` where a process is several."""
    user: str | None = None
    """None: no such pid here (another container) or not readable."""
    command: str | None = None
    session: int | None = None
    """Its session's id, which is the pid of a job's runner for whatever that runner started."""


class GpuLock(msgspec.Struct, frozen=True):
    """That a job of some hitui holds a GPU, whether it uses it yet or not."""

    pid: int
    """Of the supervisor that took the lock, which may be gone while its job goes on."""
    user: str | None = None
    """Whose it is; None: it cannot be told, and then nothing else can."""
    workspace: str = ""
    """Folder."""
    own: bool = False
    """It is of the user who reads this."""

    @property
    def words(self) -> str:
        """`locked by bob's hitui`, `locked by your hitui in eval`, `locked by another hitui`."""
        if self.own:
            return f"locked by your hitui in {self.workspace.rstrip('/').rpartition('/')[2] or '/'}"
        return f"locked by {self.user}'s hitui" if self.user else "locked by another hitui"


class Gpu(msgspec.Struct, frozen=True):
    """One GPU, or one MIG device of one. A value that the driver does not give is None."""

    index: int
    """PCI bus order, as CUDA_DEVICE_ORDER=PCI_BUS_ID and nvidia-smi count."""
    uuid: str
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    memory_free: int | None = None
    utilization: int | None = None
    """Percent of the last sample period in which a kernel ran."""
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    processes: tuple[GpuProcess, ...] = ()
    mig_index: int | None = None
    """Index of the MIG device within its GPU; None: a whole GPU."""
    mig_parent: str | None = None
    """UUID of the GPU of a MIG device."""
    mig_enabled: bool = False
    """True for a whole GPU in MIG mode: jobs go to its MIG devices, which follow it in the snapshot."""
    error: str | None = None
    """Why the driver does not answer for it (`lost: …`), or which values it failed to give; what stands
    before the first colon is the short form. None: all is well."""
    lock: GpuLock | None = None
    """None: none stands on it, or none that can be seen."""

    @property
    def silent(self) -> bool:
        """The driver gives nothing of it; with an `error` alone, some value could not be read."""
        return self.error is not None and self.memory_total is None

    @property
    def label(self) -> str:
        """`3`, or `3:1` for MIG device 1 of GPU 3."""
        return str(self.index) if self.mig_index is None else f"{self.index}:{self.mig_index}"


class GpuSnapshot(msgspec.Struct, frozen=True):
    """All GPUs at one moment."""

    taken_at: float
    """Seconds since the epoch."""
    source: str
    """`nvml` or `simulated`; the screen says when it is not nvml."""
    gpus: tuple[Gpu, ...] = ()
    """In index order, each GPU's MIG devices behind it."""
    driver: str | None = None
    error: str | None = None
    """Why there is nothing to read at all (no driver, wrong version, no answer since …); None: all is well."""

    def without_own_locks(self, supervisor_pid: int | None, held: Collection[str]) -> GpuSnapshot:
        """Without the locks that this supervisor has taken, or that stand on the GPUs (UUIDs) which its jobs hold: what
        is theirs is told by the jobs themselves."""
        ours = [
            gpu.lock is not None and (gpu.lock.pid == supervisor_pid or gpu.uuid in held) for gpu in self.gpus
        ]
        if not any(ours):
            return self
        gpus = tuple(
            replace(gpu, lock=None) if own else gpu for gpu, own in zip(self.gpus, ours, strict=True)
        )
        return replace(self, gpus=gpus)

    @property
    def labels(self) -> dict[str, str]:
        """UUID → label."""
        return {gpu.uuid: gpu.label for gpu in self.gpus}
