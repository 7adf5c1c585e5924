"""Which names can change what is shown of a workspace."""

from __future__ import annotations

from hitui.adapters.checkpoints import skip_ids
from hitui.adapters.checkpoints.realhitbench import is_result_file

_TRAINER_FILES = {"trainer_state.json", "trainer_log.jsonl"}
_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".index.json")


def matters(name: str) -> bool:
    """Whether a file of that name is read for some config, or says that a checkpoint is complete."""
    return (
        is_result_file(name)
        or name == skip_ids.NAME
        or name in _TRAINER_FILES
        or name.endswith(_WEIGHT_ENDINGS)
        or name.endswith(".jsonl")
    )
