"""GPUs in name: tensors that say they are on `cuda:0` or `cuda:1`, and whose numbers lie in main memory.

What CUDA refuses is refused, above all tensors of different devices in one operation, and what it allows is allowed; how
often a program would wait for a GPU is counted. The CPU computes: how exact and how fast a GPU is, and what memory it
takes, is not shown.
"""

from __future__ import annotations

import ctypes
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
CPU = torch.device("cpu")
FROM_GPU, TO_GPU = "from a GPU", "to a GPU"
_COPIES = (aten._to_copy.default, aten.copy_.default)
_READS = (
    aten._local_scalar_dense.default,
    aten.equal.default,
    # How large the result is, the host has to know.
    aten.nonzero.default,
    aten.masked_select.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
)
_INDEXING = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
)
_ONE_NUMBER = (
    aten.masked_fill.Tensor,
    aten.masked_fill_.Tensor,
    aten.fill.Tensor,
    aten.fill_.Tensor,
)
"""They take a number from the CPU, as all do that compute number by number."""


class OnGpu(torch.Tensor):
    """A tensor on a GPU in name. `on_host` holds its numbers."""

    on_host: torch.Tensor

    @staticmethod
    def __new__(cls, on_host: torch.Tensor, device: torch.device) -> OnGpu:
        made: OnGpu = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            on_host.shape,
            strides=on_host.stride(),
            storage_offset=on_host.storage_offset(),
            dtype=on_host.dtype,
            device=device,
        )
        made.on_host = on_host
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{function}: GPUs in name can be used within `gpus_in_name` only")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGpu({self.on_host!r}, {self.device})"


class GpusInName(TorchDispatchMode):
    """Computes what is on them, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        """How often the program waited for a GPU, and what for."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _is_made_of_others(function):
            with self:
                made = function.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        given = _tensors([*args, *kwargs.values()])
        here = _common_device(function, args, given)
        there = here if kwargs.get("device") is None else _numbered(kwargs["device"])
        self._count(function, args, kwargs, here, there)
        on_host = {name: _each(value, _on_host) for name, value in kwargs.items()}
        if "device" in on_host:
            on_host["device"] = CPU
        made = function(*_each(args, _on_host), **on_host)
        same = {id(tensor.on_host): tensor for tensor in given if isinstance(tensor, OnGpu)}
        if any(tensor.shape != tensor.on_host.shape for tensor in same.values()):
            raise NotImplementedError(f"{function}: the shape of a tensor changes in place")
        return _each(made, lambda value: _placed(value, there, same))

    def _count(self, function: Any, args: Any, kwargs: Any, here: torch.device, there: torch.device) -> None:
        if function in _COPIES:
            source, target = (args[1].device, here) if function is aten.copy_.default else (here, there)
            if not args[0].numel():
                return
            # A copy between two GPUs is waited for by those alone.
            if source != CPU == target:
                self.waits[FROM_GPU] += 1
            elif source == CPU != target and not kwargs.get("non_blocking"):
                self.waits[TO_GPU] += 1
        elif here == CPU:
            return
        elif function in _READS:
            self.waits[function._opname] += 1
        elif function in _INDEXING:
            for index in args[1]:
                if index is not None and index.device == CPU:
                    self.waits[TO_GPU] += 1
                if index is not None and index.dtype == torch.bool:
                    self.waits["nonzero"] += 1


@contextmanager
def gpus_in_name() -> Iterator[GpusInName]:
    """GPUs for whoever has none; where there are some, nothing is asked of them."""
    lifts = torch._C._only_lift_cpu_tensors()
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch, _device_guard(), GpusInName() as gpus:
        if not torch.cuda.is_available():
            # It would ask for a driver.
            patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch, "tensor", _tensor_of(torch.tensor))
        # `torch.tensor` makes what it is given on the CPU, and copies it.
        torch._C._set_only_lift_cpu_tensors(True)
        # A weight that is moved becomes another object: else it would stay a plain tensor for Python.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            yield gpus
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
            torch._C._set_only_lift_cpu_tensors(lifts)


@contextmanager
def _device_guard() -> Iterator[None]:
    """Some operations choose their device before they are computed. A torch without CUDA has nobody who does that for
    GPUs: here who does it for the CPU stands in, where there is nothing to choose."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    of_cpu, of_gpus = guards
    guards[1] = of_cpu
    try:
        yield
    finally:
        guards[1] = of_gpus


def _tensor_of(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`torch.tensor` reads tensors in a list past what computes for them."""

    def number(value: Any) -> Any:
        return value.item() if isinstance(value, OnGpu) else value

    return lambda data, **options: make(_each(data, number) if isinstance(data, list) else data, **options)


@functools.cache
def _is_made_of_others(function: Any) -> bool:
    # Of which ones attention is made depends on the device.
    return bool(function._can_decompose()) and function is not aten.scaled_dot_product_attention.default


@functools.cache
def _takes_numbers(function: Any) -> bool:
    return torch.Tag.pointwise in function.tags or function in _ONE_NUMBER


def _common_device(function: Any, args: Sequence[Any], given: list[torch.Tensor]) -> torch.device:
    """Where an operation computes. Raises RuntimeError as CUDA does."""
    if function in _COPIES:
        device: torch.device = args[0].device
        return device
    if function in _INDEXING and args[0].device != CPU:
        # What says where may be on the CPU, what is put there may be a number.
        values = [value for value in args[2:3] if value.dim() or value.device != CPU]
        given = [tensor for tensor in _tensors(args[1]) if tensor.device != CPU] + [args[0], *values]
    elif _takes_numbers(function):
        written = args[:1] if function._schema.is_mutable else []
        given = [tensor for tensor in given if tensor.dim() or tensor.device != CPU] + _tensors(written)
    devices = {tensor.device for tensor in given} or {CPU}
    if len(devices) > 1:
        named = ", ".join(sorted(map(str, devices)))
        raise RuntimeError(f"{function}: Expected all tensors to be on the same device, but found {named}")
    return devices.pop()


def _numbered(device: Any) -> torch.device:
    device = torch.device(device)
    return torch.device("cuda", 0) if device.type == "cuda" and device.index is None else device


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value with all changed that is in it."""
    if isinstance(value, (list, tuple)):
        return type(value)([_each(part, change) for part in value])
    return change(value)


def _tensors(values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    _each(values, lambda value: found.append(value) if isinstance(value, torch.Tensor) else None)
    return found


def _on_host(value: Any) -> Any:
    return value.on_host if isinstance(value, OnGpu) else value


def _placed(value: Any, device: torch.device, same: Mapping[int, OnGpu]) -> Any:
    """What an operation gave, where it is: what was written to is what it was."""
    if not isinstance(value, torch.Tensor):
        return value
    if id(value) in same:
        return same[id(value)]
    if device == CPU:
        return value
    # A view is as what it shows, and weights were made outside of inference mode.
    with torch.inference_mode(False):
        return OnGpu(value, device)
