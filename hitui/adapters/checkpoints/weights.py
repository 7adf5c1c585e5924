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

from hitui.adapters.files.look import is_dir, is_file

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
        whole = 8 + length + max(ends, default=0) == size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "has a damaged header"
    return "" if whole else "is cut off"


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
    except (ValueError, NotImplementedError):
        # Names that are no text, a version of the format that there is not: the directory was written over.
        return "is damaged"


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
        if not is_file(shard):
            return f"names {name}, which is absent"
        defect = (
            defect_of_safetensors(shard) if shard.suffix == ".safetensors" else defect_of_torch_file(shard)
        )
        if defect:
            return f"names {name}, which {defect}"
    return ""


Weights = tuple[tuple[str, Callable[[Path], str]], ...]
_OF_ADAPTERS: Weights = (
    ("adapter_model.safetensors", defect_of_safetensors),
    ("adapter_model.bin", defect_of_torch_file),
)
WEIGHTS: Weights = (
    ("model.safetensors", defect_of_safetensors),
    ("model.safetensors.index.json", defect_of_index),
    ("pytorch_model.bin", defect_of_torch_file),
    ("pytorch_model.bin.index.json", defect_of_index),
    *_OF_ADAPTERS,
)
"""Where the weights of a checkpoint or model may lie, in the order in which transformers looks for them; one must be."""
_NO_WEIGHTS = "weights are absent"


def defect_of_checkpoint(folder: Path) -> str:
    """Why a run cannot resume from a checkpoint folder of the Hugging Face Trainer; empty when it can.

    Needed are weights (sharded or an adapter's too), optimizer, scheduler, RNG states and trainer state.
    DeepSpeed keeps weights, optimizer and scheduler in a folder of its own that the file `latest` names;
    FSDP keeps weights and optimizer in folders with a `.metadata` that is written last.
    """
    partitions = _deepspeed_folder(folder)
    checks = [_defect_of_weights(folder, partitions), _defect_of_optimizer(folder, partitions)]
    if partitions is None:
        checks.append(_defect_of_needed(folder, "scheduler.pt"))
    states = sorted(folder.glob("rng_state*.pth"))
    checks += [_defect_of_needed(folder, state.name) for state in states] or ["rng_state.pth is absent"]
    return next((defect for defect in checks if defect), "")


def defect_of_model(folder: Path) -> str:
    """Why the weights of a model folder cannot be loaded; empty when they can, or lie there under a name of their own."""
    defect = _defect_of_named_weights(folder)
    if defect is not None:
        return defect
    return "" if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")) else _NO_WEIGHTS


def defect_of_adapter(folder: Path) -> str:
    """Why the weights of an adapter's folder cannot be loaded; empty when they can."""
    defect = _defect_of_named_weights(folder, _OF_ADAPTERS)
    return "has no adapter_model.safetensors" if defect is None else defect


def _defect_of_named_weights(folder: Path, weights: Weights = WEIGHTS) -> str | None:
    """What is wrong with the first of the weights that is there; None: none is."""
    for name, defect_of in weights:
        if is_file(folder / name):
            defect = defect_of(folder / name)
            return f"{name} {defect}" if defect else ""
    return None


def _defect_of_weights(folder: Path, partitions: Path | None) -> str:
    defect = _defect_of_named_weights(folder)
    if defect is not None:
        return defect
    if is_file(folder / "pytorch_model_fsdp_0" / ".metadata"):
        return ""
    if partitions is not None:
        return _defect_of_partitions(partitions, "*_model_states.pt")
    return _NO_WEIGHTS


def _defect_of_optimizer(folder: Path, partitions: Path | None) -> str:
    if partitions is not None:
        return _defect_of_partitions(partitions, "*_optim_states.pt")
    if is_file(folder / "optimizer_0" / ".metadata"):
        return ""
    return _defect_of_needed(folder, "optimizer.bin" if is_file(folder / "optimizer.bin") else "optimizer.pt")


def _deepspeed_folder(folder: Path) -> Path | None:
    if not is_file(folder / "latest"):
        return None
    try:
        name = (folder / "latest").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return folder / name if name else None


def _defect_of_partitions(folder: Path, pattern: str) -> str:
    files = sorted(folder.glob(pattern)) if is_dir(folder) else []
    if not files:
        return f"{folder.name}/{pattern} is absent"
    return next(
        (f"{folder.name}/{file.name} {defect}" for file in files if (defect := defect_of_torch_file(file))),
        "",
    )


def _defect_of_needed(folder: Path, name: str) -> str:
    if not is_file(folder / name):
        return f"{name} is absent"
    defect = defect_of_torch_file(folder / name)
    return f"{name} {defect}" if defect else ""
