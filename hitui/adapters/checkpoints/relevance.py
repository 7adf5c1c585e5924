"""Which names can change what is shown of a workspace."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch

from hitui.adapters.checkpoints import skip_ids
from hitui.adapters.checkpoints.discovery import TRAINER_STATE
from hitui.adapters.checkpoints.result_listing import is_result_file
from hitui.settings import Settings

_TRAINER_FILES = {TRAINER_STATE, "trainer_log.jsonl"}
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


def relevant_names(settings: Settings) -> Callable[[str], bool]:
    """`matters`, and what the declared configs count by a pattern of their own."""
    patterns = tuple(
        (entry.pattern or "*").rpartition("/")[2]
        for entry in settings.configs
        if entry.kind in ("line_count", "file_set")
    )
    return lambda name: matters(name) or any(fnmatch(name, pattern) for pattern in patterns)
