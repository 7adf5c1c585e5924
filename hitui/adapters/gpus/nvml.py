"""GPUs as NVIDIA's driver describes them, through NVML (`nvidia-ml-py`, module `pynvml`).

Function and error names are those of the NVML API reference. Memory is that of the second version of the
memory call, as nvidia-smi shows it: what the driver reserves for itself counts neither as used nor as
free. Any call here may hang as long as the driver does; that is the caller's to see (`monitor`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pynvml

from hitui.adapters.gpus.process_names import ProcessNames, merged
from hitui.domain.gpus import Gpu, GpuProcess, GpuSnapshot

REOPEN_SECONDS = 30.0
"""How often the library is initialised anew while a GPU is lost; on real servers that may take seconds."""

_NOT_GIVEN = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_DATA,
    }
)
"""The driver does not give this value, here or to us: None, and nothing to complain of."""
_DRIVER_GONE = frozenset({pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED})
"""The driver went away under us: nothing is read until the library is initialised again."""
_GPU_GONE = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})
"""No call about this GPU will answer until it was reset and the library initialised again."""
_OTHER_LAYOUT = frozenset({pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH})

_DRIVER_LINES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver here: libnvidia-ml.so.1 is absent or cannot be loaded; "
    "install the driver, or give the container its GPUs",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded; load it (modprobe nvidia) or reboot",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "driver and libnvidia-ml.so.1 are of different versions, as after an "
    "update; reboot, or load the new driver",
    pynvml.NVML_ERROR_NO_PERMISSION: "the driver refuses this user; look at the rights of /dev/nvidiactl and /dev/nvidia*",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "libnvidia-ml.so.1 is too old for hitui; update the driver",
}
# What stands before the colon is the short form.
_GPU_LINES = {
    pynvml.NVML_ERROR_GPU_IS_LOST: "lost: the driver no longer answers for it; reset it or reboot (dmesg says why: Xid)",
    pynvml.NVML_ERROR_RESET_REQUIRED: "needs a reset: end what runs on it, then nvidia-smi --gpu-reset",
    pynvml.NVML_ERROR_NO_PERMISSION: "not ours: this user or container may not use it",
}

_PROCESS_CALLS: Mapping[str, tuple[Callable[[Any], list[Any]], ...]] = {
    kind: tuple(
        getattr(pynvml, name)
        for name in (f"nvmlDeviceGet{middle}RunningProcesses_v{version}" for version in (3, 2))
        if hasattr(pynvml, name)
    )
    for kind, middle in (("compute", "Compute"), ("graphics", "Graphics"), ("mps", "MPSCompute"))
}
"""The calls that list processes, newest first; not every release of the binding has the older ones."""

_T = TypeVar("_T")


class _Questions:
    """Asks for the values of one device and collects what failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def ask(self, what: str, call: Callable[..., _T], *arguments: object) -> _T | None:
        """The answer; None where the driver does not give it, or failed (which is noted).

        Raises NVMLError when the GPU or the driver is gone, so that no more is asked.
        """
        try:
            return call(*arguments)
        except pynvml.NVMLError as error:
            code = _code(error)
            if code in _GPU_GONE or code in _DRIVER_GONE:
                raise
            if code not in _NOT_GIVEN:
                self.failed.append(f"{what}: not read ({error})")
            return None

    @property
    def error(self) -> str | None:
        return "; ".join(self.failed) or None


