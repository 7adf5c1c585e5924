"""Whether the files of a trainer's checkpoint are whole, without loading them.

safetensors: 8 bytes little-endian length of a JSON header, the header, the data; the header's
`data_offsets` say how long the data is (huggingface/safetensors, "Format"). Files of `torch.save` are zip
archives whose directory stands at the end, so that a cut file has none; those of PyTorch before 1.6 begin with
a pickle and do not say how long they are: they are taken as whole.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

_MOST_HEADER = 100_000_000
"""Bytes; the format's own limit for a header."""


def defect_of_safetensors(path: Path) -> str:
    """What is wrong with a safetensors file, in a few words; empty when it is whole."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            if len(prefix) < 8:
                return "is cut off"
            (length,) = struct.unpack("<Q", prefix)
            if not 0 < length <= _MOST_HEADER or 8 + length > size:
                return "is cut off or no safetensors file"
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "has a damaged header"
    return "" if 8 + length + max(ends, default=0) == size else "is cut off"


def defect_of_torch_file(path: Path) -> str:
    """What is wrong with a file of `torch.save`, in a few words; empty when it is whole."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"\x80\x02":
                return ""
        with zipfile.ZipFile(path) as archive:
            return "" if archive.namelist() else "is empty"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except zipfile.BadZipFile:
        return "is cut off"


def defect_of_index(path: Path) -> str:
    """What is wrong with a sharded model, given its index (`weight_map`: tensor → file)."""
    try:
        shards = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "is damaged"
    for name in shards:
        shard = path.parent / str(name)
        if not shard.is_file():
            return f"names {name}, which is absent"
        defect = (
            defect_of_safetensors(shard) if shard.suffix == ".safetensors" else defect_of_torch_file(shard)
        )
        if defect:
            return f"names {name}, which {defect}"
    return ""


WEIGHTS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("model.safetensors.index.json", defect_of_index),
    ("pytorch_model.bin.index.json", defect_of_index),
    ("model.safetensors", defect_of_safetensors),
    ("adapter_model.safetensors", defect_of_safetensors),
    ("pytorch_model.bin", defect_of_torch_file),
    ("adapter_model.bin", defect_of_torch_file),
)
"""Where a checkpoint's weights may lie; one of them must."""


def defect_of_checkpoint(folder: Path) -> str:
    """Why a run cannot resume from a checkpoint folder of the Hugging Face Trainer; empty when it can.

    Needed are weights (sharded or an adapter's too), optimizer, scheduler, RNG states and trainer state.
    """
    for name, defect_of in WEIGHTS:
        if (folder / name).is_file():
            defect = defect_of(folder / name)
            if defect:
                return f"{name} {defect}"
            break
    else:
        return "weights are absent"
    for name in ("optimizer.pt", "scheduler.pt"):
        if not (folder / name).is_file():
            return f"{name} is absent"
        defect = defect_of_torch_file(folder / name)
        if defect:
            return f"{name} {defect}"
    states = sorted(folder.glob("rng_state*.pth"))
    if not states:
        return "rng_state.pth is absent"
    for state in states:
        defect = defect_of_torch_file(state)
        if defect:
            return f"{state.name} {defect}"
    return ""
