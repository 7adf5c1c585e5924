"""Answers are judged by a model behind a server: a program of ours asks it, in hitui's own Python, which is enough.

This only says what is judged together, and what the program is told of the judge and the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hitui.adapters.checkpoints.catalogue import Catalogue
from hitui.errors import SettingsError
from hitui.services.scoring import Scoring, unit_of


def plan_judging(catalogue: Catalogue, names: Sequence[str]) -> Scoring:
    """What is judged for files, folders and configs. Raises NoSuchName, and WorkspaceError as `unit_of` does."""
    return Scoring(sys.executable, "", tuple(unit_of(catalogue, name) for name in dict.fromkeys(names)))


def judge_options(catalogue: Catalogue) -> tuple[str, ...]:
    """The judge of `hitui.toml`, as options of the program. Raises SettingsError where none is named."""
    settings = catalogue.settings
    judge = settings.judge
    if judge.base_url is None:
        raise SettingsError(
            f"{settings.file or settings.root / 'hitui.toml'}: names no judge; write [judge] there, with base_url = "
            '"https://api.openai.com/v1" or that of any such server, model = "…", and api_key_env = "…" if it needs a '
            "key"
        )
    options = {
        "base-url": judge.base_url,
        "model": judge.model,
        "api-key-env": judge.api_key_env,
        "prompts": None if judge.prompts is None else settings.path(judge.prompts),
        "concurrency": judge.concurrency,
        "timeout": judge.timeout_seconds,
        "patience": judge.patience_seconds,
        "max-input-tokens": judge.max_input_tokens,
        "max-new-tokens": judge.max_new_tokens,
        "data": catalogue.data_folder,
    }
    return tuple(f"--{name}={value}" for name, value in options.items() if value is not None)