class NvmlSource:
    """All GPUs of the driver, MIG devices behind their GPU. Initialises the library by itself, and again
    when the driver or a GPU was gone."""

    def __init__(self, reopen_seconds: float = REOPEN_SECONDS) -> None:
        self._reopen_seconds = reopen_seconds
        self._open = False
        self._opened_at = 0.0
        self._handles: list[Any] = []
        self._identities: dict[int, tuple[str, str]] = {}
        self._names = ProcessNames()
        self._any_gone = False

    def read(self) -> GpuSnapshot:
        taken_at = time.time()
        if self._any_gone and time.monotonic() - self._opened_at >= self._reopen_seconds:
            self.close()
        driver = None
        try:
            if not self._open:
                self._initialise()
            driver = _Questions().ask("driver version", pynvml.nvmlSystemGetDriverVersion)
            gpus = self._read_all()
        except pynvml.NVMLError as error:
            self.close()
            return GpuSnapshot(taken_at, "nvml", driver=driver, error=_driver_line(error))
        self._names.forget_all_but(process.pid for gpu in gpus for process in gpu.processes)
        return GpuSnapshot(taken_at, "nvml", gpus, driver)

    def close(self) -> None:
        self._handles = []
        self._any_gone = False
        if self._open:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                # It is given back all the same: a driver that is gone has nothing to shut down.
                return

    def _initialise(self) -> None:
        pynvml.nvmlInit()
        self._open = True
        self._opened_at = time.monotonic()

    def _read_all(self) -> tuple[Gpu, ...]:
        """Raises NVMLError when the driver is gone, or does not even count."""
        count = pynvml.nvmlDeviceGetCount()
        if count != len(self._handles):
            self._handles = [None] * count
        gpus: list[Gpu] = []
        self._any_gone = False
        for index in range(count):
            gpus += self._read_gpu(index)
        return tuple(gpus)

    def _read_gpu(self, index: int) -> Sequence[Gpu]:
        """The GPU, and its MIG devices behind it. Raises NVMLError only when the driver is gone."""
        try:
            handle = self._handles[index]
            if handle is None:
                handle = self._handles[index] = pynvml.nvmlDeviceGetHandleByIndex(index)
            questions = _Questions()
            uuid, name = self._identity(questions, index, handle)
            mig_mode = questions.ask("MIG mode", pynvml.nvmlDeviceGetMigMode, handle)
            mig_enabled = mig_mode is not None and mig_mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE
            # In MIG mode every process runs on a MIG device and is listed there.
            processes = () if mig_enabled else self._processes(questions, handle)
            total, used, free = _memory(questions, handle)
            rates = questions.ask("utilisation", pynvml.nvmlDeviceGetUtilizationRates, handle)
            power = questions.ask("power", pynvml.nvmlDeviceGetPowerUsage, handle)
            power_limit = questions.ask("power limit", pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
            temperature = questions.ask(
                "temperature", pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU
            )
            mig_devices = self._read_mig_devices(questions, index, uuid, handle) if mig_enabled else []
        except pynvml.NVMLError as error:
            if _code(error) in _DRIVER_GONE:
                raise
            return [self._gone(index, error)]
        gpu = Gpu(
            index=index,
            uuid=uuid,
            name=name,
            memory_total=total,
            memory_used=used,
            memory_free=free,
            utilization=None if rates is None else rates.gpu,
            temperature=temperature,
            power=None if power is None else power / 1000,
            power_limit=None if power_limit is None else power_limit / 1000,
            processes=processes,
            mig_enabled=mig_enabled,
            error=questions.error,
        )
        return [gpu, *mig_devices]

    def _identity(self, questions: _Questions, index: int, handle: Any) -> tuple[str, str]:
        """UUID and name. The UUID is asked for each time: another GPU may have come to this index."""
        known = self._identities.get(index, ("", ""))
        uuid = questions.ask("UUID", pynvml.nvmlDeviceGetUUID, handle)
        if uuid is not None and uuid != known[0]:
            known = (uuid, questions.ask("name", pynvml.nvmlDeviceGetName, handle) or "")
            self._identities[index] = known
        return known

    def _gone(self, index: int, error: Any) -> Gpu:
        # The handle is asked for again next time: of a GPU that came back the old one may be void.
        self._handles[index] = None
        self._any_gone = True
        uuid, name = self._identities.get(index, ("", ""))
        line = _GPU_LINES.get(_code(error), f"no answer: the driver fails for it ({error})")
        return Gpu(index=index, uuid=uuid, name=name, error=line)

    def _read_mig_devices(self, questions: _Questions, index: int, parent: str, handle: Any) -> list[Gpu]:
        """MIG devices of a GPU; their indices may have gaps. Utilisation, temperature and power are not
        theirs to give."""
        devices = []
        for mig_index in range(
            questions.ask("MIG devices", pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
        ):
            try:
                mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, mig_index)
            except pynvml.NVMLError as error:
                if _code(error) in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT):
                    continue
                raise
            of_mig = _Questions()
            total, used, free = _memory(of_mig, mig)
            devices.append(
                Gpu(
                    index=index,
                    uuid=of_mig.ask("UUID", pynvml.nvmlDeviceGetUUID, mig) or "",
                    name=of_mig.ask("name", pynvml.nvmlDeviceGetName, mig) or "",
                    memory_total=total,
                    memory_used=used,
                    memory_free=free,
                    processes=self._processes(of_mig, mig),
                    mig_index=mig_index,
                    mig_parent=parent,
                    error=of_mig.error,
                )
            )
        return devices

    def _processes(self, questions: _Questions, handle: Any) -> tuple[GpuProcess, ...]:
        by_kind = {
            kind: questions.ask(f"{kind} processes", _running, calls, handle) or ()
            for kind, calls in _PROCESS_CALLS.items()
        }
        return merged(by_kind, self._names)


def _running(calls: Iterable[Callable[[Any], list[Any]]], handle: Any) -> list[tuple[int, int | None]]:
    """(pid, bytes) of the running processes, by the newest call that the driver has."""
    for call in calls:
        try:
            return [(process.pid, process.usedGpuMemory) for process in call(handle)]
        except pynvml.NVMLError as error:
            if _code(error) not in _OTHER_LAYOUT:
                raise
    return []


def _memory(questions: _Questions, handle: Any) -> tuple[int | None, int | None, int | None]:
    """Total, used and free bytes."""
    memory = questions.ask("memory", _memory_info, handle)
    return (None, None, None) if memory is None else (memory.total, memory.used, memory.free)


def _memory_info(handle: Any) -> Any:
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError as error:
        if _code(error) not in _OTHER_LAYOUT:
            raise
        # Drivers before 510 have only the first version; its used includes what is reserved.
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


def _code(error: Any) -> int:
    code: int = error.value
    return code


def _driver_line(error: Any) -> str:
    return _DRIVER_LINES.get(
        _code(error), f"the NVIDIA driver cannot be read ({error}); nvidia-smi may say more"
    )
