"""Where torch computes: on the GPUs that the run was given, and on the CPU only where it was given none."""

from __future__ import annotations

import os
import sys
from typing import Any

from hitui_runners.engines.base import named_gpus
from hitui_runners.engines.simulated_gpus import GPUS_VARIABLE
from hitui_runners.errors import RunnerError, SetupError, words_of
from hitui_runners.output import warn

_ON_THE_CPU = 'with CUDA_VISIBLE_DEVICES="" (min_free = "0B" in hitui.toml) it would compute on the CPU'
_STAYS = ("driver on your system is too old", "no NVIDIA driver")
"""How torch words what is not gone at the next try."""


def given_gpus() -> int:
    """How many GPUs the run was given; those of a simulation, which compute nothing, do not count."""
    return 0 if os.environ.get(GPUS_VARIABLE) else named_gpus()


def computes_on_gpus(torch: Any) -> bool:
    """Whether torch has GPUs here.

    Raises RunnerError for one that it cannot use, and where the run was given some and torch has none: on the CPU a model
    for them would be slow beyond use, and hold them all the while. A SetupError, where that stays so until someone
    changes something.
    """
    given = given_gpus()
    if torch.cuda.is_available():
        if torch.cuda.device_count() < given:
            warn(f"of the {given} GPUs that the run was given torch can use {torch.cuda.device_count()}")
        for index in range(torch.cuda.device_count()):
            _try(torch, index)
        return True
    if not given:
        return False
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        raise for_the_cpu_alone(f"torch ({torch.__version__})")
    why = _why_not(torch)
    kind = SetupError if any(words in why for words in _STAYS) else RunnerError
    raise kind(f"the run was given GPUs that torch cannot use: {why}; see nvidia-smi; {_ON_THE_CPU}")


def _try(torch: Any, index: int) -> None:
    """Computes something small. A torch lists GPUs too that it was built without kernels for, as new ones are for those
    that are old."""
    try:
        torch.ones(1, device=f"cuda:{index}").add(1).item()
    except RuntimeError as error:
        name = torch.cuda.get_device_name(index)
        if "no kernel image" in str(error):
            capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
            raise SetupError(
                f"{sys.executable}: its torch ({torch.__version__}) has no kernels for {name} (compute capability "
                f"{capability}); install one that has"
            ) from error
        raise RunnerError(f"{name} cannot be used: {words_of(error)}") from error


def for_the_cpu_alone(library: str) -> SetupError:
    """Where the run was given GPUs, what to raise of a library that was built without them."""
    return SetupError(
        f"{sys.executable}: the run was given GPUs, and its {library} is one for the CPU alone; install one for CUDA "
        f"there; {_ON_THE_CPU}"
    )


def _why_not(torch: Any) -> str:
    try:
        torch.cuda.init()
    except Exception as error:  # noqa: BLE001  (whatever torch and the driver raise)
        return words_of(error)
    return "it finds none"


def dtype_of(torch: Any, wanted: str | None, *, on_gpus: bool) -> Any:
    """What the weights are to be: as `wanted`, or bfloat16 on GPUs and float32 on the CPU."""
    if wanted is not None:
        return getattr(torch, wanted)
    if on_gpus and not torch.cuda.is_bf16_supported(including_emulation=False):
        warn(
            f"{torch.cuda.get_device_name(0)} has no circuits for bfloat16 and is slow at it; --dtype float16 (dtype in "
            "hitui.toml) may be faster, and its answers may differ"
        )
    return torch.bfloat16 if on_gpus else torch.float32


def device_map(torch: Any) -> dict[str, int] | str:
    """Where a model goes whole on one GPU, and how it is spread over several.

    By itself accelerate takes no more than nine tenths of what is free on one, and lays what it finds no room for on the
    CPU without a word.
    """
    return {"": 0} if torch.cuda.device_count() == 1 else "auto"


def parts_beside_the_gpus(model: Any) -> list[str]:
    """Names of a model's parts that were laid into main memory, or on a disk, for want of memory on the GPUs."""
    # Newer versions of transformers note no map where all lies in one place.
    spread = getattr(model, "hf_device_map", {"": model.device})
    return [part or "all of it" for part, device in spread.items() if str(device) in ("cpu", "disk")]


def names_of_devices(torch: Any) -> str:
    """Where it computes, for people."""
    if not torch.cuda.is_available():
        return f"the CPU ({torch.get_num_threads()} threads)"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
