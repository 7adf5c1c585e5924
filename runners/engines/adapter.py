"""An adapter, as LoRA, on the weights of a model: a folder with `adapter_config.json` and `adapter_model.safetensors`, as
peft saves it (https://huggingface.co/docs/peft/main/en/developer_guides/checkpoint).
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from hitui_runners.engines.memory import out_of_memory
from hitui_runners.errors import SetupError, setup_error, words_of
from hitui_runners.look import is_file
from hitui_runners.output import named, warn

ADAPTER_CONFIG = "adapter_config.json"


def adapter_folder(folder: Path) -> Path:
    """The folder itself. Raises SetupError where it holds no adapter."""
    if not is_file(folder / ADAPTER_CONFIG):
        raise SetupError(f"{folder}: is no folder of an adapter, it has no {ADAPTER_CONFIG}; see --adapter")
    return folder


def base_of(folder: Path) -> str:
    """What the adapter says it was trained on; empty: it does not say."""
    try:
        said = json.loads((folder / ADAPTER_CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    base = said.get("base_model_name_or_path") if isinstance(said, dict) else None
    return base if isinstance(base, str) else ""


def check_base(folder: Path, model: Path) -> None:
    """Warns where the adapter was trained on a model of another name: it may fit on this one all the same."""
    base = base_of(folder)
    # In the hub's own cache the name stands further up.
    if Path(base).name.lower() not in str(model.resolve()).lower():
        warn(f"{folder}: the adapter was trained on {base}, and is put onto {model}")


def adapted(model: Any, folder: Path) -> Any:
    """The model with the adapter's weights merged into its own, or beside them where those are quantized, which merging
    would round once more. Needs accelerate.

    Raises SetupError for an adapter that is not whole or not for this model: what did not fit would be left out.
    """
    try:
        from peft import PeftConfig, PeftModel
    except Exception as error:
        raise setup_error(
            f"{sys.executable}: cannot use an adapter: {words_of(error)}; install peft there", error
        ) from error
    try:
        config = PeftConfig.from_pretrained(str(folder))
        if config.is_prompt_learning:
            raise SetupError(
                f"{folder}: changes prompts and no weights ({config.peft_type.value}); see --adapter"
            )
        with warnings.catch_warnings():
            # Of what is said below.
            warnings.simplefilter("ignore")
            both = PeftModel(model, config)
            told = both.load_adapter(str(folder), both.active_adapter, autocast_adapter_dtype=False)
        for what, names in (("lacks", told.missing_keys), ("has no place there for", told.unexpected_keys)):
            if names:
                raise SetupError(
                    f"{folder}: the adapter does not belong to this model: it {what} {named(sorted(names), at_most=2)}"
                )
        if getattr(model, "is_quantized", False):
            return both.get_base_model()
        return both.merge_and_unload(safe_merge=True)
    except SetupError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise setup_error(
            f"{folder}: the adapter cannot be put onto the model: {words_of(error)}", error
        ) from error
